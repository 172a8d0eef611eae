"""Which positions an explanation takes away first, and areas under what happens then.

Letters: B samples, n positions (pixels, cells, tokens), d removed share.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def removal_ranks(maps: Tensor, valid: Tensor | None = None, *, largest: bool = True) -> Tensor:
    """Return the place of each position in the order of removal, ``(B, n)`` int64 from 0; equal values keep theirs.

    Args:
        maps: ``(B, n)``.
        valid: which positions are real ``(B, n)`` bool; padding comes last. None: all.
        largest: the most relevant first; else the least relevant.
    """
    keys = maps.double()
    if valid is not None:
        keys = keys.masked_fill(~valid, -torch.inf if largest else torch.inf)
    order = keys.argsort(dim=1, descending=largest, stable=True)
    places = torch.arange(maps.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def removed_count(share: float, n: Tensor) -> Tensor:
    """Return how many of n positions the share d takes: none at 0, else max(1, int(d n)), ``(B,)`` int64.

    >>> removed_count(0.1, torch.tensor([784, 5])).tolist(), removed_count(0.0, torch.tensor([784])).tolist()
    ([78, 1], [0])
    """
    if share == 0:
        return torch.zeros_like(n)
    return torch.floor(share * n.double() + 1e-9).long().clamp_min(1).minimum(n)


def area(levels: Sequence[float], values: Sequence[float]) -> float:
    """Return the trapezoid under ``values`` over ``levels``, divided by their width: a constant is its own area.

    >>> area([0.0, 0.5, 1.0], [1.0, 0.5, 0.0])
    0.5
    """
    whole = torch.trapezoid(torch.tensor(values, dtype=torch.float64), torch.tensor(levels, dtype=torch.float64))
    return float(whole) / (levels[-1] - levels[0])


def blurred(x: Tensor, side: int = 11, sd: float = 5.0) -> Tensor:
    """Return images ``(B, C, H, W)`` under a Gaussian blur, mirrored at the edge: where insertion starts.

    Petsiuk et al. 2018 (RISE): 11 pixels, sd 5. Images smaller than the blur take the largest odd one that fits.
    """
    side = min(side, *(2 * ((size + 1) // 2) - 1 for size in x.shape[2:]))
    places = torch.arange(side, dtype=x.dtype, device=x.device) - side // 2
    line = torch.exp(-places.square() / (2 * sd**2))
    line = line / line.sum()
    channels = x.shape[1]
    padded = torch.nn.functional.pad(x, [side // 2] * 4, mode="reflect" if side > 1 else "replicate")
    for shape in ((1, 1, side, 1), (1, 1, 1, side)):
        weight = line.view(shape).expand(channels, 1, *shape[2:])
        padded = torch.nn.functional.conv2d(padded, weight, groups=channels)
    return padded
