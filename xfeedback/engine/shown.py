"""The arrays of a run's pictures: some test samples, the same for every run, with annotations and maps."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from xfeedback.data.task import Task
from xfeedback.dtypes import Array
from xfeedback.engine.localise import select
from xfeedback.engine.options import EvaluationConfig
from xfeedback.explain.scored import Explained
from xfeedback.types import Batch


def picture_arrays(
    explained: Explained, task: Task, batches: Iterable[Batch], config: EvaluationConfig
) -> dict[str, Array]:
    """Return the arrays of ``explanations.npz``; :func:`~xfeedback.engine.pictures.write_pictures` lists them."""
    rows = shown_rows(task.test.y, config.pictures)
    samples = [select(batch, at) for batch, at in _located(batches, rows)]
    if not samples:
        return {}
    maps: dict[str, list[Tensor]] = {name: [] for name in config.explainers}
    predicted = []
    for number, batch in enumerate(samples):
        found, logits = explained.maps(config.explainers, batch.x, number)
        for name, values in found.items():
            maps[name].append(unit(values, batch.valid))
        predicted.append(logits.argmax(1))
    arrays = _inputs(torch.cat([b.x for b in samples]), task) | {
        "label": torch.cat([b.y for b in samples]).cpu().numpy(),
        "prediction": torch.cat(predicted).cpu().numpy(),
        "index": torch.cat([b.index for b in samples]).cpu().numpy(),
    }
    for name in ("mask", "wrong", "valid"):
        if getattr(samples[0], name) is not None:
            arrays[name] = torch.cat([getattr(b, name) for b in samples]).cpu().numpy()
    return arrays | {f"map/{name}": torch.cat(found).cpu().numpy().astype(np.float16) for name, found in maps.items()}


def shown_rows(labels: Tensor, n: int) -> list[int]:
    """Return the rows of the first sample of each class, then of the second of each, until there are ``n``.

    Args:
        labels: ``(N,)``.
        n: how many.

    >>> shown_rows(torch.tensor([0, 0, 1, 1]), 3)
    [0, 1, 2]
    """
    seen: dict[int, int] = {}
    order = []
    for row, label in enumerate(labels.tolist()):
        seen[label] = seen.get(label, 0) + 1
        order.append((seen[label], label, row))
    return sorted(row for _, _, row in sorted(order)[:n])


def _located(batches: Iterable[Batch], rows: list[int]) -> Iterator[tuple[Batch, Tensor]]:
    start = 0
    for batch in batches:
        inside = [row - start for row in rows if start <= row < start + len(batch)]
        start += len(batch)
        if inside:
            yield batch, torch.tensor(inside, device=batch.y.device)
        if rows and start > rows[-1]:
            return


def _inputs(x: Tensor, task: Task) -> dict[str, Array]:
    if task.kind == "text":
        return {"tokens": np.array(task.vocabulary)[x.cpu().numpy()]}
    if task.kind == "series":
        mean, std = (torch.tensor(v, device=x.device) for v in (task.mean, task.std))
        return {"series": (x * std + mean).cpu().numpy()}
    mean, std = (torch.tensor(v, device=x.device).view(1, -1, 1, 1) for v in (task.mean, task.std))
    pixels = (255 * (x * std + mean).clamp(0, 1)).round().to(torch.uint8)
    return {"images": pixels.permute(0, 2, 3, 1).cpu().numpy()}


def unit(maps: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return maps ``(B, ...)`` scaled to [0, 1] each, a constant one to 0; padding is left out and becomes 0.

    Args:
        maps: ``(B, H, W)``, ``(B, T, F)`` or ``(B, L)``.
        valid: ``(B, T)`` or ``(B, L)`` bool; None: all.
    """
    axes = tuple(range(1, maps.ndim))
    if valid is None:
        low, high = maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True)
        return (maps - low) / (high - low).clamp_min(1e-12)
    real = valid.view(*valid.shape, *(1 for _ in maps.shape[2:])).expand_as(maps)
    low = maps.where(real, torch.inf).amin(axes, keepdim=True)
    high = maps.where(real, -torch.inf).amax(axes, keepdim=True)
    return ((maps - low) / (high - low).clamp_min(1e-12)).where(real, 0.0)
