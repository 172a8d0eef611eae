"""Which of a person's own files train, validate or test: their lists, or a stratified draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xfeedback.data import images, text_sets
from xfeedback.dtypes import Ints
from xfeedback.errors import UserError, suggest

FOLDER = "splits"
"""Holds the lists ``train.txt``, ``val.txt`` (may be missing) and ``test.txt``."""


def splits(
    folder: Path, keys: Sequence[str], y: Ints, seed: int, *, inside: str, endings: Sequence[str], what: str
) -> tuple[dict[str, Ints], tuple[str, ...]]:
    """Return rows by split, and a stamp when files stand in none; without lists 60/20/20 by class.

    Args:
        folder: that may hold ``splits/``.
        keys: of each file ``<class>/<stem>``, in order.
        y: labels ``(N,)``.
        seed: of a draw.
        inside: where the files lie in ``folder``, for messages: ``images/`` or nothing.
        endings: of the files; a list may name them with theirs.
        what: the files in the plural, for messages.

    Raises:
        UserError: a list can't be read, is empty, or names what is not there or stands in another list.
    """
    lists = {name: folder / FOLDER / f"{name}.txt" for name in ("train", "val", "test")}
    if not (folder / FOLDER).is_dir():
        return images.drawn_splits(y, seed), ()
    row_of = {key: row for row, key in enumerate(keys)}
    taken: dict[int, str] = {}
    rows: dict[str, Ints] = {}
    for name, path in lists.items():
        if not path.exists() and name == "val":
            continue
        listed = [_row(path, line, row_of, inside, endings) for line in _lines(path)]
        for row in listed:
            if taken.setdefault(row, name) != name:
                raise UserError(f"{path}: {keys[row]} is in the split {taken[row]} too")
        if not listed:
            raise UserError(f"{path} names no {what.removesuffix('s')}")
        rows[name] = np.array(sorted(set(listed)))
    missing = len(keys) - len(taken)
    return rows, (f"{missing} {what} in no split",) if missing else ()


def refuse_absent(labels: Sequence[int], names: Sequence[str], what: str) -> None:
    """Refuse a training set that lacks a class.

    Raises:
        UserError: it does; ``what`` is one sample in words.
    """
    absent = [name for label, name in enumerate(names) if label not in labels]
    if absent:
        raise UserError(f"no training {what} of class {', '.join(absent)}: each class needs some in the training split")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"cannot read {path}: there is no such file. Splits need train.txt and test.txt.")
    return [line.strip() for line in text_sets.decoded(path).splitlines() if line.strip()]


def _row(path: Path, line: str, row_of: Mapping[str, int], inside: str, endings: Sequence[str]) -> int:
    head, _, ending = line.rpartition(".")
    key = head if f".{ending.lower()}" in endings else line
    if key not in row_of:
        raise UserError(f"{path}: there is no {inside}{line}.{suggest(key, row_of)}")
    return row_of[key]
