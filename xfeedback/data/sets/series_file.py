"""Anyone's series: CSV files with a line a series or a line a step, or the archives' ``.tsv`` and ``.ts``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data import series, series_files
from xfeedback.data.options import Places
from xfeedback.data.source import Source, stratified
from xfeedback.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config(series.SeriesConfig):
    """Options of ``dataset=series_file``; :func:`xfeedback.data.series_files.read` says what a file holds.

    Attributes:
        train, test: the files; without ``test`` a stratified fifth of the series in ``train`` tests.
        split_seed: of that draw; the run's seed does not change it.
    """

    name: Literal["series_file"] = "series_file"
    train: str | None = None
    test: str | None = None
    split_seed: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.split_seed >= 0, "split_seed", self.split_seed, "0 or more")


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Return the series of the files.

    Raises:
        UserError: no file is given, one is missing or of another kind, or a series can't be used.
    """
    if config.train is None:
        raise UserError("dataset=series_file needs dataset.train=FILE.csv, .tsv (UCR) or .ts (UEA)")
    train = series_files.read(Path(config.train))
    if config.test is not None:
        return series.source(config, train, series_files.read(Path(config.test)))
    chosen = np.zeros(len(train), dtype=bool)
    labels = np.unique([item.label for item in train], return_inverse=True)[1]
    chosen[stratified(labels, round(0.2 * len(train)), config.split_seed)] = True
    parts = ([item for item, picked in zip(train, chosen, strict=True) if picked == tests] for tests in (False, True))
    return series.source(config, *parts)
