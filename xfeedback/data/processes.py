"""The processes of the time series benchmark of Ismail et al. 2020 (released code; library TimeSynth), in numpy.

Each gives F features at the times of one sample, ``(T, F)`` for times ``(T,)``. Details: `docs/data.md`, "Series".
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.random import Generator

from xfeedback.dtypes import Floats

Process = Callable[[Floats, int, Generator], Floats]
NARMA_ORDER = 10


def harmonic(times: Floats, features: int, rng: Generator) -> Floats:
    """sin(2 pi 2 t), the same for all features."""
    del rng
    return np.repeat(np.sin(2 * np.pi * 2 * times)[:, None], features, axis=1)


def pseudo_periodic(times: Floats, features: int, rng: Generator) -> Floats:
    """A sin(F t), A from N(1, 0.5^2) and F from N(2, 0.01^2), both new at every point."""
    shape = (len(times), features)
    return rng.normal(1, 0.5, shape) * np.sin(rng.normal(2, 0.01, shape) * times[:, None])


def matern(times: Floats) -> Floats:
    """Covariance (1 + sqrt(3) d) exp(-sqrt(3) d) of distances in time ``(T, T)``."""
    distance = np.sqrt(3) * np.abs(times[:, None] - times)
    return (1 + distance) * np.exp(-distance)


def gaussian_process(times: Floats, features: int, rng: Generator) -> Floats:
    """Mean 0, Matern 3/2 kernel of length 1 and variance 1."""
    root = np.linalg.cholesky(matern(times) + 1e-12 * np.eye(len(times)))
    return root @ rng.normal(size=(len(times), features))


def auto_regressive(times: Floats, features: int, rng: Generator) -> Floats:
    """x_j = 0.9 x_(j-1) + N(0, 0.5^2) from 0; how far apart the times are does not count."""
    noise, state = rng.normal(0, 0.5, (len(times), features)), np.zeros(features)
    for step in noise:
        state = 0.9 * state + step
        step[:] = state
    return noise


def car(times: Floats, features: int, rng: Generator) -> Floats:
    """x_0 = 0.01, x_j = 0.9^D x_(j-1) + 0.01 sqrt(1 - 0.9^D) N(0, 1), D the time since the last point."""
    keep = 0.9 ** np.diff(times)
    values = rng.normal(size=(len(times), features))
    values[0] = 0.01
    for j, share in enumerate(keep, 1):
        values[j] = share * values[j - 1] + 0.01 * np.sqrt(1 - share) * values[j]
    return values


def narma(times: Floats, features: int, rng: Generator) -> Floats:
    """NARMA of order 10 driven by draws of the generator, one series a feature."""
    return np.stack([_narma(rng.uniform(0, 0.5, len(times) + NARMA_ORDER)) for _ in range(features)], axis=1)


def seeded_narma(seed: int) -> Process:
    """Return NARMA that starts anew from a seed each time: all features and samples share one series."""

    @cache
    def series(steps: int) -> Floats:
        return _narma(np.random.RandomState(seed).uniform(0, 0.5, steps + NARMA_ORDER))

    def process(times: Floats, features: int, rng: Generator) -> Floats:
        del rng
        return np.repeat(series(len(times))[:, None], features, axis=1)

    return process


def _narma(u: Floats) -> Floats:
    """y_j = 0.3 y_(j-1) + 1.5 u_j u_(j+10) + 0.1; the library's sum over lags is always zero and left out."""
    values, last = np.empty(len(u) - NARMA_ORDER), 0.0
    for j in range(len(values)):
        last = values[j] = 0.3 * last + 1.5 * u[j] * u[j + NARMA_ORDER] + 0.1
    return values


PROCESSES: dict[str, Process | None] = {
    "Box": None,
    "Harmonic": harmonic,
    "PseudoPeriodic": pseudo_periodic,
    "GaussianProcess": gaussian_process,
    "AutoRegressive": auto_regressive,
    "CAR": car,
    "NARMA": narma,
}
"""By name; ``Box`` is noise alone and has no times."""


def sampled_times(rng: Generator, steps: int = 50) -> Floats:
    """Return a sample's times ``(steps,)``: half of twice as many even ones in [0, 20], each moved by N(0, 0.2^2)."""
    even = rng.choice(np.linspace(0, 20, 2 * steps), steps, replace=False)
    return np.sort(even + rng.normal(0, 0.2, steps))
