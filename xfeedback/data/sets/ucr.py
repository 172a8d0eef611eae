"""Sets of the UCR archive of 2018 (Dau et al. 2019): single series in the archive's own ``.tsv`` files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xfeedback.data import folders, series
from xfeedback.data.options import Places
from xfeedback.data.series import ArchiveConfig, Series
from xfeedback.data.source import Source
from xfeedback.errors import UserError

INSIDE = ("UCRArchive_2018", "UCR", ".")


@dataclass(frozen=True, kw_only=True)
class Config(ArchiveConfig):
    """Options of ``dataset=ucr``; see :class:`xfeedback.data.series.ArchiveConfig`."""

    name: Literal["ucr"] = "ucr"


def read(config: Config, places: Places) -> Source:
    """Return one set of the archive with its official training and test set.

    Raises:
        UserError: the files are missing, or hold what can't be used.
    """
    archive = "https://www.cs.ucr.edu/~eamonn/time_series_data_2018/"
    train, test = series.found(places, INSIDE, config.problem, ".tsv", archive)
    return series.source(config, rows(train), rows(test))


def rows(path: Path) -> list[Series]:
    """Read a series a line: the label, then its values, NaN where one is missing or the series has ended.

    Raises:
        UserError: the file can't be read or begins with a header, or a line has no values or some that are no numbers.
    """
    found = []
    for number, line in enumerate(folders.read_bytes(path).decode("utf-8-sig", "replace").splitlines(), 1):
        if line.strip():
            label, *values = line.rstrip("\r\n").split("\t")
            where = f"{path}, line {number}"
            if not found and label.strip().lower() == "label":
                raise UserError(f"{where} is a header, and a .tsv file of series has none; a .csv file has one")
            if not values:
                raise UserError(f"{where}: no value after the label; values are separated by tabs")
            found.append(Series(values=series.numbers(values, where)[:, None], label=label.strip(), where=where))
    return found
