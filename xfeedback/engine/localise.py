"""Score where explanations look, from one pass over the explained images: each map is computed once for all metrics."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xfeedback.engine.options import EvaluationConfig
from xfeedback.explain.scored import SLOW, Explained
from xfeedback.metrics import (
    WrongReasons,
    expectation,
    half_height_iou,
    mass_inside,
    peak_precision_recall,
    pixel_distance,
    pointing,
)
from xfeedback.metrics.rationales import auprc, token_f1
from xfeedback.types import Batch

ALL = ("dead", "mnd_u")
"""Scores of every annotated image; the others leave out dead maps."""


def localisation(
    explained: Explained, batches: Iterable[Batch], config: EvaluationConfig, marked: float | None = None
) -> dict[str, float]:
    """Return ``explanation/<score>`` of the first explainer, ``explanation/<score>_<name>`` of the others, in percent.

    All are means over annotated samples whose map is not dead, but ``dead``, the share of dead maps, and ``mnd_u``,
    where these count as uniform maps. Scores against the wrong region are left out where no sample has one, distances
    for series; ``area_wrong`` is the region's share of the input, what a uniform map has in it. Padding counts nowhere.
    ``marked``, the share of the tokens that people mark, adds the agreement with rationales of texts.
    """
    tables = {name: Scores(marked) for name in config.explainers}
    seen, areas = 0, []
    for number, batch in enumerate(first(batches, config.explained)):
        few = max(0, min(len(batch), config.explained_slow - seen))
        seen += len(batch)
        parts = list(grids(batch))
        areas += [part.wrong[part.counts].double().mean((1, 2)) for part in parts if part.wrong is not None]
        for name, maps in _maps(explained, config.explainers, batch, few, number).items():
            for part in parts:
                tables[name].add(part, part.of(maps))
    scores = {
        f"explanation/{score}{'' if position == 0 else f'_{name}'}": value
        for position, (name, table) in enumerate(tables.items())
        for score, value in table.means().items()
    }
    wrong = torch.cat(areas) if areas else torch.zeros(0)
    return scores | ({"explanation/area_wrong": 100 * float(wrong.mean())} if len(wrong) else {})


def _maps(explained: Explained, names: tuple[str, ...], batch: Batch, few: int, number: int) -> dict[str, Tensor]:
    """Maps of all images by name, of the first ``few`` for slow explainers."""
    fast = [name for name in names if name not in SLOW or few == len(batch)]
    found = explained.maps(fast, batch.x, number)[0] if fast else {}
    slow = [name for name in names if name not in fast]
    return found | (explained.maps(slow, batch.x[:few], number)[0] if slow and few else {})


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Samples of a batch whose maps are grids of one size.

    Attributes:
        rows: of the batch, ascending ``(b,)``.
        real: which positions of these samples are no padding ``(b, T)`` or ``(b, L)``; None: all.
        mask, wrong: right and wrong evidence ``(b, H, W)`` bool, the latter or None.
        distance: of each position to the right evidence ``(b, H, W)``; None for series, whose features have no order.
        counts: the sample is annotated ``(b,)`` bool.
    """

    rows: Tensor
    real: Tensor | None
    mask: Tensor
    wrong: Tensor | None
    distance: Tensor | None
    counts: Tensor

    def of(self, maps: Tensor) -> Tensor:
        """Return the maps ``(b, H, W)`` of these samples, without padding, from those of the batch's first ones."""
        rows = self.rows[self.rows < len(maps)]
        return _grid(maps[rows], None if self.real is None else self.real[: len(rows)])


def _grid(values: Tensor, real: Tensor | None) -> Tensor:
    """Values ``(b, H, W)``, ``(b, T, F)`` or ``(b, L)`` as grids; all rows of ``real`` hold equally many."""
    if real is not None:
        values = values[real].view(len(values), -1, *values.shape[2:])
    return values if values.ndim == 3 else values[:, None]


def grids(batch: Batch) -> Iterator[Grid]:
    """Yield a batch's samples by length; images and series without padding are one grid. Empty texts are left out."""
    mask, rows = mask_of(batch), torch.arange(len(batch), device=batch.y.device)
    counts = mask.flatten(1).any(1)
    if batch.annotated is not None:
        counts = counts & batch.annotated
    lengths = rows.new_ones(len(batch)) if batch.valid is None else batch.valid.sum(1)
    for length in lengths.unique().tolist():
        own = rows[lengths == length]
        if length == 0:
            continue
        real = None if batch.valid is None else batch.valid[own]
        right = _grid(mask[own], real)
        wrong = None if batch.wrong is None else _grid(batch.wrong[own], real)
        distance = None if batch.x.ndim == 3 else pixel_distance(right)
        yield Grid(rows=own, real=real, mask=right, wrong=wrong, distance=distance, counts=counts[own])


class Scores:
    """The scores of one explainer, batch by batch.

    Args:
        marked: share of the tokens that are taken for token F1; None: inputs are no texts.
    """

    def __init__(self, marked: float | None = None) -> None:
        self._marked = marked
        self._values: dict[str, list[Tensor]] = {}
        self._alive: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._reasons = WrongReasons()

    def add(self, part: Grid, maps: Tensor) -> None:
        """Score the maps ``(n, H, W)`` of the first n samples of a grid."""
        few = slice(len(maps))
        mask, counts = part.mask[few], part.counts[few]
        inside, alive = mass_inside(maps, mask)
        precision, recall = peak_precision_recall(maps, mask)
        found = {"inside": inside, "ap95": precision, "ar95": recall}
        found |= {"iou50": half_height_iou(maps, mask), "pointing": pointing(maps, mask)}
        if self._marked is not None:
            tokens, right = maps.flatten(1), mask.flatten(1)
            every = torch.ones_like(right)
            found["token_f1"] = token_f1(tokens, right, every, self._marked).to(maps.dtype)
            found["auprc"] = auprc(tokens, right, every).to(maps.dtype)
        if part.distance is not None:
            distance = part.distance[few]
            found["mnd"] = expectation(maps, distance)[0]
            found["mnd_u"] = torch.where(alive, found["mnd"], distance.mean((1, 2)))
        found["dead"] = (~alive).to(maps.dtype)
        if part.wrong is not None:
            wrong = part.wrong[few]
            found["wrong"] = mass_inside(maps, wrong)[0]
            self._reasons.add(maps[counts & alive], wrong[counts & alive])
        for name, values in found.items():
            self._values.setdefault(name, []).append(values)
        self._alive.append(alive & counts)
        self._counts.append(counts)

    def means(self) -> dict[str, float]:
        """Return the mean of each score in percent, without those that no image has."""
        if not self._counts:
            return {}
        counts, alive = torch.cat(self._counts), torch.cat(self._alive)
        chosen = {name: torch.cat(v)[counts if name in ALL else alive] for name, v in self._values.items()}
        means = {name: 100 * float(v.double().mean()) for name, v in chosen.items() if v.numel()}
        ratio = self._reasons.percent()
        return means if ratio is None else {**means, "wr": ratio}


def mask_of(batch: Batch) -> Tensor:
    """Return where the right evidence lies, bool, ``(B, H, W)`` or the shape of ``x``; nowhere without annotation."""
    if batch.mask is not None:
        return batch.mask
    return torch.zeros_like(batch.x[:, 0] if batch.x.ndim == 4 else batch.x, dtype=torch.bool)


def first(batches: Iterable[Batch], n: int) -> Iterator[Batch]:
    """Yield the first ``n`` samples, the last batch cut to fit."""
    for batch in batches:
        if n <= 0:
            return
        yield batch if len(batch) <= n else select(batch, torch.arange(n, device=batch.y.device))
        n -= len(batch)


def select(batch: Batch, rows: Tensor) -> Batch:
    """Return some samples of a batch; ``rows`` are positions in it ``(n,)`` int64."""
    fields = ("x", "y", "index", "mask", "wrong", "annotated", "valid")
    chosen = {f: None if (value := getattr(batch, f)) is None else value[rows] for f in fields}
    return replace(batch, **chosen)
