"""The distance-aware explanation loss (XBL-D, Hagos et al. 2023), equations (6) to (8) of `docs/methods/xbl`.

Letters: M class activation map ``(B, h, w)``, O region of the right evidence, D distance of each cell to O.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Metric = Literal["euclid", "cityblock"]
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
        metric: Euclidean or city-block distance between cells.
        norm: divide by the grid's diagonal (``diag``), by each sample's largest distance (``max``), or not (``none``).

    Returns:
        float32 ``(B, h, w)``; all zero where the region is empty.
    """
    h, w = region.shape[1:]
    power = 1 if metric == "cityblock" else 2
    seeds = torch.where(region, 0.0, torch.inf)
    in_column = (seeds[:, None] + _offsets(h, power, region.device)[:, :, None]).amin(2)
    distance = (in_column[:, :, None] + _offsets(w, power, region.device)).amin(3)
    if metric == "euclid":
        distance = distance.sqrt()
    distance = torch.where(region.flatten(1).any(1)[:, None, None], distance, 0.0)
    if norm == "diag":
        distance = distance / (h + w if metric == "cityblock" else (h * h + w * w) ** 0.5)
    elif norm == "max":
        distance = distance / distance.amax((1, 2), keepdim=True).clamp_min(EPS)
    return distance


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
