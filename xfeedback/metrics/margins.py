"""How clearly samples are decided: the margin of the label's logit over the largest other one."""

import torch
from torch import Tensor


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """Return z_y minus the largest other logit ``(N,)``, float64; negative where the prediction is wrong.

    Args:
        logits: ``(N, K)``, K of 2 or more.
        y: labels ``(N,)``.

    >>> margins(torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]]), torch.tensor([0, 2]))
    tensor([ 2., -1.], dtype=torch.float64)
    """
    z = logits.double()
    own = z.gather(1, y[:, None])
    return (own - z.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True))[:, 0]


def narrow_share(found: Tensor, width: float = 1.0) -> float:
    """Return the share of margins ``(N,)`` whose size is below ``width``: samples between two classes."""
    return float((found.abs() < width).double().mean())
