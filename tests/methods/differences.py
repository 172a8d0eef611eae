"""Finite differences, the oracle of second-order gradients."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

STEP = 1e-6


def assert_gradients_match_finite_differences(
    network: nn.Module, loss: Callable[[], Tensor], *, without: tuple[str, ...] = (), entries: int = 4
) -> None:
    """Compare in the largest and a few other entries of every tensor; those named in ``without`` get no gradient."""
    names = [name for name, _ in network.named_parameters()]
    weights = [p for _, p in network.named_parameters()]
    found = torch.autograd.grad(loss(), weights, allow_unused=True)
    numbers = torch.Generator().manual_seed(0)
    for name, weight, grad in zip(names, weights, found, strict=True):
        if name in without:
            assert grad is None or not grad.any(), name
            continue
        assert grad is not None, f"{name} gets no gradient"
        assert grad.abs().max() > 0, name
        largest = float(grad.abs().max())
        some = torch.randperm(grad.numel(), generator=numbers)[: entries - 1].tolist()
        for entry in {int(grad.abs().argmax()), *some}:
            slope = _slope(weight, entry, loss)
            assert abs(slope - float(grad.flatten()[entry])) <= 1e-6 * largest, (name, entry)


def _slope(weight: Tensor, entry: int, loss: Callable[[], Tensor]) -> float:
    values = []
    for side in (STEP, -STEP):
        with torch.no_grad():
            weight.view(-1)[entry] += side
        values.append(float(loss().detach()))
        with torch.no_grad():
            weight.view(-1)[entry] -= side
    return (values[0] - values[1]) / (2 * STEP)
