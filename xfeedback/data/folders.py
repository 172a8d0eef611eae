"""Finding, verifying and downloading the files of a data set."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from xfeedback.data.options import Places
from xfeedback.errors import UserError


def candidates(places: Places, *inside: str) -> list[Path]:
    """Return the folders a set may lie in: each of ``inside`` under the root, then under each extra root."""
    return [place / path for place in (places.root, *places.extra) for path in inside]


def read_bytes(path: Path) -> bytes:
    """Read a file; one that is missing or can't be read is a :class:`UserError` that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Restore the file, or remove its folder.") from error


def files_below(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Return the files of a folder and of the folders in it, sorted; links to files and folders count as what they are.

    A link that leads nowhere is refused, unless its name begins with a dot.

    Args:
        folder: where to look.
        above: folders that this one lies in; a link back to one of them is left out.

    Raises:
        UserError: a link leads nowhere.
    """
    real = folder.resolve()
    if real in above:
        return []
    found: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            found += files_below(entry, above | {real})
        elif entry.is_file():
            found.append(entry)
        elif entry.is_symlink() and entry.name[0] != ".":
            raise UserError(f"{entry} is a link to {entry.readlink()}, which is not there")
    return found


def damaged(path: Path, reason: object) -> UserError:
    """Build the error for a file whose content is not what it should be."""
    return UserError(f"{path} is damaged: {reason}. Remove {path.parent} and download it anew, or restore the file.")


def verify(path: Path, content: bytes, md5: str) -> None:
    """Compare a file with its published checksum.

    Raises:
        UserError: it differs.
    """
    found = md5_of(content)
    if found != md5:
        raise damaged(path, f"its md5 is {found}, the published one {md5}")


def md5_of(content: bytes) -> str:
    """Return the MD5 of ``content`` in hex: what the publishers give, no protection against forgery."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def check_size(
    what: str,
    found: tuple[int, ...],
    official: tuple[int, ...],
    declared: Iterable[Sequence[int]],
    folder: Path,
    *,
    counted: Sequence[str] = ("training", "test images"),
) -> bool:
    """Return whether a folder holds the whole official set; False for a shortened one whose size is declared.

    Args:
        what: the set's name for messages.
        found: numbers of what is there.
        official: the same of the whole set.
        declared: of shortened sets that are accepted.
        folder: for messages.
        counted: what each number counts, in words.

    Raises:
        UserError: neither.
    """
    if found == official:
        return True
    if found in {tuple(sizes) for sizes in declared}:
        return False
    raise UserError(
        f"{folder} holds {_counts(found, counted)} of {what}, expected {_counts(official)}. Restore the files, or "
        f"declare a shortened set: 'dataset.declared_sizes=[[{','.join(map(str, found))}]]'."
    )


def _counts(numbers: Sequence[int], words: Sequence[str] = ()) -> str:
    """Numbers as in ``5 training, 2 validation and 3 test images``."""
    named = [f"{number} {words[at]}" if words else str(number) for at, number in enumerate(numbers)]
    return f"{', '.join(named[:-1])} and {named[-1]}"


def download(what: str, target: Path, searched: Iterable[Path], fetch: Callable[[Path], Path]) -> Path:
    """Download a set into ``target``, which appears only when whole.

    Args:
        what: the set's name for messages.
        target: the folder to make.
        searched: where the set was looked for, for the message.
        fetch: downloads and verifies into a given folder and returns the folder made there.

    Raises:
        UserError: the download failed.
    """
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as temporary:
            made = fetch(Path(temporary))
            if not (target.is_dir() and any(target.iterdir())):  # another process may have been faster
                made.replace(target)
    except (OSError, RuntimeError) as error:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        reason = " ".join(str(error).split()) or type(error).__name__
        folders = ", ".join(dict.fromkeys(str(path) for path in searched))
        raise UserError(
            f"no {what} in {folders}, and downloading it failed ({reason[:200]}). Put its files into {target}, or set "
            "XFEEDBACK_DATA to a folder that holds it."
        ) from error
    return target
