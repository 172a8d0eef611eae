"""Outputs that compete: in task-incremental learning a phase's samples are told apart among its own classes only."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

OUT = -1e4
"""Logit of a class that does not compete: finite, so that differences of log-probabilities stay numbers; exp(OUT)=0."""


def competing(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """Return logits ``(B, N)`` in which only ``classes`` compete; the others get :data:`OUT` and no gradient.

    >>> competing(torch.tensor([[1.0, 2.0, 3.0]]), [0, 1]).softmax(1).argmax(1)
    tensor([1])
    """
    out = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
    out[list(classes)] = False
    return logits.masked_fill(out, OUT)


@contextmanager
def among(network: nn.Module, classes: Sequence[int] | None) -> Generator[None]:
    """Let only ``classes`` compete in every forward of the network inside the block; None: all."""
    if classes is None:
        yield
        return

    def hook(_module: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        return competing(logits, classes)

    handle = network.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
