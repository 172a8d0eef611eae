import subprocess

import numpy as np

from xfeedback.engine.provenance import collect, git_state


def git(folder, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_commit_and_dirtiness_of_a_checkout(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert git_state(tmp_path) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path)["dirty"] is True


def test_without_git_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == {"commit": None, "dirty": None}
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) == {"commit": None, "dirty": None}


def test_versions_are_those_that_are_installed():
    found = collect(fingerprint="abc", stamps=("subset",))
    assert found["versions"]["numpy"] == np.__version__
    assert found["data"] == {"fingerprint": "abc", "stamps": ["subset"]}
