"""Asking for help costs no heavy import."""

import pytest

from tests.cli.command import environment, run


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
def test_help_and_options_are_shown_at_once(options, tmp_path):
    ended = run(*options, cwd=tmp_path)
    print(f"\n{' '.join(options)}: {ended.seconds:.2f} s, {ended.cpu_seconds:.2f} s of CPU")
    assert ended.cpu_seconds < 1.5  # wall time would measure what else the machine does


def test_the_environment_of_these_tests_hides_the_machine(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("XFEEDBACK_DATA", "/somewhere")
    assert not {"WANDB_MODE", "XFEEDBACK_DATA"} & environment().keys()
