"""Which test samples stand for all where only the first are looked at: of a set that comes class by class, of each."""

import torch
from torch import Tensor

SORTED = 4
"""A set comes class by class where neighbours differ so many times less often than in a drawn order."""


def comes_by_class(y: Tensor) -> bool:
    """Whether the samples of a class stand together, as in folders; ``y`` are all labels ``(N,)``.

    >>> comes_by_class(torch.arange(3).repeat_interleave(9)), comes_by_class(torch.arange(3).repeat(9))
    (True, False)
    """
    if len(y) < 2:
        return False
    shares = y.unique(return_counts=True)[1].double() / len(y)
    expected = (len(y) - 1) * (1 - shares.square().sum())
    return bool(SORTED * (y[1:] != y[:-1]).sum() < expected)


def in_turn(y: Tensor) -> Tensor:
    """Return an order in which every first part holds the classes in their shares, ``(N,)`` int64.

    >>> in_turn(torch.tensor([0, 0, 0, 0, 1, 1])).tolist()
    [0, 4, 1, 2, 5, 3]
    """
    place = torch.empty(len(y), dtype=torch.float64)
    for label in y.unique():
        own = (y == label).nonzero().flatten()
        place[own] = (torch.arange(len(own), dtype=torch.float64) + 0.5) / len(own)
    return place.argsort(stable=True)


def representative(y: Tensor, n: int) -> Tensor:
    """Return an order ``(N,)`` int64 whose first ``n`` samples stand for all: the given one where it will do.

    It will not where the set comes class by class and holds more than n.

    Args:
        y: labels of all samples in their given order ``(N,)``.
        n: how many are looked at.
    """
    return in_turn(y) if n < len(y) and comes_by_class(y) else torch.arange(len(y))
