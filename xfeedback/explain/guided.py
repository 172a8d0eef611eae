"""Guided backprop: the gradient, without what is negative on its way back through a ReLU; `docs/explainers`, (6)."""

import torch
from torch import Tensor, nn

from xfeedback.explain.deeplift import ExplainerInvalid, nonlinear_calls
from xfeedback.explain.sampled import input_gradient


def guided_backprop(network: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of the logit, in which each ReLU passes back what is positive alone.

    Springenberg et al. 2015: R = 1[f > 0] 1[R' > 0] R', f the input of a ReLU, R' and R the gradients behind and
    before it. Layers may run more than once and work in place.

    Args:
        network: in evaluation mode, see :func:`refuse_unguided`; maps inputs ``(B, ...)`` to logits ``(B, N)``.
        x: ``(B, ...)``.
        target: explained class ``(B,)``.

    Returns:
        Signed, same shape as ``x``, detached.
    """
    handles = [m.register_forward_hook(_guided) for m in network.modules() if isinstance(m, nn.ReLU)]
    try:
        return input_gradient(network, x, target)
    finally:
        for handle in handles:
            handle.remove()


def _guided(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
    if output.requires_grad:
        output.register_hook(torch.relu)


def refuse_unguided(network: nn.Module, x: Tensor) -> None:
    """Refuse a network whose ReLUs the rule would miss, or that has none.

    Args:
        network: in evaluation mode.
        x: a few inputs ``(B, ...)``.

    Raises:
        ExplainerInvalid: it calls ReLU as a function, or runs no ReLU, where the answer would be the gradient.
    """
    calls, functions = nonlinear_calls(network, x)
    name = type(network).__name__
    if {"relu", "relu_"}.intersection(functions):
        raise ExplainerInvalid(f"guided backprop can't explain {name}: it calls relu as a function, not as a layer")
    if not any(isinstance(network.get_submodule(layer), nn.ReLU) for layer in calls):
        raise ExplainerInvalid(f"guided backprop can't explain {name}: it has no ReLU, so this would be the gradient")
