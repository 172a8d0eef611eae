"""Score a trained network: accuracy on each test view, what decoys do, and where its explanations look."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfeedback.data.loader import Loader
from xfeedback.data.pictures import Pictures
from xfeedback.data.task import Split, Task
from xfeedback.dtypes import Array
from xfeedback.engine.calibrate import Calibration, calibration
from xfeedback.engine.confusion import MOST_CLASSES, confusion
from xfeedback.engine.diversity import diversity
from xfeedback.engine.faithfulness import arranged, faithfulness
from xfeedback.engine.further import further
from xfeedback.engine.leak import LEAKED, leak_share
from xfeedback.engine.localise import localisation
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.shown import picture_arrays
from xfeedback.engine.spread import representative
from xfeedback.errors import TrainingError, UserError
from xfeedback.explain.scored import NEED_LAYER, SLOW, Explained
from xfeedback.metrics import accuracy, balanced_accuracy, decoy_effect, largest_share, worst_group
from xfeedback.models.layers import explained_layer
from xfeedback.models.running import mode
from xfeedback.types import Batch

TRIED = 4
"""Inputs that explainers are tried on."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: by name; accuracies and shares in percent.
        pictures: arrays of ``explanations.npz``; empty when none were asked for.
        notes: what could not be measured and why.
        curves: of faithfulness by name, one value a level.
        reliability: bins of confidence, as in :class:`~xfeedback.engine.calibrate.Calibration`.
        confusion: how often each class was taken for each ``(K, K)``, by test view; empty for very many classes.
    """

    metrics: dict[str, float]
    pictures: dict[str, Array]
    notes: tuple[str, ...] = ()
    curves: Mapping[str, list[float]] = field(default_factory=dict)
    reliability: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    confusion: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


def evaluate(network: nn.Module, task: Task, config: EvaluationConfig, device: torch.device) -> Evaluation:
    """Evaluate on every test view; explanations are those of the first, the headline.

    Of a set that comes class by class the first samples are of one class: then those of each are looked at in turn.

    Raises:
        TrainingError: the network says of samples what is no number.
    """
    views = task.test_loaders(config.batch_size, device)
    headline = next(iter(views.values()))
    pictures, notes, curves = {}, (), {}
    with mode(network, training=False):
        logits = {view: predictions(network, loader) for view, loader in views.items()}
        _refuse_nan(logits)
        trusted = _calibration(network, task, next(iter(logits.values())), config, device)
        metrics = accuracies(logits, task) | trusted.metrics
        if config.diversity:
            scale, found = trusted.metrics.get("calibration/temperature", 1.0), next(iter(logits.values()))
            n, y = config.diversity_samples, task.test.y
            metrics |= diversity(network, _spread(headline, y, n), found, y, samples=n, temperature=scale)
        if config.explained or config.pictures or config.faithfulness or config.further:
            explained, config, notes = explanations(network, task, config, headline)
            marked = marked_share(task.val or task.train) if task.kind == "text" else None
            looked_at = _spread(headline, task.test.y, _fewest(config))
            metrics |= localisation(explained, looked_at, config, marked) if task.has_annotations else {}
            metrics |= _leak(explained, views, task.test.y) if task.has_annotations and config.explained else {}
            pictures = picture_arrays(explained, task, headline, config)
            if config.faithfulness:
                some = _spread(headline, task.test.y, config.faithfulness_samples)
                found = faithfulness(explained, some, config)
                metrics, curves, notes = metrics | dict(found.metrics), found.curves, (*notes, *found.notes)
            if config.further:
                rows = representative(task.test.y, config.explained)
                more = further(explained, headline.in_order(rows), config, next(iter(logits.values()))[rows])
                metrics, notes = metrics | more.metrics, (*notes, *more.notes)
    return Evaluation(
        metrics=metrics,
        pictures=pictures,
        notes=tuple(dict.fromkeys(notes)),
        curves=curves,
        reliability=trusted.reliability,
        confusion=confusions(logits, task),
    )


def _refuse_nan(logits: Mapping[str, Tensor]) -> None:
    for view, found in logits.items():
        lost = int(found.softmax(1).isnan().any(1).sum())
        if lost:
            raise TrainingError(
                f"the trained network has no finite output for {lost} of {len(found)} test samples (view '{view}'): "
                "its weights left all bounds in the last steps. Lower optimiser.lr."
            )


def _spread(loader: Loader, y: Tensor, n: int) -> Loader:
    """The loader in an order whose first n samples stand for all."""
    return loader.in_order(representative(y, n))


def _fewest(config: EvaluationConfig) -> int:
    """How many samples are explained by the explainers that explain fewest."""
    slow = any(name in SLOW for name in config.explainers)
    return min(config.explained, config.explained_slow) if slow else config.explained


def confusions(logits: Mapping[str, Tensor], task: Task) -> dict[str, NDArray[np.int64]]:
    """Return the confusion matrix ``(K, K)`` of each test view, the headline first; none where classes are too many.

    Args:
        logits: of all test samples by view, each ``(N, K)``.
        task: with the labels.
    """
    if task.n_classes > MOST_CLASSES:
        return {}
    return {view: confusion(found.argmax(1), task.test.y, task.n_classes) for view, found in logits.items()}


def _leak(explained: Explained, views: Mapping[str, Loader], y: Tensor) -> dict[str, float]:
    """Two views that show different colours on every image: its own class's and another one's."""
    if explained.layer is None or not {"correlated", "conflict"} <= set(views):
        return {}
    one, other = (_spread(views[name], y, LEAKED) for name in ("correlated", "conflict"))
    found = leak_share(explained.network, explained.layer, one, other)
    return {} if found is None else {"explanation/leak_share": found}


def _calibration(
    network: nn.Module, task: Task, logits: Tensor, config: EvaluationConfig, device: torch.device
) -> Calibration:
    """Measure calibration on the headline view; the temperature is fitted on the first validation view."""
    loaders = list(task.val_loaders(config.batch_size, device).values())
    if task.val is None or not loaders:
        return calibration(logits, task.test.y, None)
    return calibration(logits, task.test.y, (predictions(network, loaders[0]), task.val.y))


def marked_share(split: Split) -> float | None:
    """Return the mean share of the tokens that people mark, over the annotated texts; None when there are none."""
    if split.mask is None or split.annotated is None or not bool(split.annotated.any()):
        return None
    marked, real = split.mask[split.annotated], split.x[split.annotated] != 0
    return float((marked.sum(1) / real.sum(1)).double().mean())


@torch.no_grad()
def predictions(network: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """Return the logits of all samples in order, ``(N, K)`` on the CPU."""
    return torch.cat([network(batch.x) for batch in batches]).cpu()


def accuracies(logits: Mapping[str, Tensor], task: Task) -> dict[str, float]:
    """Return ``acc/<view>`` and what follows from the views together, in percent.

    ``acc/worst_group``: of the first view; groups are the class and, with decoys, whether the decoy shows it.
    ``acc/reliance``: points lost when decoys are random instead of class-coded. ``explanation/decoy_effect``: points of
    probability that random decoys give to what is predicted with them. ``predicted/largest_share``: of the test samples
    in the first view, how many the class gets that is predicted most often.

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
    metrics["predicted/largest_share"] = largest_share(found.argmax(1))
    if "correlated" in logits and "random" in logits:
        metrics["acc/reliance"] = metrics["acc/correlated"] - metrics["acc/random"]
    if "clean" in logits and "random" in logits:
        metrics["explanation/decoy_effect"] = decoy_effect(logits["random"], logits["clean"])
    return metrics


def explanations(
    network: nn.Module, task: Task, config: EvaluationConfig, batches: Loader
) -> tuple[Explained, EvaluationConfig, tuple[str, ...]]:
    """Return what the maps are maps of, the options with the explainers that work here, and a note for each other one.

    Without any explainer left the input gradient stands in.
    """
    layer, notes = None, []
    if task.kind == "image":
        try:
            layer = explained_layer(network, torch.zeros(1, *task.in_shape, device=batches.device))
        except UserError as error:
            notes.append(f"class activation maps and occlusion are left out of the evaluation: {error}")
    explained = Explained(network=network, layer=layer, baseline=baseline(task).to(batches.device), kind=task.kind)
    explained = arranged(explained, task, config)
    names = [name for name in config.explainers if not (notes and name in NEED_LAYER)]
    kept, said = explained.usable(names, batches.batch(0, 0).x[:TRIED])
    return explained, replace(config, explainers=kept or ("gradient",)), (*notes, *said)


def baseline(task: Task) -> Tensor:
    """Return the mean of the training inputs, normalised as they are, on the CPU; the zero embedding for texts.

    Inputs that are decoded when they are needed are not all read for it: there it is 0, the normalisation's mean.

    Returns:
        ``(C, H, W)``, ``(T, F)``, or ``()``.
    """
    if task.kind == "text":
        return torch.zeros(())
    if isinstance(task.train.x, Pictures):
        return torch.zeros(task.in_shape)
    mean, std = torch.tensor(task.mean), torch.tensor(task.std)
    if task.kind == "series":
        return _mean_series(task.train, mean, std)
    whole = torch.from_numpy(task.train.x.numpy().mean(0, dtype=np.float64)).float()
    scale = 1 if task.train.x.is_floating_point() else 255
    return (whole / scale - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def _mean_series(train: Split, mean: Tensor, std: Tensor) -> Tensor:
    """Each step's mean over the series that reach it; 0 where none does."""
    if train.valid is None:
        return (train.x.double().mean(0).float() - mean) / std
    real = train.valid[..., None]
    total = train.x.double().masked_fill(~real, 0.0).sum(0) / real.sum(0).clamp_min(1)
    return ((total.float() - mean) / std).masked_fill(~real.any(0), 0.0)
