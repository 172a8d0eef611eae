"""Sets of the UEA archive (Bagnall et al. 2018) and any other in ``.ts`` files: series of one or several dimensions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.data import folders, series
from xfeedback.data.options import Places
from xfeedback.data.series import ArchiveConfig, Series
from xfeedback.data.source import Source
from xfeedback.errors import UserError

INSIDE = ("UEA_ts", "Multivariate_ts", "Univariate_ts", "UEA", ".")


@dataclass(frozen=True, kw_only=True)
class Config(ArchiveConfig):
    """Options of ``dataset=uea``; see :class:`xfeedback.data.series.ArchiveConfig`."""

    name: Literal["uea"] = "uea"
    problem: str = "BasicMotions"


def read(config: Config, places: Places) -> Source:
    """Return one set with its official training and test set.

    Raises:
        UserError: the files are missing, or hold what can't be used.
    """
    train, test = series.found(places, INSIDE, config.problem, ".ts", "https://timeseriesclassification.com")
    return series.source(config, rows(train), rows(test))


def rows(path: Path) -> list[Series]:
    """Read a ``.ts`` file: ``@`` lines, then a case a line, its dimensions and label with colons between them.

    Raises:
        UserError: the file has time stamps, no labels, or a case that is not as it should be.
    """
    lines = folders.read_bytes(path).decode("utf-8", "replace").splitlines()
    head = {}
    for number, line in enumerate(lines):
        key, _, value = line.strip().lower().partition(" ")
        if key == "@data":
            _check(head, path)
            body = lines[number + 1 :]
            return [_case(line, f"{path}, line {number + 2 + at}") for at, line in enumerate(body) if line.strip()]
        if key.startswith("@"):
            head[key] = value.strip()
    raise folders.damaged(path, "it has no line @data")


def _check(head: dict[str, str], path: Path) -> None:
    if head.get("@timestamps", "false") == "true":
        raise UserError(f"{path} gives a time with each value (@timeStamps true), which is not supported")
    if not head.get("@classlabel", "").startswith("true"):
        raise UserError(f"{path} has no class labels (@classLabel true): it is not a set for classification")


def _case(line: str, where: str) -> Series:
    *dimensions, label = line.strip().split(":")
    if not dimensions:
        raise UserError(f"{where}: no values; dimensions and the label are separated by colons")
    columns = [series.numbers(text.split(","), where) for text in dimensions]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise UserError(f"{where}: dimensions of {' and '.join(map(str, sorted(lengths)))} values in one series")
    return Series(values=np.stack(columns, axis=1), label=label.strip(), where=where)
