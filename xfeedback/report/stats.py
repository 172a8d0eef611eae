"""Statistics over seeds: mean, sample standard deviation, 95 % intervals, and differences paired by seed.

The interval of a mean is Student's ``mean +- t(0.975, n-1) sd / sqrt(n)``. With the three to ten seeds that a
comparison has, this is the one that covers: it is exact for normal data at every ``n >= 2`` and pays for a small ``n``
by its width (t is 12.7 at n = 2 and 4.3 at n = 3), whereas a percentile bootstrap of three values can't leave their
range and covers the truth about three times in four. A single seed has no interval, and none is made up.
:func:`bootstrap` is for statistics without such a formula and for ten or more values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtr, stdtr, stdtrit

CONFIDENCE = 0.95
POWER = 0.8
"""Chance of showing a difference that is there, for :func:`seeds_needed`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval ``[low, high]``, in the unit of the values it was made from."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies inside, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Summary:
    """What several seeds say about one number.

    Attributes:
        mean: arithmetic mean, in the unit of the values.
        sd: sample standard deviation (divisor n - 1), or None for a single value.
        interval: 95 % interval of the mean, or None for a single value.
        n: number of values.
    """

    mean: float
    sd: float | None
    interval: Interval | None
    n: int

    @property
    def apart_from_zero(self) -> bool:
        """Whether the interval exists and excludes zero; meant for differences."""
        return self.interval is not None and not self.interval.contains(0.0)

    @property
    def p_value(self) -> float | None:
        """Two-sided p of Student's test of the mean against 0, or None for a single value; meant for differences."""
        if self.sd is None:
            return None
        if self.sd == 0:
            return float(self.mean == 0)
        return 2 * float(stdtr(self.n - 1, -abs(self.mean) * sqrt(self.n) / self.sd))


def summarise(values: Sequence[float]) -> Summary:
    """Mean, sd and 95 % Student interval of independent ``values`` (n,).

    Raises:
        ValueError: ``values`` is empty or holds a value that is not finite.

    >>> found = summarise([1.0, 2.0, 3.0])
    >>> found.mean, found.sd, round(found.interval.low, 4), round(found.interval.high, 4)
    (2.0, 1.0, -0.4841, 4.4841)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"need at least one finite value, got {list(values)}")
    mean, n = float(array.mean()), int(array.size)
    if n == 1:
        return Summary(mean, None, None, 1)
    sd = float(array.std(ddof=1))
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / sqrt(n)
    return Summary(mean, sd, Interval(mean - half, mean + half), n)


def paired_difference(ours: Mapping[int, float], baseline: Mapping[int, float]) -> Summary | None:
    """Summary of ``ours[s] - baseline[s]`` over the seeds both have, or None when they share none.

    Pairing removes what a seed does to both rows (initialisation, order of data), so the interval is that of the
    differences and not of two unrelated means.
    """
    shared = sorted(ours.keys() & baseline.keys())
    return summarise([ours[seed] - baseline[seed] for seed in shared]) if shared else None


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for being several (Holm 1979): each at most alpha keeps the family-wise error at most alpha.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for position, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def seeds_needed(difference: Summary, *, limit: int = 1000) -> int | None:
    """Seeds at which a paired t-test shows a difference of this size and spread with a chance of 80 %.

    Taken at its face value, the difference found: a planning figure, not a promise.

    Returns:
        2 or more; None for a single seed, a difference of 0, or more than ``limit``.
    """
    if difference.sd is None or difference.mean == 0:
        return None
    if difference.sd == 0:
        return 2
    effect = abs(difference.mean) / difference.sd
    return next((n for n in range(2, limit + 1) if _power(effect, n) >= POWER), None)


def _power(effect: float, n: int) -> float:
    """Chance that a two-sided paired t-test of ``n`` pairs shows a difference of ``effect`` standard deviations."""
    critical = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return 1 - float(nctdtr(n - 1, effect * sqrt(n), critical))


def mean_ranks(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean rank of each name over several tables of values (1 = the largest; ties share their ranks' mean).

    Only names that every table has are ranked.

    >>> mean_ranks([{"a": 90, "b": 80}, {"a": 70, "b": 70, "c": 99}])
    {'a': 1.25, 'b': 1.75}
    """
    shared = [name for name in tables[0] if all(name in table for table in tables)] if tables else []
    ranks: dict[str, float] = dict.fromkeys(shared, 0.0)
    for table in tables:
        for name in shared:
            above = sum(table[other] > table[name] for other in shared)
            ties = sum(table[other] == table[name] for other in shared)
            ranks[name] += (above + (ties + 1) / 2) / len(tables)
    return ranks


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """95 % percentile bootstrap interval of ``statistic`` (default: the mean).

    Args:
        values: independent values (n,), n >= 2.
        statistic: maps resamples (R, n) to one number each (R,).
        resamples: number of resamples R.
        seed: of the generator, so that a report is the same each time.

    Raises:
        ValueError: fewer than two values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        raise ValueError(f"a bootstrap interval needs two values or more, got {array.size}")
    drawn = np.random.default_rng(seed).choice(array, size=(resamples, array.size))
    found = drawn.mean(axis=1) if statistic is None else statistic(drawn)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(float(low), float(high))
