"""Parts of the networks for texts. Letters: B texts, L tokens, E embedding width."""

import torch
from torch import Tensor, nn

from xfeedback.config import require


def token_embedding(n_ids: int, width: int, std: float) -> nn.Embedding:
    """Return learned vectors drawn from N(0, std^2); that of padding, id 0, is zero and stays so."""
    embedding = nn.Embedding(n_ids, width, padding_idx=0)
    with torch.no_grad():
        embedding.weight.normal_(0, std)
        embedding.weight[0] = 0
    return embedding


def real_mean(x: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of ``(B, L, E)`` over the tokens that are ``valid`` ``(B, L)``, ``(B, E)``; of none 0."""
    weight = valid.to(x.dtype)[..., None]
    return (x * weight).sum(1) / weight.sum(1).clamp_min(1)


def require_dropout(value: float) -> None:
    """Refuse a dropout probability that is none."""
    require(0 <= value < 1, "dropout", value, "at least 0 and less than 1")
