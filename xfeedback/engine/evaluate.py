"""Score a trained network: accuracy on each test view, and where its explanations look."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfeedback.data.task import Task
from xfeedback.engine.options import EvaluationConfig
from xfeedback.explain.maps import pixel_map
from xfeedback.metrics import mass_inside
from xfeedback.models.layers import explained_layer
from xfeedback.models.running import mode
from xfeedback.types import Batch


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: by name; accuracies and shares in percent.
        pictures: arrays of ``explanations.npz``; empty when none were asked for.
        notes: what could not be measured and why.
    """

    metrics: dict[str, float]
    pictures: dict[str, NDArray]
    notes: tuple[str, ...] = ()


def evaluate(network: nn.Module, task: Task, config: EvaluationConfig, device: torch.device) -> Evaluation:
    """Evaluate on every test view; explanations are those of the first, the headline."""
    views = task.test_loaders(config.batch_size, device)
    with mode(network, training=False):
        metrics = {f"acc/{view}": accuracy(network, loader) for view, loader in views.items()}
        headline = next(iter(views.values()))
        metrics |= explanation_shares(network, task, headline, config, device)
        pictures = picture_arrays(network, task, headline, config, device)
    return Evaluation(metrics=metrics, pictures=pictures)


@torch.no_grad()
def accuracy(network: nn.Module, batches: Iterable[Batch]) -> float:
    """Return top-1 accuracy in percent."""
    hits, count = [], 0
    for batch in batches:
        hits.append((network(batch.x).argmax(1) == batch.y).sum())
        count += len(batch)
    return 100 * int(torch.stack(hits).sum()) / count


def explanation_shares(
    network: nn.Module, task: Task, batches: Iterable[Batch], config: EvaluationConfig, device: torch.device
) -> dict[str, float]:
    """Return the mean share of each explainer's mass inside the annotation and inside the known wrong region.

    ``explanation/inside`` and ``explanation/wrong`` are the first explainer's, in percent, over annotated images with
    a map that is not dead; the share of dead maps stands beside them.
    """
    if not task.has_annotations or config.explained == 0:
        return {}
    layer = explained_layer(network, torch.zeros(1, *task.in_shape, device=device))
    metrics: dict[str, float] = {}
    for position, explainer in enumerate(config.explainers):
        suffix = "" if position == 0 else f"_{explainer}"
        shares: dict[str, list[Tensor]] = {"inside": [], "wrong": [], "dead": []}
        for batch in first(batches, config.explained):
            maps, _ = pixel_map(explainer, network, layer, batch.x)
            for name, values in _shares(maps, batch, mask_of(batch)).items():
                shares[name].append(values)
        for name, values in shares.items():
            if values and (together := torch.cat(values)).numel():
                metrics[f"explanation/{name}{suffix}"] = 100 * float(together.double().mean())
    return metrics


def mask_of(batch: Batch) -> Tensor:
    """Return where the right evidence lies; nowhere for a batch without annotation."""
    return torch.zeros_like(batch.x[:, 0], dtype=torch.bool) if batch.mask is None else batch.mask


def _shares(maps: Tensor, batch: Batch, mask: Tensor) -> dict[str, Tensor]:
    counts = mask.flatten(1).any(1)
    if batch.annotated is not None:
        counts = counts & batch.annotated
    inside, alive = mass_inside(maps, mask)
    shares = {"inside": inside[counts & alive], "dead": (~alive)[counts].float()}
    if batch.wrong is not None:
        shares["wrong"] = mass_inside(maps, batch.wrong)[0][counts & alive]
    return shares


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


def picture_arrays(
    network: nn.Module, task: Task, batches: Iterable[Batch], config: EvaluationConfig, device: torch.device
) -> dict[str, NDArray]:
    """Return images of the test set, the same for every run, with annotations and each explainer's maps."""
    rows = shown_rows(task.test.y, config.pictures)
    samples = [select(batch, at) for batch, at in _located(batches, rows)]
    if not samples:
        return {}
    layer = explained_layer(network, torch.zeros(1, *task.in_shape, device=device))
    maps: dict[str, list[Tensor]] = {name: [] for name in config.explainers}
    predictions = []
    for batch in samples:
        for name in config.explainers:
            found, logits = pixel_map(name, network, layer, batch.x)
            maps[name].append(_unit(found))
        predictions.append(logits.argmax(1))  # pyright: ignore[reportPossiblyUnboundVariable]
    arrays = {
        "images": _pixels(torch.cat([b.x for b in samples]), task),
        "label": torch.cat([b.y for b in samples]).cpu().numpy(),
        "prediction": torch.cat(predictions).cpu().numpy(),
        "index": torch.cat([b.index for b in samples]).cpu().numpy(),
    }
    for name in ("mask", "wrong"):
        if getattr(samples[0], name) is not None:
            arrays[name] = torch.cat([getattr(b, name) for b in samples]).cpu().numpy()
    return arrays | {f"map/{name}": torch.cat(found).cpu().numpy().astype(np.float16) for name, found in maps.items()}


def shown_rows(labels: Tensor, n: int) -> list[int]:
    """Return the rows of the first image of each class, then of the second of each, until there are ``n``."""
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


def _pixels(x: Tensor, task: Task) -> NDArray:
    mean, std = (torch.tensor(v, device=x.device).view(1, -1, 1, 1) for v in (task.mean, task.std))
    return (255 * (x * std + mean).clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _unit(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)
