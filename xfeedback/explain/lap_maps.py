"""The explanation that attention pooling carries: scores and weights of its sites as one map over the pixels.

Equations (16) and (17) of `docs/methods/lap.md`. One forward pass, no gradient, no hooks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfeedback.models.lap import SiteMaps, returned_maps
from xfeedback.models.surgery import in_shortcut
from xfeedback.models.window import Window

MapMethod = Literal["last", "mean", "geomean", "flow", "flow_x_score"]
METHODS: tuple[MapMethod, ...] = ("last", "mean", "geomean", "flow", "flow_x_score")
Start = Literal["global_weights", "class_score"]
Path = Literal["main", "shortcut", "mean"]
BOTH: tuple[Path, Path] = ("main", "shortcut")
EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One site of a recorded forward pass.

    Attributes:
        name: dotted name of the layer.
        shortcut: it stands in the shortcut of a residual block.
        maps: its scores and weights.
    """

    name: str
    shortcut: bool
    maps: SiteMaps


@torch.no_grad()
def recorded(network: nn.Module, x: Tensor) -> tuple[list[Recorded], Tensor]:
    """Run the network once and return its sites in the order of the pass, and the logits ``(B, N)``."""
    with returned_maps(network) as found:
        logits = network(x)
    return [Recorded(name=name, shortcut=in_shortcut(name), maps=maps[0]) for name, maps in found.items()], logits


def lap_map(
    network: nn.Module,
    x: Tensor,
    method: MapMethod = "flow",
    *,
    target: Tensor | None = None,
    start: Start = "global_weights",
    path: Path = "main",
    upsample: Literal["nearest", "bilinear"] = "nearest",
) -> Tensor:
    """Return a network's own explanation ``(B, H, W)``, non-negative.

    Args:
        network: in evaluation mode, with attention pooling.
        x: images ``(B, C, H, W)``.
        method: score of the ``last`` site; arithmetic or geometric ``mean`` of all sites' scores; ``flow`` of the
            pooling weights from the last site to the first; ``flow_x_score``: times the finest site's score.
        target: explained class ``(B,)``; None: the predicted one. With one score map it does not matter.
        start: what ``flow`` starts from: weights of the global site, or the class's scores there.
        path: where a residual block pools twice: its main path, its shortcut, or the mean of both flows.
        upsample: how grids become pixels; ``flow`` keeps its sum in either.

    Raises:
        ValueError: the network has no attention pooling.
    """
    sites, logits = recorded(network, x)
    if not sites:
        raise ValueError(f"{type(network).__name__} has no attention pooling")
    chosen = logits.argmax(1) if target is None else target
    size, n_classes = (x.shape[2], x.shape[3]), logits.shape[1]
    if method in ("flow", "flow_x_score"):
        flow = enlarged_mass(flow_map(sites, chosen, n_classes, start=start, path=path), size, upsample)
        return (
            flow if method == "flow" else flow * _pixels(class_scores(sites[0].maps, chosen, n_classes), size, upsample)
        )
    scores = torch.stack([_pixels(class_scores(site.maps, chosen, n_classes), size, upsample) for site in sites])
    if method == "last":
        return scores[-1]
    return scores.mean(0) if method == "mean" else scores.clamp_min(EPS).log().mean(0).exp()


def class_scores(maps: SiteMaps, target: Tensor, n_classes: int) -> Tensor:
    """Return S_c ``(B, h, w)``, at least 0: the class's map where there is one a class, else the mean of all."""
    scores = maps.scores
    if scores.shape[1] == n_classes and not maps.per_channel:
        return scores.gather(1, target[:, None, None, None].expand(-1, 1, *scores.shape[2:]))[:, 0].clamp_min(0)
    return scores.mean(1).clamp_min(0)


def flow_map(sites: Sequence[Recorded], target: Tensor, n_classes: int, *, start: Start, path: Path) -> Tensor:
    """Return R of the first site's input ``(B, h, w)``, which sums to 1; equation (16).

    R^L are the weights of the last site; R^{l-1}_i = sum_{u: i in Omega_u} R^l_u w^l_ui; convolutions leave the grid.

    Args:
        sites: in the order of the forward pass.
        target: class whose scores ``class_score`` starts from ``(B,)``.
        n_classes: number of logits.
        start: weights of the last site, or its scores divided by their sum.
        path: which of a block's two sites; ``mean``: of both flows.
    """
    if path == "mean":
        first, second = (flow_map(sites, target, n_classes, start=start, path=one) for one in BOTH)
        return (first + enlarged_mass(second, (first.shape[1], first.shape[2]))) / 2
    chain = _chain(sites, path)
    last = chain[-1].maps
    if start == "class_score":
        scores = class_scores(last, target, n_classes)
        flow = scores / scores.sum((1, 2), keepdim=True).clamp_min(EPS)
    else:
        whole = last.window is None
        grid = (1, 1) if whole else (last.weights.shape[3], last.weights.shape[4])
        flow = torch.full((len(target), *grid), 1 / (grid[0] * grid[1]), device=last.weights.device)
        flow = flowed(flow, last)
    for site in reversed(chain[:-1]):
        grid = (1, 1) if site.maps.window is None else (site.maps.weights.shape[3], site.maps.weights.shape[4])
        flow = flowed(enlarged_mass(flow, grid), site.maps)
    return flow


def _chain(sites: Sequence[Recorded], path: Path) -> list[Recorded]:
    """The sites along one path; on the way of the shortcuts a block's own replaces that of its main path."""
    if path == "main":
        return [site for site in sites if not site.shortcut] or list(sites)
    kept: list[Recorded] = []
    for site in sites:
        if site.shortcut and kept and site.name.startswith(f"{kept[-1].name.rsplit('.', 2)[0]}."):
            kept.pop()
        kept.append(site)
    return kept


def flowed(flow: Tensor, maps: SiteMaps) -> Tensor:
    """Return R of a site's input from R of its output ``(B, h, w)``: each window's mass goes to its cells by weight."""
    weights = maps.weights.mean(1)
    weights = weights / weights.sum(1, keepdim=True).clamp_min(EPS)
    shares = flow[:, None] * weights
    height, width = maps.scores.shape[2:]
    if maps.window is None:
        return shares[:, :, 0, 0].unflatten(1, (height, width))
    return spread(shares, maps.window, (height, width))


def spread(shares: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """Return the sum of what windows give to each cell ``(B, H, W)``: the transpose of cutting a map into windows.

    Args:
        shares: ``(B, n, h, w)``.
        window: how the map was cut.
        size: (H, W) of the map.
    """
    out = shares.new_zeros((len(shares), *size))
    for place, (windows, cells) in enumerate(window.places(*size)):
        out[:, *cells] += shares[:, place, *windows]
    return out


def enlarged_mass(mass: Tensor, size: tuple[int, int], upsample: Literal["nearest", "bilinear"] = "nearest") -> Tensor:
    """Bring a map to another grid so that each image keeps its sum; ``(B, h, w)`` to ``(B, H, W)``; equation (17)."""
    if tuple(mass.shape[1:]) == size:
        return mass
    large = _pixels(mass, size, upsample)
    return large * (mass.sum((1, 2)) / large.sum((1, 2)).clamp_min(EPS))[:, None, None]


def _pixels(maps: Tensor, size: tuple[int, int], upsample: str) -> Tensor:
    return F.interpolate(maps[:, None], size, mode="nearest-exact" if upsample == "nearest" else "bilinear")[:, 0]
