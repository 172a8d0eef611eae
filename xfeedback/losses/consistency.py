"""Kullback-Leibler consistency between two views (saliency guided training, Ismail et al. 2021)."""

import math
from typing import Literal

import torch
from torch import Tensor

from xfeedback.precision import widened

Direction = Literal["clean_masked", "masked_clean", "js"]


def kl_consistency(
    clean: Tensor, masked: Tensor, *, direction: Direction = "clean_masked", detach_reference: bool = False
) -> Tensor:
    """Return the mean divergence between the predictions of two views; equation (6) of `docs/methods/saliency_guided`.

    Args:
        clean: logits of the clean input ``(B, N)``; ``(B, 1)`` is the head of a sigmoid, with logits 0 and z.
        masked: logits of the masked input, likewise.
        direction: KL(clean || masked), KL(masked || clean), or the Jensen-Shannon divergence.
        detach_reference: treat the clean prediction as a constant.

    Returns:
        A scalar in nats: sum over classes, mean over the batch.
    """
    log_p, log_q = (_both(widened(logits)).log_softmax(1) for logits in (clean, masked))
    if detach_reference:
        log_p = log_p.detach()
    if direction == "masked_clean":
        log_p, log_q = log_q, log_p
    if direction == "js":
        log_m = torch.logaddexp(log_p, log_q) - math.log(2)
        return (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2
    return _kl(log_p, log_q)


def _both(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()
