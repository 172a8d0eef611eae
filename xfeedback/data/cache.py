"""What is decoded once and kept: arrays in one file, whole or not there, verified whenever they are read."""

import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

from xfeedback import files
from xfeedback.data.source import fingerprint
from xfeedback.dtypes import Array
from xfeedback.errors import UserError

T = TypeVar("T")
log = logging.getLogger(__name__)


def arrays(path: Path, make: Callable[[], dict[str, Array]]) -> tuple[dict[str, Array], str]:
    """Return arrays by name and their fingerprint, from ``path`` or, when it is missing or damaged, from ``make``.

    Raises:
        UserError: the file can't be written.
    """
    found = _read(path) if path.exists() else None
    if found is None:
        made = make()
        found = made, fingerprint(*made.values())
        _write(path, *found)
    return found


def key(paths: Iterable[Path], *options: object) -> str:
    """Return a name for what is made of some files with some options; it changes when a file is written anew."""
    digest = hashlib.sha256(repr(options).encode())
    for path in sorted(paths):
        status = path.stat()
        digest.update(f"{path.absolute()}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield ``items`` behind a progress bar that says what is decoded."""
    from rich.console import Console
    from rich.progress import track

    yield from track(items, f"decoding {what} (once)", total=total, console=Console(stderr=True))


def _write(path: Path, made: dict[str, Array], digest: str) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save({**{name: torch.from_numpy(array) for name, array in made.items()}, "fingerprint": digest}, buffer)
    try:
        files.write_bytes(path, buffer.getvalue())
    except OSError as error:
        size = sum(array.nbytes for array in made.values()) >> 20
        raise UserError(
            f"cannot write the cache {path}: {error.strerror}. Set paths.cache to a folder with room for {size} MB."
        ) from error


def _read(path: Path) -> tuple[dict[str, Array], str] | None:
    """Return (arrays, fingerprint), or None with a warning when the file is damaged."""
    import torch

    try:
        stored = torch.load(path, weights_only=True)
        digest = str(stored.pop("fingerprint"))
        made = {str(name): tensor.numpy() for name, tensor in stored.items()}
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, UnpicklingError):
        made, digest = {}, ""
    if made and fingerprint(*made.values()) == digest:
        return made, digest
    log.warning("the cache %s is damaged and is made anew", path)
    return None
