"""Which scalar of the network's output an explanation explains."""

from typing import Literal

from torch import Tensor

Output = Literal["prob", "logit", "centred", "log_prob", "sum_log_prob"]


def explained_output(logits: Tensor, target: Tensor, kind: Output) -> Tensor:
    """Return the explained scalar of each sample, float32 or wider even under mixed precision.

    Args:
        logits: ``(B, N)``.
        target: class to explain ``(B,)``; ignored by ``sum_log_prob``.
        kind: ``logit`` z_c; ``centred`` z_c - mean_k z_k; ``prob`` softmax(z)_c; ``log_prob`` its logarithm;
            ``sum_log_prob`` sum_k log softmax(z)_k (Ross et al. 2017).

    Returns:
        ``(B,)``.
    """
    z = logits if logits.element_size() >= 4 else logits.float()
    if kind == "sum_log_prob":
        return z.log_softmax(1).sum(1)
    if kind == "prob":
        z = z.softmax(1)
    elif kind == "log_prob":
        z = z.log_softmax(1)
    elif kind == "centred":
        z = z - z.mean(1, keepdim=True)
    return z.gather(1, target[:, None]).squeeze(1)
