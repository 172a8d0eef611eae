"""Rows of a split: which samples each phase has, how they are taken out and put together."""

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from xfeedback.continual.options import PhasesConfig
from xfeedback.data.pictures import Pictures
from xfeedback.data.source import stratified
from xfeedback.data.task import Split
from xfeedback.dtypes import Ints
from xfeedback.errors import UserError
from xfeedback.seeding import derive

CUT = 0.165
"""Share of the pool in a slice of ``cut165``."""


def take(split: Split, rows: Tensor) -> Split:
    """Return the split with only ``rows`` ``(n,)`` int64, in their order."""
    changed = {}
    for field in fields(split):
        value = getattr(split, field.name)
        if isinstance(value, Tensor | Pictures):
            changed[field.name] = value[rows]
        elif isinstance(value, Mapping):
            changed[field.name] = {name: own[rows] for name, own in value.items()}
    return replace(split, **changed)


def join(first: Split, second: Split) -> Split:
    """Return the samples of ``first`` followed by those of ``second``, with the views that both have.

    Positions of the second count on from the largest of the first, so that each sample has its own.

    Raises:
        UserError: one of them knows something of its samples that the other does not, e.g. what training is told.
    """
    changed = {}
    for field in fields(first):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            changed[field.name] = torch.cat([one, other + one.max() + 1 if field.name == "index" else other])
        elif isinstance(one, Pictures) and isinstance(other, Pictures):
            changed[field.name] = one.joined(other)
        elif isinstance(one, Mapping):
            changed[field.name] = {name: torch.cat([one[name], other[name]]) for name in one if name in other}
        elif one is not other and one != other:
            raise UserError(
                f"phases=mistakes: training and validation samples differ in '{field.name}', so one can't be added to "
                "the other. Leave dataset.annotation.fraction, noise and control as they are."
            )
    return replace(first, **changed)


def class_chunks(n_classes: int, config: PhasesConfig) -> list[list[int]]:
    """Return the classes of each phase: chunks as equal as can be, the larger ones first.

    Raises:
        UserError: there are fewer classes than phases.

    >>> class_chunks(5, PhasesConfig(name="classes", n=2))
    [[0, 1, 2], [3, 4]]
    """
    if config.n > n_classes:
        raise UserError(f"phases.n={config.n} must be at most the {n_classes} classes that the data have.")
    chunks = np.array_split(_order(n_classes, config), config.n)
    return [sorted(chunk.tolist()) for chunk in chunks]


def portions(y: Ints, config: PhasesConfig) -> list[Ints]:
    """Return the rows of the base phase and of each further one: stratified, disjoint, every row once.

    Args:
        y: labels ``(N,)``.
        config: with the share of the base and the number of increments.

    Raises:
        UserError: a portion would be empty.
    """
    left, found = np.arange(len(y)), []
    sizes = _portion_sizes(len(y), config)
    if min(sizes) < 1:
        raise UserError(f"phases.n={config.n} with phases.base={config.base}: {len(y)} samples are too few.")
    for number, size in enumerate(sizes):
        chosen = np.zeros(len(left), dtype=bool)
        chosen[stratified(y[left], size, seed=derive(config.order_seed, "portion", number))] = True
        found.append(left[chosen])
        left = left[~chosen]
    return found


def _portion_sizes(n: int, config: PhasesConfig) -> list[int]:
    base = round(config.base * n)
    ends = [base + round((n - base) * k / config.n) for k in range(config.n + 1)]
    return [base, *(after - before for before, after in pairwise(ends))]


def slices(n: int, config: PhasesConfig) -> list[Ints]:
    """Return the rows of each slice of the pool, consecutive in its order.

    ``equal`` gives every slice n // N rows and leaves the remainder out; ``cut165`` cuts at 16.5, 33, ..., 82.5 and
    100 %.

    Raises:
        UserError: a slice would be empty.

    >>> [len(rows) for rows in slices(9981, PhasesConfig(name="mistakes", n=6, split="cut165"))]
    [1646, 1647, 1647, 1647, 1647, 1747]
    """
    order = _order(n, config)
    if config.split == "equal":
        ends = [k * (n // config.n) for k in range(config.n + 1)]
    else:
        ends = [*(int(CUT * k * n) for k in range(config.n)), n]
    found = [order[start:end] for start, end in pairwise(ends)]
    if min(map(len, found)) < 1:
        raise UserError(f"phases.n={config.n}: the pool of {n} samples is too small for so many slices.")
    return found


def _order(n: int, config: PhasesConfig) -> Ints:
    return np.arange(n) if config.order == "list" else np.random.default_rng(config.order_seed).permutation(n)
