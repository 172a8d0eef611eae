"""Score a trained network: accuracy on each test view, what decoys do, and where its explanations look."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfeedback.data.task import Task
from xfeedback.engine.localise import localisation, select
from xfeedback.engine.options import EvaluationConfig
from xfeedback.explain.scored import Explained
from xfeedback.metrics import accuracy, balanced_accuracy, decoy_effect, worst_group
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
    headline = next(iter(views.values()))
    with mode(network, training=False):
        metrics = accuracies({view: predictions(network, loader) for view, loader in views.items()}, task)
        explained = _explained(network, task, device) if config.explained or config.pictures else None
        if explained is not None and task.has_annotations:
            metrics |= localisation(explained, headline, config)
        pictures = {} if explained is None else picture_arrays(explained, task, headline, config)
    return Evaluation(metrics=metrics, pictures=pictures)


@torch.no_grad()
def predictions(network: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """Return the logits of all images in order, ``(N, K)`` on the CPU."""
    return torch.cat([network(batch.x) for batch in batches]).cpu()


def accuracies(logits: Mapping[str, Tensor], task: Task) -> dict[str, float]:
    """Return ``acc/<view>`` and what follows from the views together, in percent.

    ``acc/worst_group``: of the first view; groups are the class and, with decoys, whether the decoy shows it.
    ``acc/reliance``: points lost when decoys are random instead of class-coded. ``explanation/decoy_effect``: points of
    probability that random decoys give to what is predicted with them.

    Args:
        logits: ``(N, K)`` by view, the headline first.
        task: whose test set they belong to; sets that are scored by balanced accuracy say so.
    """
    y, score = task.test.y, balanced_accuracy if task.balanced_accuracy else accuracy
    metrics = {f"acc/{view}": score(found.argmax(1), y) for view, found in logits.items()}
    view, found = next(iter(logits.items()))
    worst = worst_group(found.argmax(1), y, task.test.shown.get(view))
    if worst is not None:
        metrics["acc/worst_group"] = worst
    if "correlated" in logits and "random" in logits:
        metrics["acc/reliance"] = metrics["acc/correlated"] - metrics["acc/random"]
    if "clean" in logits and "random" in logits:
        metrics["explanation/decoy_effect"] = decoy_effect(logits["random"], logits["clean"])
    return metrics


def _explained(network: nn.Module, task: Task, device: torch.device) -> Explained:
    layer = explained_layer(network, torch.zeros(1, *task.in_shape, device=device))
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (task.mean, task.std))
    whole = torch.from_numpy(task.train.x.numpy().mean(0, dtype=np.float64)).float()
    baseline = (whole / (1 if task.train.x.is_floating_point() else 255) - mean) / std
    return Explained(network=network, layer=layer, baseline=baseline.to(device))


def picture_arrays(
    explained: Explained, task: Task, batches: Iterable[Batch], config: EvaluationConfig
) -> dict[str, NDArray]:
    """Return images of the test set, the same for every run, with annotations and each explainer's maps."""
    rows = shown_rows(task.test.y, config.pictures)
    samples = [select(batch, at) for batch, at in _located(batches, rows)]
    if not samples:
        return {}
    maps: dict[str, list[Tensor]] = {name: [] for name in config.explainers}
    predicted = []
    for number, batch in enumerate(samples):
        found, logits = explained.maps(config.explainers, batch.x, number)
        for name, values in found.items():
            maps[name].append(_unit(values))
        predicted.append(logits.argmax(1))
    arrays = {
        "images": _pixels(torch.cat([b.x for b in samples]), task),
        "label": torch.cat([b.y for b in samples]).cpu().numpy(),
        "prediction": torch.cat(predicted).cpu().numpy(),
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
