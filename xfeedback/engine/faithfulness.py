"""Does an explanation name what the network uses? Take away what it names and look at the predictions.

Definitions: `docs/methods/saliency_guided`, section "Faithfulness". Every map is computed once, unless asked otherwise;
all samples of a batch go through the network together, once for each level and order of removal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

import torch
from torch import Tensor

from xfeedback.data.task import Task
from xfeedback.engine.localise import first
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.removal import MASSES, STEPS, TENTHS, Removal
from xfeedback.explain.scored import ANEW, WITH_BACKGROUND, Explained
from xfeedback.metrics.faithfulness import area
from xfeedback.metrics.relevance import SHARES, relevance_areas
from xfeedback.seeding import generator
from xfeedback.types import Batch

RANDOM = "random"
ROAD = ("road_morf", "road_lerf", "road")
BACKGROUND = 256
"""Training inputs that baselines are drawn from."""


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """What was measured.

    Attributes:
        metrics: ``faithfulness/<score>_<explainer>``.
        curves: means over the samples by ``<curve>_<explainer>``, one value a level.
        notes: explainers that were left out or are approximate, and measures that don't fit the data.
    """

    metrics: Mapping[str, float]
    curves: Mapping[str, list[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def faithfulness(explained: Explained, batches: Iterable[Batch], config: EvaluationConfig) -> Faithfulness:
    """Measure ``config.faithfulness`` of ``config.faithfulness_explainers`` and of random maps.

    Args:
        explained: whose maps; the network is in evaluation mode.
        batches: test samples; the first ``config.faithfulness_samples`` count.
        config: what to measure, and how.
    """
    names: tuple[str, ...] = tuple(dict.fromkeys((*config.faithfulness_explainers, RANDOM)))
    notes: tuple[str, ...] = ()
    measures: tuple[str, ...] = config.faithfulness
    tables: dict[str, list[Tensor]] = {}
    for number, batch in enumerate(first(batches, config.faithfulness_samples)):
        if number == 0:
            names, notes = explained.usable(names, batch.x[:4])
            measures, more = fitting(measures, explained, batch)
            notes = (*notes, *more)
        target = batch.y if config.explain_class == "true" else None
        maps, logits = explained.maps(names, batch.x, number, target)
        if explained.kind == "series" and config.diff_random == "feature_permuted":
            maps[RANDOM] = permuted(maps)
        removal = Removal(explained, batch, logits.argmax(1) if target is None else target, config, number)
        renewed = _renewed(explained, names, batch, number, target) if config.recompute_each_level else []
        for name, values in maps.items():
            for measure in measures:
                again = [other[name] for other in renewed] if measure == "accuracy_drop" else []
                found = removal.dropped(values, again) if again else removal.measured(measure, values)
                for curve, levels in found.items():
                    tables.setdefault(f"{curve}_{name}", []).append(levels)
    whole = {curve: torch.cat(parts).cpu() for curve, parts in tables.items()}
    scores = {f"faithfulness/{key}": value for name in names for key, value in _scores(whole, name).items()}
    curves = {curve: values.double().nanmean(0).tolist() for curve, values in whole.items()}
    metrics = {name: value for name, value in scores.items() if isfinite(value)}
    lost = [
        f"{name} was left out: all maps are constant, or no cell is relevant" for name in scores if name not in metrics
    ]
    curves = {curve: values for curve, values in curves.items() if all(map(isfinite, values))}
    return Faithfulness(metrics=metrics, curves=curves, notes=(*notes, *lost))


def _renewed(
    explained: Explained, names: tuple[str, ...], batch: Batch, number: int, target: Tensor | None
) -> list[dict[str, Tensor]]:
    """Explain a batch anew for each share of the accuracy drop above 0, with other draws, as the released program."""
    return [explained.maps(names, batch.x, level * ANEW + number, target)[0] for level in range(1, len(TENTHS))]


def fitting(measures: tuple[str, ...], explained: Explained, batch: Batch) -> tuple[tuple[str, ...], list[str]]:
    """Return the measures that can be taken of these samples, and a note for each other one."""
    wants = {
        "road": explained.kind == "image",
        "relevance": batch.mask is not None,
        "masking": explained.blank is not None,
        "aopc": explained.kind == "text",
    }
    words = {
        "road": "it is for images",
        "relevance": "nothing says where the relevant cells are",
        "masking": "only generated series can be drawn anew without evidence",
        "aopc": "it is for texts",
    }
    lacking = [measure for measure in measures if not wants.get(measure, True)]
    notes = [f"faithfulness: {measure} was left out: {words[measure]}" for measure in lacking]
    return tuple(measure for measure in measures if measure not in lacking), notes


def permuted(maps: Mapping[str, Tensor]) -> Tensor:
    """Return one explainer's maps ``(B, T, F)``, drawn by name, under one permutation of the features.

    The floor of Ismail et al. 2020: it keeps the profile over time, so it lies above chance.
    """
    draws = generator("cpu", 0, "feature_permuted")
    names = [name for name in maps if name != RANDOM] or [RANDOM]
    chosen = maps[names[int(torch.randint(len(names), (1,), generator=draws))]]
    return chosen[..., torch.randperm(chosen.shape[-1], generator=draws).to(chosen.device)]


def _scores(curves: Mapping[str, Tensor], name: str) -> dict[str, float]:
    """Return the scores of one explainer by ``<score>_<explainer>``."""

    def percent(curve: str, levels: tuple[float, ...], of: str = name) -> float:
        return 100 * area(levels, curves[f"{curve}_{of}"].double().mean(0).tolist())

    found: dict[str, float] = {}
    for curve, levels in (("drop", TENTHS), ("masking", MASSES)):
        if f"{curve}_{name}" in curves:
            found[f"{curve}_area"] = percent(curve, levels)
            found[f"{curve}_gain"] = percent(curve, levels, RANDOM) - found[f"{curve}_area"]
    for curve, levels in (*((road, TENTHS[1:]) for road in ROAD), ("deletion", STEPS), ("insertion", STEPS)):
        if f"{curve}_{name}" in curves:
            found[curve] = percent(curve, levels)
    for curve in ("comprehensiveness", "sufficiency"):
        if f"{curve}_{name}" in curves:
            found[curve] = float(curves[f"{curve}_{name}"].double().mean())
    if f"precision_{name}" in curves:
        found |= _relevance(curves, name)
    own = {score: value for score, value in found.items() if not (score.endswith("_gain") and name == RANDOM)}
    return {f"{score}_{name}": value for score, value in own.items()}


def _relevance(curves: Mapping[str, Tensor], name: str) -> dict[str, float]:
    ours, chance = (
        relevance_areas(curves[f"precision_{who}"], curves[f"recall_{who}"], SHARES) for who in (name, RANDOM)
    )
    found = {"aup": ours.aup, "aur": ours.aur, "aupr": ours.aupr}
    if name != RANDOM:
        found |= {"diff_aup": ours.aup - chance.aup, "diff_aur": ours.aur - chance.aur}
    return found


def arranged(explained: Explained, task: Task, config: EvaluationConfig) -> Explained:
    """Return the explanations with the baseline, background and mean over channels that the options ask for, and blank.

    The baseline of ``explained`` is the mean training input, which removed positions take whatever baseline is asked
    for. The background is up to 256 training inputs, as training sees them and the same in every run; for texts it is
    the zero embedding.
    """
    device = next(explained.network.parameters()).device
    if explained.kind == "text":
        return replace(explained, background=torch.zeros(1, 1, 1, device=device))
    asked = {*config.explainers, *(config.faithfulness_explainers if config.faithfulness else ())}
    drawn = config.background == "train" and asked.intersection(WITH_BACKGROUND)
    background = next(iter(task.train_loader(BACKGROUND, device, seed=0))).x if drawn else None
    baselines = {"mean": explained.baseline, "zero": torch.zeros((), device=device), "uniform": None}
    blank = None if task.blank is None else (task.blank - torch.tensor(task.mean)) / torch.tensor(task.std)
    return replace(
        explained,
        background=background,
        baseline=baselines[config.baseline],
        mean=explained.baseline,
        channels=config.channels,
        blank=None if blank is None else blank.to(device),
    )
