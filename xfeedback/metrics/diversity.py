"""How different a network's filters are, how wide its activations spread, how many units an explanation names.

Definitions: `docs/methods/challenger.md`, section "Filters and margins". How the paper measures diversity is not known.
"""

import torch
from torch import Tensor


def mean_cosine(weight: Tensor) -> float:
    """Return the mean of |cos(W_i, W_j)| over pairs of filters i < j; 0 for orthogonal ones, 1 for equal ones.

    Args:
        weight: of a layer ``(filters, ...)``, flattened to rows; rows of zeros are at right angles to all others.

    Raises:
        ValueError: there are fewer than two filters.

    >>> mean_cosine(torch.eye(3))
    0.0
    """
    rows = weight.detach().flatten(1).double()
    if len(rows) < 2:
        raise ValueError("pairs of filters need two")
    norms = rows.norm(dim=1, keepdim=True)
    directions = rows / torch.where(norms > 0, norms, 1.0)
    upper = (directions @ directions.T).abs().triu(1)
    return float(upper.sum() / (len(rows) * (len(rows) - 1) / 2))


def effective_rank(matrix: Tensor) -> float:
    """Return exp(H) of the singular values as shares of their sum (Roy and Vetterli 2007); 0 for a matrix of zeros.

    Args:
        matrix: ``(rows, ...)``, flattened to two dimensions.

    >>> round(effective_rank(torch.eye(4)), 6)
    4.0
    """
    values = torch.linalg.svdvals(matrix.detach().flatten(1).double())
    return _perplexity(values[None]).item()


def relevant_units(relevance: Tensor) -> Tensor:
    """Return exp(H) of |R| as shares of its sum, for each sample ``(B,)``: how many units carry the relevance.

    Args:
        relevance: R ``(B, ...)``; 0 units where it is 0 everywhere.
    """
    return _perplexity(relevance.detach().flatten(1).double().abs())


def _perplexity(masses: Tensor) -> Tensor:
    total = masses.sum(1, keepdim=True)
    shares = masses / torch.where(total > 0, total, 1.0)
    return torch.where(total[:, 0] > 0, torch.special.entr(shares).sum(1).exp(), 0.0)
