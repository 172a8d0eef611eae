"""The wheel: built without network, installed into an empty environment, and used from an empty folder."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.cli.command import ROOT, environment

pytestmark = pytest.mark.slow


def done(command: list[str], cwd: Path) -> str:
    ended = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that holds the wheel, and sees the locked packages but no checkout.

    The packages come by links: a path to this environment's packages would bring its editable xfeedback along.
    """
    base = tmp_path_factory.mktemp("wheel")
    source, env = base / "source", base / "env"
    source.mkdir()
    for folder in ("xfeedback", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    done([*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(base), str(source)], base)
    venv.create(env, symlinks=True)
    python = env / "bin" / "python"
    packages = Path(done([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], base).strip())
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "xfeedback" not in entry.name and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    (packages / "hydra_plugins").unlink(missing_ok=True)
    (wheel,) = base.glob("xfeedback-*.whl")
    done([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], base)
    return env / "bin"


def test_wheel_holds_config_and_types_and_works_from_an_empty_folder(installed, tmp_path):
    where = done([str(installed / "python"), "-c", "import xfeedback; print(xfeedback.__path__[0])"], tmp_path)
    package = Path(where.strip())
    assert package.is_relative_to(installed.parent)
    assert (package / "py.typed").is_file()
    inside = {path.relative_to(package / "conf") for path in (package / "conf").rglob("*.yaml")}
    assert inside == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    command = str(installed / "xfeedback")
    assert "group=choice" in done([command, "--help"], tmp_path)
    said = done([command, "method=plain", "debug=quick", "dataset=digits"], tmp_path)
    assert "done plain on digits, seed 0" in said
    assert len(list(tmp_path.glob("outputs/runs/*/result.json"))) == 1


def test_users_own_config_is_added(installed, tmp_path):
    own = tmp_path / "own" / "debug"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\ntrainer: {max_epochs: 7}\n")
    said = done([str(installed / "xfeedback"), "--config-dir", "own", "debug=mine", "--cfg", "job"], tmp_path)
    assert "max_epochs: 7" in said
