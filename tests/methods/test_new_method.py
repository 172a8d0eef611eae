"""The script that starts a method and the worked example of the documentation, in a copy of the repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOC = ROOT / "docs" / "add_a_method.md"


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, check=False)


def examples() -> dict[str, str]:
    """The blocks of the page that begin with a file's path, by path."""
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+/\S+)\n(.*?)```", DOC.read_text(), re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    for folder in ("xfeedback", "conf", "tests", "scripts"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def test_the_page_holds_three_files():
    assert list(examples()) == [
        "xfeedback/methods/sparse_gradient.py",
        "conf/method/sparse_gradient.yaml",
        "tests/methods/test_sparse_gradient.py",
    ]


def test_new_method_and_worked_example_keep_the_contract(copy):
    made = run(copy, "scripts/new_method.py", "my_method")
    assert made.returncode == 0, made.stderr
    written = [line.removeprefix("wrote ") for line in made.stdout.splitlines() if line.startswith("wrote ")]
    assert written == [
        "xfeedback/methods/my_method.py",
        "conf/method/my_method.yaml",
        "tests/methods/test_my_method.py",
    ]
    for path, text in examples().items():
        (copy / path).write_text(text)
    tests = [f"tests/methods/test_{name}.py" for name in ("contract", "my_method", "sparse_gradient")]
    result = run(copy, "-m", "pytest", "-p", "no:cacheprovider", *tests, "-k", "my_method or sparse_gradient")
    assert result.returncode == 0, result.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) > 30  # type: ignore[index]
    sources = [path for path in [*written, *examples()] if path.endswith(".py")]
    for check in (["check"], ["format", "--check"]):
        ruff = run(copy, "-m", "ruff", *check, *sources)
        assert ruff.returncode == 0, ruff.stdout + ruff.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rrr", "there is a method 'rrr' already"),
        ("My-Method", "can't name a method"),
        ("class", "can't name a method"),
        ("names", "has a meaning in xfeedback.methods already"),
        ("tensor", "has a meaning in xfeedback.methods already"),
    ],
)
def test_names_that_cannot_be_used_are_refused_in_one_line(name, message, tmp_path):
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from new_method import create
    finally:
        sys.path.pop(0)
    from xfeedback.errors import UserError

    with pytest.raises(UserError, match=message) as caught:
        create(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*"))


def test_nothing_is_overwritten_and_the_exit_code_is_2(copy):
    target = copy / "conf" / "method" / "taken.yaml"
    target.write_text("mine")
    result = run(copy, "scripts/new_method.py", "taken")
    assert result.returncode == 2
    assert result.stderr == "error: conf/method/taken.yaml exists; choose another name or remove it first.\n"
    assert target.read_text() == "mine"
    assert not (copy / "xfeedback" / "methods" / "taken.py").exists()
