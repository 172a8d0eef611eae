"""The distance-aware explanation loss (XBL-D, Hagos et al. 2023), equations (6) to (8) of `docs/methods/xbl`.

Letters: M class activation map ``(B, h, w)``, O region of the right evidence, Wr region of the wrong one, D distance of
each cell to O.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Metric = Literal["euclid", "cityblock", "raster"]
Norm = Literal["diag", "max", "none"]
EPS = 1e-12


def pool_mask(mask: Tensor, size: tuple[int, int], rule: Literal["any", "area50"] = "any") -> Tensor:
    """Bring a pixel mask to the grid of the explained layer.

    Args:
        mask: bool ``(B, H, W)``.
        size: ``(h, w)`` of the grid.
        rule: ``any``: a cell touched by the mask belongs to it; ``area50``: a cell at least half covered does.

    Returns:
        bool ``(B, h, w)``.
    """
    pixels = mask[:, None].float()
    if rule == "any":
        return F.adaptive_max_pool2d(pixels, size)[:, 0] > 0
    return F.adaptive_avg_pool2d(pixels, size)[:, 0] >= 0.5


def distance_to_region(region: Tensor, *, metric: Metric = "euclid", norm: Norm = "diag") -> Tensor:
    """Return each cell's distance to the nearest cell of the region, 0 inside it; equation (6).

    Exact: the nearest cell of each column first, then the nearest column.

    Args:
        region: bool ``(B, h, w)``.
        metric: Euclidean or city-block distance between cells, or the distance of their indices when the rows of the
            grid are laid end to end (``raster``).
        norm: divide by the grid's extent in this metric (``diag``: the root of h^2 + w^2, h + w, or h w), by each
            sample's largest distance (``max``), or not (``none``).

    Returns:
        float32 ``(B, h, w)``; all zero where the region is empty.
    """
    h, w = region.shape[1:]
    distance = _along_the_raster(region) if metric == "raster" else _in_the_plane(region, metric)
    distance = torch.where(region.flatten(1).any(1)[:, None, None], distance, 0.0)
    if norm == "diag":
        extent = {"euclid": (h * h + w * w) ** 0.5, "cityblock": h + w, "raster": h * w}
        distance = distance / extent[metric]
    elif norm == "max":
        distance = distance / distance.amax((1, 2), keepdim=True).clamp_min(EPS)
    return distance


def _in_the_plane(region: Tensor, metric: Metric) -> Tensor:
    h, w = region.shape[1:]
    power = 1 if metric == "cityblock" else 2
    seeds = torch.where(region, 0.0, torch.inf)
    in_column = (seeds[:, None] + _offsets(h, power, region.device)[:, :, None]).amin(2)
    distance = (in_column[:, :, None] + _offsets(w, power, region.device)).amin(3)
    return distance.sqrt() if metric == "euclid" else distance


def _along_the_raster(region: Tensor) -> Tensor:
    inside = region.flatten(1)
    at = torch.arange(inside.shape[1], device=region.device, dtype=torch.float32)
    before = torch.where(inside, at, -torch.inf).cummax(1).values
    after = torch.where(inside, at, torch.inf).flip(1).cummin(1).values.flip(1)
    return torch.minimum(at - before, after - at).view(region.shape)


def _offsets(n: int, power: int, device: torch.device) -> Tensor:
    positions = torch.arange(n, device=device, dtype=torch.float32)
    return (positions[:, None] - positions).abs() ** power


def distance_aware(cam: Tensor, distance: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the expected distance of the attention mass from the region; equation (7).

    l = sum_p M_p D_p / sum_p M_p, unchanged by scaling M; dl/dM_p = (D_p - l) / sum M.

    Args:
        cam: M >= 0 ``(B, h, w)``.
        distance: D ``(B, h, w)``.
        counts: bool ``(B,)``, samples with an annotation that is not empty.

    Returns:
        ``l`` ``(B,)``, exactly 0 where the sample does not count, and ``v`` bool ``(B,)``: counted and M not dead.
    """
    mass = cam.sum((1, 2))
    alive = counts & (mass > EPS)
    safe = torch.where(alive, mass, 1.0)
    expected = (cam * distance.to(cam.dtype)).sum((1, 2)) / safe
    return torch.where(alive, expected, 0.0), alive


def max_normalised(cam: Tensor) -> Tensor:
    """Return M / max_p M ``(B, h, w)``; a dead map stays as it is.

    Args:
        cam: M >= 0 ``(B, h, w)``.
    """
    return cam / cam.amax((1, 2), keepdim=True).clamp_min(EPS)


def gated_distance(cam: Tensor, distance: Tensor, wrong: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean distance-weighted attention in the wrong region; the released rule made differentiable.

    l = sum_p M_p Wr_p D_p / sum_p Wr_p; equation (9).

    Args:
        cam: M >= 0 ``(B, h, w)``, as a rule :func:`max_normalised`.
        distance: D ``(B, h, w)``.
        wrong: Wr, bool ``(B, h, w)``.
        counts: bool ``(B,)``, samples with an annotation that is not empty.

    Returns:
        ``l`` ``(B,)``, exactly 0 where the sample does not count, and ``v`` bool ``(B,)``: counted, Wr not empty and M
        not dead.
    """
    gate = wrong.to(cam.dtype)
    alive = counts & wrong.flatten(1).any(1) & (cam.sum((1, 2)) > EPS)
    value = (cam * gate * distance.to(cam.dtype)).sum((1, 2)) / gate.sum((1, 2)).clamp_min(1)
    return torch.where(alive, value, 0.0), alive


def mean_distance(cam: Tensor, distance: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance-weighted attention averaged over the cells, not over the mass: l = (1/hw) sum_p M_p D_p.

    Equation (11). Arguments, results and shapes as in :func:`distance_aware`, with M as a rule :func:`max_normalised`.

    >>> cam, distance = torch.tensor([[[1.0, 0.0], [0.0, 0.5]]]), torch.tensor([[[0.0, 1.0], [1.0, 2.0]]])
    >>> mean_distance(cam, distance, torch.tensor([True]))
    (tensor([0.2500]), tensor([True]))
    """
    alive = counts & (cam.sum((1, 2)) > EPS)
    return torch.where(alive, (cam * distance.to(cam.dtype)).mean((1, 2)), 0.0), alive
