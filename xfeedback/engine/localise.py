"""Score where explanations look, from one pass over the explained images: each map is computed once for all metrics."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

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
from xfeedback.types import Batch

ALL = ("dead", "mnd_u")
"""Scores of every annotated image; the others leave out dead maps."""


def localisation(explained: Explained, batches: Iterable[Batch], config: EvaluationConfig) -> dict[str, float]:
    """Return ``explanation/<score>`` of the first explainer, ``explanation/<score>_<name>`` of the others, in percent.

    All are means over annotated images whose map is not dead, but ``dead``, the share of dead maps, and ``mnd_u``,
    where these count as uniform maps. Scores against the wrong region are left out where no image has one.
    """
    tables = {name: Scores() for name in config.explainers}
    seen = 0
    for number, batch in enumerate(first(batches, config.explained)):
        mask = mask_of(batch)
        counts = mask.flatten(1).any(1)
        if batch.annotated is not None:
            counts = counts & batch.annotated
        few = max(0, min(len(batch), config.explained_slow - seen))
        seen += len(batch)
        distance = pixel_distance(mask)
        for name, maps in _maps(explained, config.explainers, batch, few, number).items():
            rows = slice(len(maps))
            wrong = None if batch.wrong is None else batch.wrong[rows]
            tables[name].add(maps, mask[rows], wrong, distance[rows], counts[rows])
    return {
        f"explanation/{score}{'' if position == 0 else f'_{name}'}": value
        for position, (name, table) in enumerate(tables.items())
        for score, value in table.means().items()
    }


def _maps(explained: Explained, names: tuple[str, ...], batch: Batch, few: int, number: int) -> dict[str, Tensor]:
    """Maps of all images by name, of the first ``few`` for slow explainers."""
    fast = [name for name in names if name not in SLOW or few == len(batch)]
    found = explained.maps(fast, batch.x, number)[0] if fast else {}
    slow = [name for name in names if name not in fast]
    return found | (explained.maps(slow, batch.x[:few], number)[0] if slow and few else {})


class Scores:
    """The scores of one explainer, batch by batch."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._alive: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._reasons = WrongReasons()

    def add(self, maps: Tensor, mask: Tensor, wrong: Tensor | None, distance: Tensor, counts: Tensor) -> None:
        """Score some maps ``(B, H, W)`` against right and wrong region; ``counts`` ``(B,)``: the image is annotated."""
        inside, alive = mass_inside(maps, mask)
        precision, recall = peak_precision_recall(maps, mask)
        found = {"inside": inside, "ap95": precision, "ar95": recall}
        found |= {"iou50": half_height_iou(maps, mask), "pointing": pointing(maps, mask)}
        found["mnd"] = expectation(maps, distance)[0]
        found["mnd_u"] = torch.where(alive, found["mnd"], distance.mean((1, 2)))
        found["dead"] = (~alive).to(maps.dtype)
        if wrong is not None:
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
    """Return where the right evidence lies; nowhere for a batch without annotation."""
    return torch.zeros_like(batch.x[:, 0], dtype=torch.bool) if batch.mask is None else batch.mask


def first(batches: Iterable[Batch], n: int) -> Iterator[Batch]:
    """Yield the first ``n`` samples, the last batch cut to fit."""
    for batch in batches:
        if n <= 0:
            return
        yield batch if len(batch) <= n else select(batch, torch.arange(n, device=batch.y.device))
        n -= len(batch)


def select(batch: Batch, rows: Tensor) -> Batch:
    """Return some samples of a batch."""
    fields = ("x", "y", "index", "mask", "wrong", "annotated", "valid")
    chosen = {f: None if (value := getattr(batch, f)) is None else value[rows] for f in fields}
    return replace(batch, **chosen)
