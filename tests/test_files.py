import errno
import json
import os
import stat

import pytest

from xfeedback import files
from xfeedback.errors import UserError


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "value.json"
    files.write_json(path, {"b": [1, 2], "a": "é"})
    assert json.loads(path.read_text()) == {"a": "é", "b": [1, 2]}
    files.write_json(path, {})
    assert files.read_json(path) == {}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in path.parent.iterdir()] == ["value.json"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(failing, tmp_path, monkeypatch):
    path = tmp_path / "value.txt"
    files.write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os if failing == "fsync" else files.Path, failing, full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_not_a_number_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "value.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, "", '{"a": 1', "\udcff"])
def test_a_damaged_file_is_named(content, tmp_path):
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"cannot read .*value\.json: .* Remove the file or restore it"):
        files.read_json(path)
