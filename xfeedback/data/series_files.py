"""Files of series: CSV with a line a series or a line a step, UCR's ``.tsv`` and UEA's ``.ts``."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from xfeedback.data import text_sets
from xfeedback.data.series import Series, numbers
from xfeedback.data.sets import ucr, uea
from xfeedback.errors import UserError, suggest

ENDINGS = (".csv", ".tsv", ".ts")
LABEL, SERIES = "label", "series"
"""Columns of a CSV file that hold no values."""
NUMBERS = ("", "Unnamed: 0")
"""What pandas calls the column of a table's row numbers when it writes and reads it."""


def read(path: Path, *, labelled: bool = True) -> list[Series]:
    """Return the series of a file, in order.

    A ``.csv`` file begins with a header. Without a column ``series`` each line is a series of one feature: its
    ``label``, and its steps in all other columns. With a column ``series`` each line is a step: the series' name, its
    ``label``, and a column a feature; the lines of a series stand together.

    Args:
        path: of a ``.csv``, ``.tsv`` (UCR) or ``.ts`` (UEA) file.
        labelled: a CSV file must have a column ``label``; without, all others are values.

    Raises:
        UserError: the file can't be read, or a line is not as it should be.
    """
    kind = path.suffix.lower()
    if kind not in ENDINGS:
        raise UserError(f"{path} must be a file of series: {', '.join(ENDINGS)}")
    readers = {".csv": partial(_csv, labelled=labelled), ".tsv": ucr.rows, ".ts": uea.rows}
    found = readers[kind](path)
    if not found:
        raise UserError(f"{path} holds no series")
    return found


def _csv(path: Path, *, labelled: bool) -> list[Series]:
    lines = list(_lines(path))
    if not lines:
        raise UserError(f"{path} is empty; it must begin with a header such as label,1,2,3 or series,label,x,y")
    header = [name.strip() for name in lines[0][1]]
    if labelled and LABEL not in header:
        raise UserError(f"{lines[0][0]}: the header has no column '{LABEL}'.{suggest(LABEL, header)}")
    _refuse_misnamed(lines[0][0], header)
    values = [at for at, name in enumerate(header) if name not in (LABEL, SERIES)]
    if not values:
        raise UserError(f"{lines[0][0]}: the header names no column of values beside {', '.join(header)}")
    for where, fields in lines[1:]:
        if len(fields) != len(header):
            raise UserError(f"{where} has {len(fields)} field(s), and the header {len(header)}")
    label = header.index(LABEL) if LABEL in header else None
    if SERIES in header:
        return _long(lines[1:], header.index(SERIES), label, values)
    return [
        Series(values=_row(fields, values, where)[:, None], label=_label(fields, label, where), where=where)
        for where, fields in lines[1:]
    ]


def _refuse_misnamed(where: str, header: Sequence[str]) -> None:
    """Refuse a table's row numbers, which would count as values, and a second column of labels, which would be lost."""
    if header[0] in NUMBERS and any(name not in (*NUMBERS, LABEL, SERIES) for name in header):
        raise UserError(
            f"{where}: the first column has no name of its own, as that of a table's row numbers, which would count as "
            "values. Write the file without it (pandas: index=False), or name it."
        )
    for name in (LABEL, SERIES):
        if header.count(name) > 1:
            raise UserError(f"{where}: several columns are called '{name}'")


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    return ((where, fields) for where, fields in text_sets.csv_rows(path) if any(field.strip() for field in fields))


def _row(fields: Sequence[str], at: Sequence[int], where: str) -> np.ndarray:
    return numbers([fields[column] for column in at], where)


def _label(fields: Sequence[str], at: int | None, where: str) -> str:
    found = "" if at is None else fields[at].strip()
    if at is not None and not found:
        raise UserError(f"{where}: the label is empty")
    return found


def _long(lines: Sequence[tuple[str, list[str]]], name: int, label: int | None, values: Sequence[int]) -> list[Series]:
    """Series whose steps stand one a line."""
    groups: dict[str, list[tuple[str, list[str]]]] = {}
    last = None
    for where, fields in lines:
        own = fields[name].strip()
        if own != last and own in groups:
            raise UserError(f"{where}: series '{own}' goes on after another one began; let its lines stand together")
        groups.setdefault(own, []).append((where, fields))
        last = own
    found = []
    for steps in groups.values():
        labels = [_label(fields, label, where) for where, fields in steps]
        odd = next((at for at, one in enumerate(labels) if one != labels[0]), None)
        if odd is not None:
            raise UserError(f"{steps[odd][0]}: the label is '{labels[odd]}', and the series began with '{labels[0]}'")
        rows = np.stack([_row(fields, values, where) for where, fields in steps])
        found.append(Series(values=rows, label=labels[0], where=steps[0][0]))
    return found
