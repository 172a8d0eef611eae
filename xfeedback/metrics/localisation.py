"""Where an explanation's mass lies, sample by sample.

Letters: m map ``(B, H, W)``, non-negative, O right and Wr wrong evidence, bool ``(B, H, W)``. A map without
mass is dead.
"""

import torch
from torch import Tensor

from xfeedback.losses.distance import distance_to_region

EPS = 1e-12
_MOST = 2**23
"""Entries of a temporary tensor while distances between pixels are computed."""


def expectation(maps: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of ``values`` weighted by each map's mass: sum_p m v / sum_p m.

    With the distance to O, divided by the image's diagonal, it is the mean normalised distance.

    Args:
        maps: non-negative ``(B, H, W)``.
        values: ``(B, H, W)``.

    Returns:
        ``(B,)``, 0 for dead maps, and bool ``(B,)``: the map has mass.
    """
    mass = maps.sum((1, 2))
    alive = mass > EPS
    mean = (maps * values.to(maps.dtype)).sum((1, 2)) / torch.where(alive, mass, 1.0)
    return torch.where(alive, mean, 0.0), alive


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
    return expectation(maps, region)


def peak_precision_recall(maps: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Return precision and recall of a map's peaks T = {m >= its 95th percentile}: |T and O| / |T|, |T and O| / |O|.

    Activation precision at 95 % (Barnett et al. 2021, IAIA-BL). The percentile interpolates linearly, so T begins at
    the order statistic next above it.

    Args:
        maps: ``(B, H, W)``.
        region: bool ``(B, H, W)``.

    Returns:
        Two of ``(B,)`` in [0, 1]; recall is 0 where the region is empty.
    """
    flat, inside = maps.flatten(1), region.flatten(1)
    place = -(-95 * (flat.shape[1] - 1) // 100)
    peaks = flat >= flat.kthvalue(place + 1, dim=1, keepdim=True).values
    both = (peaks & inside).sum(1).to(maps.dtype)
    return both / peaks.sum(1), both / inside.sum(1).clamp_min(1)


def half_height_iou(maps: Tensor, region: Tensor) -> Tensor:
    """Return the intersection over union of the region and {m >= half way from its minimum to its maximum}, ``(B,)``.

    Args:
        maps: ``(B, H, W)``; a constant map marks nothing.
        region: bool ``(B, H, W)``.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    marked = (maps - low) / (high - low).clamp_min(EPS) >= 0.5
    union = (marked | region).sum((1, 2))
    return (marked & region).sum((1, 2)).to(maps.dtype) / union.clamp_min(1)


def pointing(maps: Tensor, region: Tensor) -> Tensor:
    """Return whether a map's largest value, the first of equal ones, lies in the region, 0 or 1 ``(B,)``.

    Zhang et al. 2018, without a margin.
    """
    at = maps.flatten(1).argmax(1, keepdim=True)
    return region.flatten(1).gather(1, at)[:, 0].to(maps.dtype)


def pixel_distance(region: Tensor) -> Tensor:
    """Return each pixel's Euclidean distance to the region over the image's diagonal, ``(B, H, W)``; 0 inside it.

    Equation (6) of `docs/methods/xbl` on pixels; all 0 where the region is empty.
    """
    height, width = region.shape[1:]
    rows = max(1, _MOST // (height * width * max(height, width)))
    return torch.cat([distance_to_region(part) for part in region.split(rows)])


def changed_cells(before: Tensor, after: Tensor, rtol: float = 1e-5) -> Tensor:
    """Return which cells of a feature map ``(B, K, h, w)`` differ in any channel, bool ``(B, h, w)``.

    Args:
        before: of some inputs.
        after: of the same inputs changed.
        rtol: differences up to this part of the sample's largest value are rounding: fast convolutions mix neighbours.
    """
    largest = before.abs().amax((1, 2, 3), keepdim=True)[:, 0]
    return (after - before).abs().amax(1) > rtol * largest


class WrongReasons:
    """Wrong-reason ratio, 100 mean_b [ sum_p Wr 1[n > tau] / sum_p Wr ] with n = m / max m, tau the mean of n over all.

    Friedrich et al. 2022 (typology of explanatory interactive learning, arXiv 2203.03668). The threshold is known when
    all maps have been seen, so the values inside Wr are kept until then.
    """

    def __init__(self) -> None:
        self._means: list[Tensor] = []
        self._values: list[Tensor] = []
        self._areas: list[Tensor] = []

    def add(self, maps: Tensor, wrong: Tensor) -> None:
        """Take in some maps ``(B, H, W)`` with mass and their wrong regions, bool ``(B, H, W)``."""
        level = maps / maps.amax((1, 2), keepdim=True).clamp_min(EPS)
        self._means.append(level.mean((1, 2)))
        self._values.append(level[wrong])
        self._areas.append(wrong.sum((1, 2)))

    def percent(self) -> float | None:
        """Return the ratio in percent, the mean over images with a wrong region; None when there is none."""
        areas = torch.cat(self._areas) if self._areas else torch.zeros(0)
        if not bool((areas > 0).any()):
            return None
        above = (torch.cat(self._values) > torch.cat(self._means).mean()).double()
        image = torch.arange(len(areas), device=areas.device).repeat_interleave(areas)
        hits = torch.zeros(len(areas), dtype=torch.float64, device=areas.device).index_add_(0, image, above)
        return 100 * float((hits / areas)[areas > 0].mean())
