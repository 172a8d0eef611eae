"""Accuracy of groups of samples, and what a decoy does to a prediction; in percent."""

import torch
from torch import Tensor


def accuracy(predicted: Tensor, y: Tensor) -> float:
    """Return the share of hits.

    Args:
        predicted: classes ``(N,)``.
        y: labels ``(N,)``.
    """
    return 100 * float((predicted == y).double().mean())


def balanced_accuracy(predicted: Tensor, y: Tensor) -> float:
    """Return the mean over the classes that occur of the share of hits in each.

    Args:
        predicted: classes ``(N,)``.
        y: labels ``(N,)``.

    >>> balanced_accuracy(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]))
    50.0
    """
    hits = (predicted == y).double()
    return 100 * float(torch.stack([hits[y == label].mean() for label in y.unique()]).mean())


def worst_group(predicted: Tensor, y: Tensor, shown: Tensor | None = None, least: int = 20) -> float | None:
    """Return the lowest accuracy of any group with at least ``least`` samples, or None when there is none.

    Args:
        predicted: classes ``(N,)``.
        y: labels ``(N,)``.
        shown: the class whose code each decoy shows ``(N,)``: groups are (y, shown = y or not). None: groups are y.
        least: how many samples a group needs to count.
    """
    group = y if shown is None else 2 * y + (shown == y)
    hits = (predicted == y).double()
    found = [hits[group == name].mean() for name in group.unique() if int((group == name).sum()) >= least]
    return 100 * float(torch.stack(found).min()) if found else None


def largest_share(predicted: Tensor) -> float:
    """Return the share of the class that is predicted most often; 100 where a network has collapsed to one class.

    Args:
        predicted: classes ``(N,)``.

    >>> largest_share(torch.tensor([0, 2, 2, 1]))
    50.0
    """
    return 100 * float(predicted.bincount().max()) / len(predicted)


def decoy_effect(with_decoy: Tensor, clean: Tensor) -> float:
    """Return mean [ p_c(x) - p_c(x without its decoy) ] in points, c the class predicted with the decoy.

    After the perturbation of regions by Hagos et al. (2022, arXiv 2211.08285).

    Args:
        with_decoy: logits ``(N, K)``.
        clean: logits of the same images in the same order without their decoys.
    """
    predicted = with_decoy.argmax(1, keepdim=True)
    before, after = (logits.double().softmax(1).gather(1, predicted) for logits in (with_decoy, clean))
    return 100 * float((before - after).mean())
