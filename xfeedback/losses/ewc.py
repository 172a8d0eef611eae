"""Elastic weight consolidation (Kirkpatrick et al. 2017): a spring on every weight, as stiff as the weight matters."""

from collections.abc import Sequence

import torch
from torch import Tensor


def ewc_penalty(parameters: Sequence[Tensor], anchors: Sequence[Tensor], fisher: Sequence[Tensor]) -> Tensor:
    """Return sum_k F_k (theta_k - theta*_k)^2, a scalar; lambda/2 of it is the penalty.

    Args:
        parameters: theta, the network's parameters.
        anchors: theta*, same shapes.
        fisher: F, same shapes, not negative.

    >>> ewc_penalty([torch.tensor([1.0, 3.0])], [torch.tensor([1.0, 1.0])], [torch.tensor([5.0, 0.5])])
    tensor(2.)
    """
    terms = [(f * (p - a).square()).sum() for p, a, f in zip(parameters, anchors, fisher, strict=True)]
    return torch.stack(terms).sum()


def merged(anchor: Tensor, fisher: Tensor, new_anchor: Tensor, new_fisher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return one spring that equals two: F_1 (t - a_1)^2 + F_2 (t - a_2)^2 = F (t - a)^2 + c for every t.

    F = F_1 + F_2, a = a_1 + F_2/F (a_2 - a_1), c = sum F_1 F_2 / F (a_2 - a_1)^2; where F = 0 the anchor is a_2.

    Returns:
        a, F, and the scalar c.

    >>> merged(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([4.0]), torch.tensor([3.0]))
    (tensor([3.]), tensor([4.]), tensor(12.))
    """
    total = fisher + new_fisher
    share = torch.where(total > 0, new_fisher / total.clamp_min(torch.finfo(total.dtype).tiny), 1.0)
    gap = new_anchor - anchor
    return anchor + share * gap, total, (fisher * share * gap.square()).sum()
