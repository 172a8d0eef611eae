"""Which clip of Speech Commands trains, validates or tests: the official lists and the rule they were made by."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from xfeedback.errors import UserError, suggest

MOST_CLIPS = 2**27 - 1
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}


def split_of(name: str, validation: float = 10.0, testing: float = 10.0) -> Literal["train", "val", "test"]:
    """Return the split that Warden 2018's rule gives a clip; all clips of a speaker get the same.

    With h the SHA-1 of the name up to ``_nohash_``: u = 100 (h mod 2^27) / (2^27 - 1); u < 10 validates, u < 20 tests.

    Args:
        name: file name, with or without folders.
        validation: share of the clips that validate, in percent.
        testing: share of the clips that test, in percent.

    >>> split_of("bed/0165e0e8_nohash_0.wav")
    'train'
    """
    percent = percentage(name)
    return "val" if percent < validation else "test" if percent < validation + testing else "train"


def percentage(name: str) -> float:
    """Return u of :func:`split_of`.

    >>> round(percentage("0165e0e8_nohash_0.wav"), 4), round(percentage("ffd2ba2f_nohash_3.wav"), 4)
    (83.712, 55.3017)
    """
    number = int(hashlib.sha1(speaker(name).encode(), usedforsecurity=False).hexdigest(), 16)
    return number % (MOST_CLIPS + 1) * (100.0 / MOST_CLIPS)


def speaker(name: str) -> str:
    """Return who speaks: a clip's file name up to ``_nohash_``.

    >>> speaker("yes/f9643d42_nohash_1.wav")
    'f9643d42'
    """
    return Path(name).name.split("_nohash_")[0].removesuffix(".wav")


def read_list(path: Path, drop_last_line: bool = False) -> list[str]:
    """Return the clips ``<word>/<file>`` that a list names, in its order.

    Args:
        path: the list.
        drop_last_line: ignore what follows the last line break: nothing, if the list ends with one.

    Raises:
        UserError: it can't be read, or names a clip twice.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserError(f"cannot read {path}: {reason}. The archive brings this list; restore it.") from error
    lines = text.split("\n")
    names = [line.strip() for line in (lines[:-1] if drop_last_line else lines) if line.strip()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} names {twice} twice")
    return names


def split_rows(folder: Path, names: Sequence[str], drop_last_line: bool = False) -> dict[str, list[int]]:
    """Return positions in ``names`` by split: the two lists in their order, the rest in the order of ``names``.

    Args:
        folder: with the two lists.
        names: all clips ``<word>/<file>``, sorted.
        drop_last_line: leave out each list's unfinished last line and the last training clip.

    Raises:
        UserError: a list can't be read, names a clip that is not there, or both name the same.
    """
    position = {name: row for row, name in enumerate(names)}
    taken: dict[int, str] = {}
    rows: dict[str, list[int]] = {}
    for split, file in LISTS.items():
        rows[split] = [_row(folder / file, name, position) for name in read_list(folder / file, drop_last_line)]
        for row in rows[split]:
            if taken.setdefault(row, split) != split:
                raise UserError(f"{folder / file}: {names[row]} is in {LISTS[taken[row]]} too")
    train = [row for row in range(len(names)) if row not in taken]
    rows["train"] = train[:-1] if drop_last_line else train
    return rows


def _row(path: Path, name: str, position: dict[str, int]) -> int:
    if name not in position:
        word = name.split("/", maxsplit=1)[0]
        near = suggest(name, [known for known in position if known.startswith(f"{word}/")])
        raise UserError(f"{path} names {name}, and there is no such clip.{near} Restore the clip, or correct the list.")
    return position[name]


def digest(folder: Path) -> str:
    """Return the SHA-256 of both lists, validation first."""
    content = b"".join((folder / file).read_bytes() for file in LISTS.values())
    return hashlib.sha256(content).hexdigest()
