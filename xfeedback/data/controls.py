"""What training is told about the evidence when it is not the truth: fewer, coarser or wrong annotations, and controls.

A gain from annotations counts only if it beats the same method with annotations that say nothing (the controls). All
functions take masks ``(N, H, W)`` bool; those of one image, right and wrong evidence, are always changed together.
"""

from math import gcd
from typing import Literal

import numpy as np

from xfeedback.data.options import AnnotationConfig
from xfeedback.dtypes import Bools, Ints

FRACTION, PARTNER, OFFSET, CELLS = 11, 12, 13, 14
"""Purposes in the keys of the random generators, apart from the split ids of decoys."""


def told(
    config: AnnotationConfig, seed: int, *, y: Ints, index: Ints, annotated: Bools, masks: list[Bools]
) -> tuple[list[Bools], Bools]:
    """Return what training is told: the masks, each ``(N, H, W)``, and which images count ``(N,)``.

    Args:
        config: ``fraction``, ``noise`` and ``control`` act in this order.
        seed: the run's seed; with it the draws are the same for every method.
        y: labels ``(N,)``.
        index: positions in the official set ``(N,)``.
        annotated: which images have a true annotation ``(N,)`` bool.
        masks: right evidence and whatever else belongs to the annotations.
    """
    annotated = thinned(annotated, index, config.fraction, seed)
    masks = [noisy(mask, config.noise) for mask in masks]
    if config.control in ("shuffled", "shuffled_in_class"):
        groups = y if config.control == "shuffled_in_class" else np.zeros_like(y)
        rows = partners(groups, annotated, seed)
        return [mask[rows] for mask in masks], annotated
    if config.control == "torus":
        return [shifted(mask, index, config.control_cell, seed) for mask in masks], annotated
    if config.control == "random_cells":
        return [cells_permuted(mask, index, config.control_cell, seed) for mask in masks], annotated
    return masks, annotated


def thinned(annotated: Bools, index: Ints, fraction: float, seed: int) -> Bools:
    """Keep a share of the annotations, at least one; a smaller share is part of a larger one.

    Args:
        annotated: ``(N,)`` bool.
        index: positions in the official set ``(N,)``: the same images keep theirs when the set is cut short.
        fraction: of the annotated images.
        seed: of the draw.
    """
    if fraction == 1:
        return annotated
    rank = np.random.default_rng([seed, FRACTION]).random(int(index.max()) + 1)[index]
    rows = np.flatnonzero(annotated)
    keep = rows[np.argsort(rank[rows], kind="stable")[: max(1, round(fraction * len(rows)))]]
    result = np.zeros_like(annotated)
    result[keep] = True
    return result


def noisy(mask: Bools, noise: Literal["none", "box", "half", "wrong"]) -> Bools:
    """Return coarser or wrong masks.

    ``box``: the bounding box. ``half``: the first half of the mask's pixels in reading order (rounded up). ``wrong``:
    moved by half the image in both directions, round the edges.
    """
    if noise == "box":
        rows, columns = np.asarray(mask.any(2)), np.asarray(mask.any(1))
        return _span(rows)[:, :, None] & _span(columns)[:, None, :]
    if noise == "half":
        flat = mask.reshape(len(mask), -1)
        count = flat.cumsum(1)
        return (flat & (count <= (count[:, -1:] + 1) // 2)).reshape(mask.shape)
    if noise == "wrong":
        return np.roll(mask, (mask.shape[1] // 2, mask.shape[2] // 2), (1, 2))
    return mask


def _span(line: Bools) -> Bools:
    """Everything from the first to the last True of each row of ``(N, n)``."""
    reached = np.logical_or.accumulate
    return reached(line, 1) & reached(line[:, ::-1], 1)[:, ::-1]


def partners(groups: Ints, annotated: Bools, seed: int) -> Ints:
    """Return whose annotation each image gets, ``(N,)``: another annotated image's of the same group.

    All annotations are used once, and no image keeps its own unless it is the only one of its group.

    Args:
        groups: ``(N,)`` int.
        annotated: ``(N,)`` bool; the others keep their own.
        seed: of the draw.
    """
    rng = np.random.default_rng([seed, PARTNER])
    result = np.arange(len(groups))
    for group in np.unique(groups):
        ring = rng.permutation(np.flatnonzero(annotated & (groups == group)))
        result[ring] = np.roll(ring, 1)
    return result


def shifted(mask: Bools, index: Ints, cell: int, seed: int) -> Bools:
    """Move each mask round the edges by a random number of whole cells, all offsets alike.

    The area stays the same, on the grid of cells too, and each cell is covered equally often. Where ``cell`` does not
    divide a side, the step is their greatest common divisor.

    Args:
        mask: ``(N, H, W)``.
        index: positions in the official set ``(N,)``.
        cell: side of a cell in pixels.
        seed: of the draw.
    """
    _, height, width = mask.shape
    steps = np.array([gcd(cell, height), gcd(cell, width)])
    draws = np.random.default_rng([seed, OFFSET]).random((int(index.max()) + 1, 2))[index]
    numbers = np.array([height // steps[0], width // steps[1]])
    down, right = (steps * (draws * numbers).astype(np.int64)).T
    rows = (np.arange(height) - down[:, None]) % height
    columns = (np.arange(width) - right[:, None]) % width
    return mask[np.arange(len(mask))[:, None, None], rows[:, :, None], columns[:, None, :]]


def cells_permuted(mask: Bools, index: Ints, cell: int, seed: int) -> Bools:
    """Bring each mask to the grid, where a cell touched by the mask belongs to it, and permute its cells.

    Args:
        mask: ``(N, H, W)``.
        index: positions in the official set ``(N,)``.
        cell: side of a cell in pixels; the last row and column may be smaller.
        seed: of the draw.
    """
    count, height, width = mask.shape
    h, w = -(-height // cell), -(-width // cell)
    padded = np.zeros((count, h * cell, w * cell), dtype=bool)
    padded[:, :height, :width] = mask
    grid = padded.reshape(count, h, cell, w, cell).any((2, 4)).reshape(count, h * w)
    keys = [np.random.default_rng([seed, CELLS, position]) for position in index.tolist()]
    order = np.array([rng.permutation(h * w) for rng in keys]).reshape(count, h * w)
    moved = np.take_along_axis(grid, order, 1).reshape(count, h, w)
    return moved.repeat(cell, 1).repeat(cell, 2)[:, :height, :width]
