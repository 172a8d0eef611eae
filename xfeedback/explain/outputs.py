"""Which scalar of the network's output an explanation explains."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from xfeedback.precision import widened

Output = Literal["prob", "logit", "centred", "log_prob", "sum_log_prob"]


def explained_output(logits: Tensor, target: Tensor, kind: Output) -> Tensor:
    """Return the explained scalar of each sample, float32 or wider even under mixed precision.

    Probabilities come from the margin over the other classes: the gradient of a softmax cancels where the prediction is
    certain, and a float32 map would be wrong by a third at 1 - p = 4e-7.

    Args:
        logits: ``(B, N)``.
        target: class to explain ``(B,)``; ignored by ``sum_log_prob``.
        kind: ``logit`` z_c; ``centred`` z_c - mean_k z_k; ``prob`` softmax(z)_c; ``log_prob`` its logarithm;
            ``sum_log_prob`` sum_k log softmax(z)_k (Ross et al. 2017).

    Returns:
        ``(B,)``.
    """
    z = widened(logits)
    if kind == "sum_log_prob":
        return z.log_softmax(1).sum(1)
    of_class = z.gather(1, target[:, None]).squeeze(1)
    if kind == "logit":
        return of_class
    if kind == "centred":
        return of_class - z.mean(1)
    others = z.scatter(1, target[:, None], -torch.inf).logsumexp(1)
    log_prob = -F.softplus(others - of_class)
    return log_prob.exp() if kind == "prob" else log_prob
