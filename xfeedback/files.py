"""Atomic reading and writing: a file is either whole or not there."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from xfeedback.errors import UserError


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` through a temporary file in the same folder, fsync and rename.

    Raises:
        OSError: the disk is full, or the folder can't be written; nothing is left behind, an older file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, sort_keys=True) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """Read JSON that holds names with values; anything else is a :class:`UserError`, as in :func:`read_json`."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no names with values. Remove the file or restore it from a copy.")
    return value


def read_json(path: Path) -> Any:
    """Read JSON; a damaged file is a :class:`UserError` that names it."""
    try:
        return json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}. Remove the file or restore it from a copy.") from error
