"""Where an explanation's mass lies."""

import torch
from torch import Tensor

EPS = 1e-12


def mass_inside(maps: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of each map's mass inside a region (energy-based pointing game, Wang et al. 2020).

    Args:
        maps: non-negative ``(B, H, W)``.
        region: bool ``(B, H, W)``.

    Returns:
        Shares in [0, 1] ``(B,)``, 0 for dead maps, and bool ``(B,)``: the map has mass.

    >>> mass_inside(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[True, False]]]))
    (tensor([0.7500]), tensor([True]))
    """
    mass = maps.sum((1, 2))
    alive = mass > EPS
    inside = (maps * region.to(maps.dtype)).sum((1, 2)) / torch.where(alive, mass, 1.0)
    return torch.where(alive, inside, 0.0), alive
