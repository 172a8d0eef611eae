"""Does an explanation name what the network uses? Take away what it names and look at the predictions.

Definitions: `docs/methods/saliency_guided`, section "Faithfulness". Every map is computed once; all samples of a batch
go through the network together, once for each level and order of removal.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from xfeedback.data.task import Task
from xfeedback.engine.localise import first
from xfeedback.engine.options import EvaluationConfig
from xfeedback.explain.scored import WITH_BACKGROUND, Explained
from xfeedback.explain.tokens import of_documents, real
from xfeedback.metrics.faithfulness import area, blurred, removal_ranks, removed_count
from xfeedback.metrics.rationales import aopc
from xfeedback.metrics.relevance import SHARES, relevance_areas, scaled, weighted_precision_recall
from xfeedback.metrics.road import noisy_linear_imputation
from xfeedback.seeding import generator
from xfeedback.shapes import over_input
from xfeedback.types import Batch

TENTHS = tuple(d / 10 for d in range(10))
"""Removed shares of the accuracy drop; ROAD leaves out the first."""
STEPS = tuple(step / 28 for step in range(29))
"""Shares of deletion and insertion: 8 rows of a 224-pixel image a step."""
RANDOM = "random"
BACKGROUND = 256
"""Training inputs that baselines are drawn from."""
Curves = dict[str, Tensor]


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
        for name, values in maps.items():
            for measure in measures:
                for curve, found in removal.measured(measure, values).items():
                    tables.setdefault(f"{curve}_{name}", []).append(found)
    whole = {curve: torch.cat(parts).cpu() for curve, parts in tables.items()}
    metrics = {f"faithfulness/{key}": value for name in names for key, value in _scores(whole, name).items()}
    curves = {curve: values.double().nanmean(0).tolist() for curve, values in whole.items()}
    return Faithfulness(metrics=metrics, curves=curves, notes=notes)


def fitting(measures: tuple[str, ...], explained: Explained, batch: Batch) -> tuple[tuple[str, ...], list[str]]:
    """Return the measures that can be taken of these samples, and a note for each other one."""
    wants = {
        "road": explained.kind == "image",
        "relevance": batch.mask is not None,
        "aopc": explained.kind == "text",
    }
    words = {
        "road": "it is for images",
        "relevance": "nothing says where the relevant cells are",
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


class Removal:
    """One batch whose positions are taken away in the order of a map.

    Args:
        explained: the network and the kind of its inputs.
        batch: samples.
        target: explained class ``(B,)``.
        config: what removed positions are filled with.
        number: of the batch, for draws.
    """

    def __init__(
        self, explained: Explained, batch: Batch, target: Tensor, config: EvaluationConfig, number: int
    ) -> None:
        self.explained, self.batch, self.target, self.number = explained, batch, target, number
        self.x = explained.entered(batch.x)
        self.fill, self.aopc_ranks = _fill(self.x, explained, config), config.aopc_ranks
        shape = explained.reduced(self.x).shape
        valid = real(batch.x) if explained.kind == "text" else batch.valid
        if valid is not None and valid.ndim < len(shape):
            valid = valid[..., None].expand(shape)
        self.valid = None if valid is None else valid.flatten(1)
        n = torch.full((len(batch),), shape[1:].numel(), device=self.x.device)
        self.n = n if self.valid is None else self.valid.sum(1)

    def measured(self, measure: str, maps: Tensor) -> Curves:
        """Return the curves of a measure for these maps, one value a sample and level ``(B, levels)``."""
        if measure == "relevance":
            relevant = cast(Tensor, self.batch.mask).flatten(1)
            precision, recall = weighted_precision_recall(scaled(maps.flatten(1).double()), relevant)
            return {"precision": precision, "recall": recall}
        if measure == "road":
            return self._road(maps)
        if measure == "aopc":
            ranked = of_documents(self.batch.x) if self.aopc_ranks == "document" else None
            return aopc(self.explained.network, self.batch.x, maps, self.target, ranked=ranked)._asdict()
        x, fill = self.x, self.fill
        if measure == "accuracy_drop":
            return {"drop": self._hits(torch.where(m, fill, x) for m in self._masks(maps, TENTHS))}
        if measure == "deletion":
            return {"deletion": self._probabilities(torch.where(m, fill, x) for m in self._masks(maps, STEPS))}
        start = blurred(x) if self.explained.kind == "image" else fill
        return {"insertion": self._probabilities(torch.where(m, x, start) for m in self._masks(maps, STEPS))}

    def _road(self, maps: Tensor) -> Curves:
        hits, sure = {}, {}
        for order, largest in (("morf", True), ("lerf", False)):
            filled = []
            for level, mask in enumerate(self._masks(maps, TENTHS[1:], largest=largest)):
                draws = generator(self.x.device, 0, "road", self.number, level)
                filled.append(self._output(noisy_linear_imputation(self.x, mask[:, 0], draws)))
            hits[order] = torch.stack([self._hit(logits) for logits in filled], 1)
            sure[order] = torch.stack([self._probability(logits) for logits in filled], 1)
        return {"road_morf": hits["morf"], "road_lerf": hits["lerf"], "road": (sure["lerf"] - sure["morf"]) / 2}

    def _masks(self, maps: Tensor, levels: tuple[float, ...], *, largest: bool = True) -> Iterator[Tensor]:
        """Yield for each level what is taken away first, bool, as it lies over the input."""
        ranks = removal_ranks(maps.flatten(1), self.valid, largest=largest)
        for share in levels:
            chosen = ranks < removed_count(share, self.n)[:, None]
            yield over_input(chosen.view(maps.shape), self.x)

    @torch.no_grad()
    def _output(self, x: Tensor) -> Tensor:
        return self.explained.network(x)

    def _hit(self, logits: Tensor) -> Tensor:
        return (logits.argmax(1) == self.batch.y).float()

    def _probability(self, logits: Tensor) -> Tensor:
        return logits.float().softmax(1).gather(1, self.target[:, None])[:, 0]

    def _hits(self, inputs: Iterable[Tensor]) -> Tensor:
        return torch.stack([self._hit(self._output(x)) for x in inputs], 1)

    def _probabilities(self, inputs: Iterable[Tensor]) -> Tensor:
        return torch.stack([self._probability(self._output(x)) for x in inputs], 1)


def _fill(x: Tensor, explained: Explained, config: EvaluationConfig) -> Tensor:
    """What stands for a removed position; broadcasts to ``x``."""
    corner = config.removal == "own_corner" or (config.removal == "auto" and explained.kind == "image")
    if corner:
        return x[:, :, :1, :1] if explained.kind == "image" else x[:, :1, :1]
    if config.removal == "zero" or explained.baseline is None or explained.kind == "text":
        return torch.zeros((), dtype=x.dtype, device=x.device)
    return explained.baseline.to(x.dtype)


def _scores(curves: Mapping[str, Tensor], name: str) -> dict[str, float]:
    """Return the scores of one explainer by ``<score>_<explainer>``."""

    def percent(curve: str, levels: tuple[float, ...], of: str = name) -> float:
        return 100 * area(levels, curves[f"{curve}_{of}"].double().mean(0).tolist())

    found: dict[str, float] = {}
    if f"drop_{name}" in curves:
        found["drop_area"] = percent("drop", TENTHS)
        found["drop_gain"] = percent("drop", TENTHS, RANDOM) - found["drop_area"]
    for curve in ("road_morf", "road_lerf", "road"):
        if f"{curve}_{name}" in curves:
            found[curve] = percent(curve, TENTHS[1:])
    for curve in ("deletion", "insertion"):
        if f"{curve}_{name}" in curves:
            found[curve] = percent(curve, STEPS)
    for curve in ("comprehensiveness", "sufficiency"):
        if f"{curve}_{name}" in curves:
            found[curve] = float(curves[f"{curve}_{name}"].double().mean())
    if f"precision_{name}" in curves:
        found |= _relevance(curves, name)
    return {f"{score}_{name}": value for score, value in found.items() if not (score == "drop_gain" and name == RANDOM)}


def _relevance(curves: Mapping[str, Tensor], name: str) -> dict[str, float]:
    ours, chance = (
        relevance_areas(curves[f"precision_{who}"], curves[f"recall_{who}"], SHARES) for who in (name, RANDOM)
    )
    found = {"aup": ours.aup, "aur": ours.aur, "aupr": ours.aupr}
    if name != RANDOM:
        found |= {"diff_aup": ours.aup - chance.aup, "diff_aur": ours.aur - chance.aur}
    return found


def arranged(explained: Explained, task: Task, config: EvaluationConfig) -> Explained:
    """Return the explanations with the baseline, background and mean over channels that the options ask for.

    The background is up to 256 training inputs, as training sees them and the same in every run; for texts it is the
    zero embedding.
    """
    device = next(explained.network.parameters()).device
    if explained.kind == "text":
        return replace(explained, background=torch.zeros(1, 1, 1, device=device))
    asked = {*config.explainers, *(config.faithfulness_explainers if config.faithfulness else ())}
    drawn = config.background == "train" and asked.intersection(WITH_BACKGROUND)
    background = next(iter(task.train_loader(BACKGROUND, device, seed=0))).x if drawn else None
    baselines = {"mean": explained.baseline, "zero": torch.zeros((), device=device), "uniform": None}
    return replace(explained, background=background, baseline=baselines[config.baseline], channels=config.channels)
