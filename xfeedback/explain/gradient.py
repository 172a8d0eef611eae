"""The gradient of an output with respect to the input."""

import torch
from torch import Tensor


def gradient(output: Tensor, x: Tensor, *, create_graph: bool = False) -> Tensor:
    """Return d output_b / d x_b for each sample (Simonyan et al. 2014).

    Args:
        output: one scalar a sample ``(B,)``, from :func:`~xfeedback.explain.explained_output`.
        x: the input (or any tensor on the way) with ``requires_grad`` ``(B, ...)``.
        create_graph: keep the graph, so that a loss on the gradient can be trained.

    Returns:
        Same shape as ``x``; the graph of ``output`` stays usable and no ``.grad`` is written.
    """
    (result,) = torch.autograd.grad(output.sum(), x, create_graph=create_graph, retain_graph=True)
    return result
