"""Series from files: missing values, unequal lengths, labels and splits. Rules: `docs/data.md`, section "Series".

Letters: N series, T steps of the longest one, F features.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data.options import DatasetConfig, Places
from xfeedback.data.source import Part, Source, fingerprint, stratified
from xfeedback.dtypes import Bools, Floats
from xfeedback.errors import UserError, suggest
from xfeedback.kinds import Kind


@dataclass(frozen=True, kw_only=True)
class SeriesConfig(DatasetConfig):
    """Options of sets of series from files.

    Attributes:
        missing: values that are missing between others: ``interpolate`` between the neighbours, or ``refuse``.
        unequal: series of several lengths: ``pad`` at the end, ``stretch`` all to the longest, or ``refuse``.
        val_share: share of each class of the training set that validates; 0: nothing does.
        val_least: training series that the smallest class needs for a validation set to be split off.
    """

    kind: ClassVar[Kind] = "series"
    plants_decoys: ClassVar[bool] = False
    missing: Literal["interpolate", "refuse"] = "interpolate"
    unequal: Literal["pad", "stretch", "refuse"] = "pad"
    val_share: float = 0.2
    val_least: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.val_share < 1, "val_share", self.val_share, "in [0, 1)")
        require(self.val_least >= 2, "val_least", self.val_least, "2 or more")

    @property
    def title(self) -> str:
        """The set's name in messages."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class ArchiveConfig(SeriesConfig):
    """Options of sets from an archive of series.

    Attributes:
        problem: which of the archive's sets.
        label: its name in tables; None: ``problem``.
    """

    problem: str = "GunPoint"

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = bool(self.problem) and Path(self.problem).name == self.problem
        require(plain, "problem", self.problem, "the name of one of the archive's sets, e.g. GunPoint")
        if self.label is None:
            object.__setattr__(self, "label", self.problem)

    @property
    def title(self) -> str:
        """The set's name in messages."""
        return self.problem


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series as it stands in a file.

    Attributes:
        values: ``(T, F)`` float64; NaN where a value is missing.
        label: its class.
        where: the file and its line, for messages.
    """

    values: Floats
    label: str
    where: str


def found(places: Places, inside: Sequence[str], problem: str, ending: str, archive: str) -> tuple[Path, Path]:
    """Return the training and the test file of a set, ``<problem>/<problem>_TRAIN<ending>`` in one of some folders.

    Raises:
        UserError: there are none; the message names the nearest set that is there.
    """
    searched = [place / path for place in (places.root, *places.extra) for path in inside]
    for folder in searched:
        train, test = (folder / problem / f"{problem}_{part}{ending}" for part in ("TRAIN", "TEST"))
        if train.is_file() and test.is_file():
            return train, test
    there = {file.parent.name for folder in searched for file in folder.glob(f"*/*_TRAIN{ending}")}
    known = f"{suggest(problem, there)} There are: {', '.join(sorted(there))}." if there else ""
    raise UserError(
        f"no {problem}/{problem}_TRAIN{ending} and {problem}_TEST{ending} in {', '.join(map(str, searched))}.{known} "
        f"Get the set from {archive}, or set XFEEDBACK_DATA to a folder with it."
    )


def source(config: SeriesConfig, train: Sequence[Series], test: Sequence[Series]) -> Source:
    """Return a data set with its own training and test set.

    Raises:
        UserError: a set is empty, a series can't be used, or its label is not one of training.
    """
    names = _class_names(config.title, train, test)
    whole_series, gaps = zip(*(filled(item, config) for item in (*train, *test)), strict=True)
    lengths = {len(values) for values in whole_series}
    stamps = [f"{sum(gaps)} series with missing values"] if any(gaps) else []
    stamps += [f"lengths {min(lengths)} to {max(lengths)}"] if len(lengths) > 1 else []
    x, valid = _equal(whole_series, config)
    y = np.array([names.index(item.label) for item in (*train, *test)], dtype=np.int64)
    n = len(train)
    whole = Part(x=x[:n], y=y[:n], index=np.arange(n), valid=None if valid is None else valid[:n])
    parts = _split(whole, config)
    mean, std = feature_statistics(parts[0].x, parts[0].valid)
    return Source(
        kind="series",
        train=parts[0],
        val=parts[1],
        test=Part(x=x[n:], y=y[n:], index=np.arange(len(test)), valid=None if valid is None else valid[n:]),
        class_names=names,
        mean=mean,
        std=std,
        stamps=tuple(stamps),
        fingerprint=fingerprint(x, y, *(() if valid is None else (valid,))),
    )


def _class_names(problem: str, train: Sequence[Series], test: Sequence[Series]) -> tuple[str, ...]:
    for name, items in (("training", train), ("test", test)):
        if not items:
            raise UserError(f"{problem} has no {name} series")
    known = {item.label for item in train}
    strange = next((item for item in test if item.label not in known), None)
    if strange is not None:
        raise UserError(f"{strange.where}: no training series has the label '{strange.label}'")
    if len(known) < 2:
        raise UserError(f"{problem} has a single class in training, '{train[0].label}': there is nothing to learn")
    return tuple(sorted(known, key=_order))


def _order(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def filled(item: Series, config: SeriesConfig) -> tuple[Floats, bool]:
    """Return a series ``(T, F)`` up to its last value, without gaps, and whether it had some.

    Raises:
        UserError: a value is infinite, a dimension has none, or one is missing where that is refused.
    """
    real = np.isfinite(item.values)
    infinite = np.isinf(item.values).any()
    if infinite or not real.any(0).all():
        column = int(np.argmin(real.any(0)))
        raise UserError(
            f"{item.where}: " + ("a value is infinite" if infinite else f"no value in dimension {column + 1}")
        )
    length = int(np.flatnonzero(real.any(1)).max()) + 1
    values, real = item.values[:length], real[:length]
    gaps = not real.all()
    if gaps and config.missing == "refuse":
        raise UserError(f"{item.where}: a value is missing; dataset.missing=interpolate fills it from its neighbours")
    steps = np.arange(length)
    pairs = zip(values.T, real.T, strict=True)
    return np.stack([np.interp(steps, steps[there], line[there]) for line, there in pairs], axis=1), gaps


def _equal(series: Sequence[Floats], config: SeriesConfig) -> tuple[Floats, Bools | None]:
    """Return series as one array ``(N, T, F)`` float32, and which steps are real ``(N, T)``, None for all."""
    widths = {values.shape[1] for values in series}
    if len(widths) > 1:
        raise UserError(f"{config.title} has series of {' and '.join(map(str, sorted(widths)))} dimensions")
    lengths = np.array([len(values) for values in series])
    longest = int(lengths.max())
    if config.unequal == "refuse" and lengths.min() < longest:
        raise UserError(
            f"{config.title} has series of {lengths.min()} to {longest} steps; take dataset.unequal=pad or stretch"
        )
    if config.unequal == "stretch":
        series, lengths = [stretched(values, longest) for values in series], np.full(len(series), longest)
    x = np.zeros((len(series), longest, widths.pop()), dtype=np.float32)
    for row, values in enumerate(series):
        x[row, : len(values)] = values
    valid = np.arange(longest) < lengths[:, None]
    return x, None if valid.all() else valid


def stretched(values: Floats, length: int) -> Floats:
    """Linear interpolation of ``(T, F)`` to ``(length, F)``; first and last step stay."""
    at, steps = np.linspace(0, len(values) - 1, length), np.arange(len(values))
    return np.stack([np.interp(at, steps, line) for line in values.T], axis=1)


def _split(whole: Part, config: SeriesConfig) -> tuple[Part, Part | None]:
    """Split the validation set off: at least one series of each class, or there is none."""
    counts = np.bincount(whole.y)
    if config.val_share == 0 or counts.min() < config.val_least:
        return whole, None
    chosen = np.zeros(len(whole.y), dtype=bool)
    chosen[stratified(whole.y, max(len(counts), round(config.val_share * len(whole.y))))] = True
    if (np.bincount(whole.y[chosen], minlength=len(counts)) == 0).any():
        return whole, None
    return whole.take(np.flatnonzero(~chosen)), whole.take(np.flatnonzero(chosen))


def feature_statistics(x: Floats, valid: Bools | None = None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each feature over all real steps; 1 for the sd of a constant feature.

    Args:
        x: ``(N, T, F)``.
        valid: ``(N, T)`` bool; None: all.
    """
    cells = x.reshape(-1, x.shape[2]) if valid is None else x[valid]
    mean, std = cells.mean(0, dtype=np.float64), cells.std(0, dtype=np.float64)
    flat = std <= 1e-7 * np.maximum(1.0, np.abs(mean))
    return tuple(mean.tolist()), tuple(np.where(flat, 1.0, std).tolist())


def numbers(texts: Iterable[str], where: str) -> Floats:
    """Return numbers as they stand in a file, ``?`` and ``NaN`` as NaN.

    Raises:
        UserError: one of them is no number.
    """
    words = [text.strip() for text in texts]
    try:
        return np.array([np.nan if word in ("?", "") else float(word) for word in words])
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
