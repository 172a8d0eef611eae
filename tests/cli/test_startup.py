"""Asking for help costs no heavy import."""

import subprocess
import sys

import pytest

from tests.cli.command import cpu_seconds, environment, run
from xfeedback.config import CONF


@pytest.mark.parametrize(
    ("options", "shows"),
    [
        (
            ["--help"],
            ["method: ", "saliency_guided", "dataset: audio_folder, ", "python run.py method=xbl dataset=cifar"],
        ),
        (["--cfg", "job"], ["method:\n  plain:", "max_epochs: 30", "name: digits"]),
    ],
)
def test_help_and_options_are_shown_without_heavy_imports(options, shows, tmp_path):
    ended = run(*options, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in ended.err.splitlines()}
    assert ended.code == 0
    assert all(text in ended.out for text in shows)
    assert "hydra" in imported
    assert not imported & {"torch", "numpy", "pytorch_lightning", "xfeedback.engine"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [["--help"], ["--cfg", "job"]])
def test_help_and_options_cost_what_hydra_costs(options, tmp_path):
    """Beside an empty program with the same configs: seconds would measure the machine and what else it does."""
    empty = f"import hydra; hydra.main(config_path={str(CONF)!r}, config_name='config', version_base='1.3')(len)()"
    own, bare = [], []
    for _ in range(3):
        own.append(run(*options, cwd=tmp_path).cpu_seconds)
        used = cpu_seconds()
        subprocess.run([sys.executable, "-c", empty, *options], cwd=tmp_path, capture_output=True, check=True)
        bare.append(cpu_seconds() - used)
    assert min(own) < 1.5 * min(bare)


def test_the_environment_of_these_tests_hides_the_machine(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("XFEEDBACK_DATA", "/somewhere")
    assert not {"WANDB_MODE", "XFEEDBACK_DATA"} & environment().keys()
