"""DeepLIFT and DeepSHAP by captum, refused where captum's rules can't see what the network does.

captum replaces the gradient of nonlinear *modules* that run once. A ReLU or a pooling that is called as a function, or
runs twice, keeps its plain gradient, and the answer is then (x - baseline) * gradient under another name.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RULED = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Sigmoid, nn.Tanh, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
"""Nonlinear layers that captum has a rule for."""
_FUNCTIONS = ("relu", "relu_", "leaky_relu", "elu", "gelu", "max_pool1d", "max_pool2d", "max_pool3d")
COMPLETE = 1e-3
"""Largest gap, relative to the rise of the logits, at which the parts still count as adding up."""


class ExplainerInvalid(Exception):  # noqa: N818 - a verdict on an explainer, and no mistake of the user's
    """An explainer would give wrong numbers on this network; the message says why."""


def deeplift(network: nn.Module, x: Tensor, target: Tensor, baseline: Tensor) -> Tensor:
    """Return each entry's part in the rise of the logit from a baseline: rescale rule (Shrikumar et al. 2017).

    Args:
        network: in evaluation mode, see :func:`refuse_unhooked`; maps inputs ``(B, ...)`` to logits ``(B, N)``.
        x: ``(B, ...)``.
        target: explained class ``(B,)``.
        baseline: broadcasts to ``x``.

    Returns:
        Signed, same shape as ``x``.
    """
    from captum.attr import DeepLift

    with warnings.catch_warnings(), torch.enable_grad():
        warnings.filterwarnings("ignore", message=".*forward, backward hooks.*")
        warnings.filterwarnings("ignore", message=".*required_grads.*")
        found = DeepLift(network).attribute(x.detach(), baseline.expand_as(x).contiguous(), target)
    return found.detach()


def deep_shap(network: nn.Module, x: Tensor, target: Tensor, baselines: Tensor) -> Tensor:
    """Return the mean of DeepLIFT over baselines ``(S, B, ...)`` (Lundberg and Lee 2017)."""
    return torch.stack([deeplift(network, x, target, baseline) for baseline in baselines]).mean(0)


def refuse_unhooked(network: nn.Module, x: Tensor) -> None:
    """Refuse a network with a nonlinearity that captum would miss.

    Args:
        network: in evaluation mode.
        x: a few inputs ``(B, ...)``.

    Raises:
        ExplainerInvalid: it calls ReLU or pooling as a function, runs such a layer twice, or changes values in place.
    """
    calls, functions = _calls(network, x)
    reused = sorted(name for name, count in calls.items() if count > 1)
    in_place = [name for name in calls if getattr(network.get_submodule(name), "inplace", False)]
    name = type(network).__name__
    if reused:
        raise ExplainerInvalid(f"DeepLIFT can't explain {name}: layer '{reused[0]}' runs {calls[reused[0]]} times")
    if functions:
        what = ", ".join(sorted(set(functions)))
        raise ExplainerInvalid(f"DeepLIFT can't explain {name}: it calls {what} as a function, not as a layer")
    if in_place:
        raise ExplainerInvalid(f"DeepLIFT can't explain {name}: layer '{in_place[0]}' works in place")


def gap(network: nn.Module, x: Tensor, target: Tensor, baseline: Tensor, parts: Tensor) -> float:
    """Return how far the parts are from adding up: sum_b |sum parts - rise| / sum_b |rise| of the logit.

    Args:
        network: as in :func:`deeplift`.
        x: as in :func:`deeplift`.
        target: as in :func:`deeplift`.
        baseline: as in :func:`deeplift`.
        parts: what it returned.
    """
    with torch.no_grad():
        logits = network(x) - network(baseline.expand_as(x).contiguous())
    rise = logits.gather(1, target[:, None])[:, 0].double()
    missing = (parts.flatten(1).double().sum(1) - rise).abs().sum()
    return float(missing / rise.abs().sum().clamp_min(1e-12))


def _calls(network: nn.Module, x: Tensor) -> tuple[Counter[str], list[str]]:
    """How often each layer with a rule runs, and the nonlinear functions that are called outside of them."""
    calls: Counter[str] = Counter()
    inside: list[str] = []

    def entered(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[name] += 1
            inside.append(name)

        return hook

    handles = []
    for name, layer in network.named_modules():
        if isinstance(layer, RULED):
            handles.append(layer.register_forward_pre_hook(entered(name)))
            handles.append(layer.register_forward_hook(lambda *_: inside.pop() and None))
    watch = _Watch(inside)
    try:
        with torch.no_grad(), watch:
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return calls, watch.functions


class _Watch(TorchFunctionMode):
    """Notes nonlinear functions that are called while no layer with a rule runs."""

    def __init__(self, inside: list[str]) -> None:
        super().__init__()
        self.inside, self.functions = inside, []

    def __torch_function__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _FUNCTIONS and not self.inside:
            self.functions.append(name)
        return func(*args, **(kwargs or {}))
