"""The worked examples of docs/add_a_dataset.md and docs/add_a_model.md, done in a copy of the repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import SMALL, environment
from tests.conftest import ROOT

FOLDERS = ("xfeedback", "conf", "tests", "hydra_plugins")


def examples(page: str) -> dict[str, str]:
    """The blocks of a page that begin with a file's path, by path."""
    text = (ROOT / "docs" / page).read_text()
    return dict(re.findall(r"```(?:python|yaml)\n# (\S+/\S+)\n(.*?)```", text, re.DOTALL))


def run(root: Path, *command: str) -> str:
    env = environment(PYTHONPATH=str(root))
    done = subprocess.run([sys.executable, *command], cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with all files of both pages."""
    root = tmp_path_factory.mktemp("copy")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "run.py"):
        shutil.copy(ROOT / file, root)
    for page in ("add_a_dataset.md", "add_a_model.md"):
        for path, text in examples(page).items():
            (root / path).write_text(text)
    (line,) = re.findall(r'^    ("small_resnet": .*)$', (ROOT / "docs" / "add_a_model.md").read_text(), re.MULTILINE)
    registry = root / "xfeedback" / "models" / "__init__.py"
    registry.write_text(registry.read_text().replace("_FAMILIES = {\n", f"_FAMILIES = {{\n    {line}\n"))
    return root


@pytest.mark.parametrize("page", ["add_a_dataset.md", "add_a_model.md"])
def test_a_page_holds_three_files(page):
    assert [path.split("/")[0] for path in examples(page)] == ["xfeedback", "conf", "tests"]


def test_the_examples_pass_their_tests_and_those_of_all_sets_and_networks(copy):
    tests = ["tests/data/test_bars.py", "tests/models/test_small_resnet.py", "tests/test_conf.py"]
    tests += ["tests/models/test_registry.py"]
    shown = run(copy, "-m", "pytest", "-p", "no:cacheprovider", *tests, "-k", "bars or small_resnet")
    assert int(re.search(r"(\d+) passed", shown)[1]) >= 6  # type: ignore[index]
    sources = [path for page in ("add_a_dataset.md", "add_a_model.md") for path in examples(page) if "yaml" not in path]
    run(copy, "-m", "ruff", "check", *sources)
    run(copy, "-m", "ruff", "format", "--check", *sources)


@pytest.mark.slow
def test_xbl_trains_the_new_model_on_the_new_set(copy):
    options = ("trainer.max_epochs=1", "model.width=4", "trainer.progress=false", "trainer=cpu", *SMALL)
    shown = run(copy, "run.py", "method=xbl", "dataset=bars", "model=small_resnet", *options)
    assert "xbl on bars, seed 0" in shown
