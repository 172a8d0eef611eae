"""Measures of an evaluation that are taken on demand, ``evaluation.further``; definitions: `docs/data.md`."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from xfeedback.engine.localise import first, mask_of
from xfeedback.engine.options import EvaluationConfig
from xfeedback.explain.lap_maps import flowed, recorded
from xfeedback.explain.outputs import explained_output
from xfeedback.explain.scored import SLOW, Explained
from xfeedback.metrics import half_height_iou, mass_inside, pointing
from xfeedback.metrics.pointing_game import best_iou, confidence_change, on_coarse_grid, pointing_near, rank_correlation
from xfeedback.metrics.rationales import auprc
from xfeedback.models.lap import only_cells, sites
from xfeedback.seeding import derive, generator
from xfeedback.types import Batch

GRID_SEED, GRID_SIDE, CONFIDENT = 42, 3, 0.5
"""Of the grid pointing game (Boehle et al. 2021): its draw, most images a side, least probability of an image."""
ATTENDED = 0.1
"""Share of the last site's cells that are taken away."""


@dataclass(kw_only=True)
class Further:
    """What was measured.

    Attributes:
        metrics: by name; shares in percent.
        notes: what could not be measured and why.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Look:
    """The maps of one explainer on a batch.

    Attributes:
        explained: whose maps.
        batch: the samples.
        maps: ``(B, H, W)``, of the predicted classes.
        target: these classes ``(B,)``.
        name: of the explainer.
        number: of the batch, for draws.
    """

    explained: Explained
    batch: Batch
    maps: Tensor
    target: Tensor
    name: str
    number: int


Measure = Callable[[Look], dict[str, Tensor]]


def further(explained: Explained, batches: Iterable[Batch], config: EvaluationConfig, logits: Tensor) -> Further:
    """Take the measures that ``config.further`` names, of those ``config.explainers`` that take few passes.

    Args:
        explained: whose maps, of images; the network is in evaluation mode.
        batches: test samples; the first ``config.explained`` count.
        config: what to measure.
        logits: of all test samples in their order ``(N, K)``.
    """
    found, wanted = Further(), config.further
    if "top5" in wanted:
        found.metrics["acc/top5"] = top5(logits, torch.cat([batch.y for batch in batches]).cpu())
    if explained.kind != "image":
        left = [name for name in wanted if name != "top5"]
        found.notes += [f"evaluation.further: {name} was left out: it is for images" for name in left]
        return found
    measures: dict[str, Measure] = {"near": near, "coarse": coarse, "pixels": pixels, "confidence": confidence}
    if "random_weights" in wanted:
        measures["random_weights"] = against(replace(explained, network=randomised(explained.network)))
    names = tuple(name for name in config.explainers if name not in SLOW)
    found.metrics |= _taken(explained, batches, config, names, [m for name, m in measures.items() if name in wanted])
    if "inner" in wanted:
        inner(explained.network, first(batches, config.explained), found)
    if "grid_pointing" in wanted:
        grid_pointing(explained, list(first(batches, config.explained)), names, config, found)
    return found


def top5(logits: Tensor, y: Tensor) -> float:
    """Return the share of samples whose class has one of the five largest logits, in percent.

    Args:
        logits: ``(N, K)``.
        y: ``(N,)``.

    >>> round(top5(-torch.arange(12.0).view(2, 6), torch.tensor([4, 5])), 1)
    50.0
    """
    return 100 * float((logits.topk(min(5, logits.shape[1]), 1).indices == y[:, None]).any(1).double().mean())


def _taken(
    explained: Explained,
    batches: Iterable[Batch],
    config: EvaluationConfig,
    names: tuple[str, ...],
    measures: list[Measure],
) -> dict[str, float]:
    """Means in percent over the samples that have a value."""
    rows: dict[str, list[Tensor]] = {}
    for number, batch in enumerate(first(batches, config.explained) if measures else ()):
        maps, logits = explained.maps(names, batch.x, number)
        for name, values in maps.items():
            end = _ending(name, config)
            look = Look(
                explained=explained, batch=batch, maps=values, target=logits.argmax(1), name=name, number=number
            )
            for measure in measures:
                for score, value in measure(look).items():
                    rows.setdefault(f"explanation/{score}{end}", []).append(value.double())
    whole = {name: torch.cat(values) for name, values in rows.items()}
    return {name: 100 * float(v.nanmean()) for name, v in whole.items() if not bool(v.isnan().all())}


def _ending(name: str, config: EvaluationConfig) -> str:
    """What stands behind a score's name: nothing for the headline explainer, slow or not, as where maps are located."""
    return "" if name == config.explainers[0] else f"_{name}"


def _annotated(look: Look) -> tuple[Tensor, Tensor]:
    """Regions and which samples count: annotated, with a map that is not dead."""
    mask = mask_of(look.batch)
    counts = mask.flatten(1).any(1) & mass_inside(look.maps, mask)[1]
    return mask, counts if look.batch.annotated is None else counts & look.batch.annotated


def _where(values: dict[str, Tensor], counts: Tensor) -> dict[str, Tensor]:
    return {name: torch.where(counts, value, torch.nan) for name, value in values.items()}


def near(look: Look) -> dict[str, Tensor]:
    """Pointing game with the margin of its authors, bool as 0 and 1 ``(B,)``; NaN where a sample does not count."""
    mask, counts = _annotated(look)
    return _where({"pointing_near": pointing_near(look.maps, mask)}, counts)


def coarse(look: Look) -> dict[str, Tensor]:
    """Localisation on a grid that all explainers share, each ``(B,)``; NaN where a sample does not count."""
    mask, counts = _annotated(look)
    maps, region = on_coarse_grid(look.maps, mask)
    found = {"pointing": pointing(maps, region), "inside": mass_inside(maps, region)[0]}
    found["iou50"] = half_height_iou(maps, region)
    return _where({f"{name}_coarse": value for name, value in found.items()}, counts)


def pixels(look: Look) -> dict[str, Tensor]:
    """Pixels against the region at every threshold, each ``(B,)``; NaN where a sample does not count."""
    mask, counts = _annotated(look)
    flat = look.maps.flatten(1)
    precision = auprc(flat, mask.flatten(1), torch.ones_like(flat, dtype=torch.bool))
    return _where({"pixel_ap": precision, "best_iou": best_iou(look.maps, mask)}, counts)


@torch.no_grad()
def confidence(look: Look) -> dict[str, Tensor]:
    """What multiplying the input with the map, stretched to [0, 1], does to the class's probability, each ``(B,)``."""
    low, high = (extreme((1, 2), keepdim=True) for extreme in (look.maps.amin, look.maps.amax))
    stretched = (look.maps - low) / (high - low).clamp_min(1e-12)
    network, at = look.explained.network, look.target[:, None]
    before, after = (network(x).softmax(1).gather(1, at)[:, 0] for x in (look.batch.x, _times(look, stretched)))
    drop, rise = confidence_change(before, after)
    return {"confidence_drop": drop, "confidence_increase": rise}


def _times(look: Look, maps: Tensor) -> Tensor:
    return look.batch.x * maps[:, None].to(look.batch.x.dtype)


def against(other: Explained) -> Measure:
    """Return the measure of how alike the maps of another network are (Adebayo et al. 2018)."""

    def unlike(look: Look) -> dict[str, Tensor]:
        maps, _ = other.maps([look.name], look.batch.x, look.number, look.target)
        return {"random_weights": rank_correlation(look.maps, maps[look.name])}

    return unlike


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """Return a copy with all weights drawn anew, always the same on all devices; the global random state stays.

    Weights that no layer knows how to begin (tokens and positions, factors of normalised weights) change places.
    """
    other = copy.deepcopy(network).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(0, "random weights"))
        for module in other.modules():
            drawn = getattr(module, "reset_parameters", None)
            if callable(drawn):
                drawn()
        for trained, weight in zip(network.parameters(), other.parameters(), strict=True):
            if torch.equal(trained.cpu(), weight):
                weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))
    return other.to(next((weight.device for weight in network.parameters()), torch.device("cpu")))


@torch.no_grad()
def inner(network: nn.Module, batches: Iterable[Batch], found: Further) -> None:
    """Take the most attended tenth of the last site's cells away: by how much more the logit falls than at random."""
    layers = sites(network)
    if not layers:
        found.notes.append("evaluation.further: inner was left out: the network has no attention pooling")
        return
    falls: dict[str, list[Tensor]] = {"inner_drop": [], "inner_drop_random": []}
    for number, batch in enumerate(batches):
        places, logits = recorded(network, batch.x)
        last = places[-1]
        out = last.maps.weights.shape[3:]
        weights = flowed(logits.new_full((len(batch), *out), 1 / out.numel()), last.maps)
        drawn = torch.rand(
            weights.shape, device=weights.device, generator=generator(weights.device, 0, "inner", number)
        )
        for name, order in zip(falls, (weights, drawn), strict=True):
            cells = order.flatten(1)
            taken = cells.topk(-(-cells.shape[1] // round(1 / ATTENDED)), 1).indices
            kept = torch.ones_like(cells, dtype=torch.bool).scatter(1, taken, value=False).view_as(order)[:, None]
            with only_cells(layers[last.name], kept):
                after = network(batch.x)
            target = logits.argmax(1)
            falls[name].append(explained_output(logits, target, "logit") - explained_output(after, target, "logit"))
    found.metrics |= {f"faithfulness/{name}": float(torch.cat(values).mean()) for name, values in falls.items()}


def grid_pointing(
    explained: Explained, batches: list[Batch], names: tuple[str, ...], config: EvaluationConfig, found: Further
) -> None:
    """Share of a class's map in the one image of that class in a grid of images of different classes.

    Images that the network gets right with a probability above a half are laid out, 3 x 3 or, with fewer than 9
    classes, 2 x 2; each in turn is explained in the whole grid.

    Args:
        explained: whose maps.
        batches: of the images.
        names: explainers.
        config: how many grids, and which explainer's share has no ending.
        found: gets ``explanation/grid_pointing``.
    """
    x, y = torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])
    with torch.no_grad():
        sure = torch.cat([explained.network(b.x) for b in batches]).softmax(1).gather(1, y[:, None])[:, 0] > CONFIDENT
    members = [rows for label in y.unique() if len(rows := (sure & (y == label)).nonzero()[:, 0])]
    side = min(GRID_SIDE, int(len(members) ** 0.5))
    if side < 2:
        found.notes.append(
            "evaluation.further: grid_pointing was left out: fewer than 4 classes are told with certainty"
        )
        return
    draws, shares = generator("cpu", GRID_SEED, "grids"), {name: [] for name in names}
    for number in range(config.grids):
        classes = torch.randperm(len(members), generator=draws)[: side**2].tolist()
        rows = [own[int(torch.randint(len(own), (1,), generator=draws))] for own in (members[c] for c in classes)]
        try:
            chosen = torch.stack(rows)
            cells = _in_grid(explained, Batch(x=x[chosen], y=y[chosen], index=chosen), names, side, number)
        except RuntimeError:
            found.notes.append("evaluation.further: grid_pointing was left out: the network takes one size of image")
            return
        for name, share in cells.items():
            shares[name].append(share)
    whole = {f"explanation/grid_pointing{_ending(name, config)}": torch.cat(shares[name]).double() for name in names}
    found.metrics |= {name: 100 * float(v.nanmean()) for name, v in whole.items() if not bool(v.isnan().all())}


def _in_grid(explained: Explained, images: Batch, names: tuple[str, ...], side: int, number: int) -> dict[str, Tensor]:
    """The share of each explained part's own cell ``(side^2,)``, NaN for dead maps."""
    parts = images.x
    channels, height, width = parts.shape[1:]
    laid = parts.view(side, side, channels, height, width).permute(2, 0, 3, 1, 4)
    grid = laid.reshape(1, channels, side * height, side * width).expand(len(parts), -1, -1, -1)
    maps, _ = explained.maps(names, grid, number, images.y)
    cell = torch.arange(side**2, device=parts.device).view(side, side)
    cell = cell.repeat_interleave(height, 0).repeat_interleave(width, 1)
    own = cell == torch.arange(side**2, device=parts.device)[:, None, None]
    found = {name: mass_inside(values, own) for name, values in maps.items()}
    return {name: torch.where(alive, share, torch.nan) for name, (share, alive) in found.items()}
