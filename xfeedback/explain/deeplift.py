"""DeepLIFT and DeepSHAP: rescale rule on layers, refused where a nonlinearity is no layer of its own.

The rule replaces the derivative of nonlinear *layers* that run once. A ReLU or a pooling that is called as a function
would keep its derivative, and the answer would be (x - baseline) * gradient under another name. captum 0.9 loses the
rule of a pooling beside a nonlinear layer (its parts then miss the rise of the logit), so the rule is ours.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import explained_output

ELEMENTWISE = (nn.ReLU, nn.ELU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Softplus, nn.Sigmoid, nn.Tanh)
POOLS = {nn.MaxPool1d: F.max_pool1d, nn.MaxPool2d: F.max_pool2d, nn.MaxPool3d: F.max_pool3d}
ADAPTIVE = {nn.AdaptiveMaxPool1d: F.adaptive_max_pool1d, nn.AdaptiveMaxPool2d: F.adaptive_max_pool2d}
RULED = (*ELEMENTWISE, *POOLS, *ADAPTIVE)
"""Nonlinear layers that have a rule."""
_FUNCTIONS = (
    "relu",
    "relu_",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
)
COMPLETE = 1e-3
"""Largest gap, relative to the rise of the logits, at which the parts still count as adding up."""
_SMALL = 1e-7
"""Differences below this have the derivative instead of a quotient."""


class ExplainerInvalid(Exception):  # noqa: N818 - a verdict on an explainer, and no mistake of the user's
    """An explainer would give wrong numbers on this network; the message says why."""


def deeplift(network: nn.Module, x: Tensor, target: Tensor, baseline: Tensor) -> Tensor:
    """Return each entry's part in the rise of the logit from a baseline: rescale rule (Shrikumar et al. 2017).

    Args:
        network: in evaluation mode, see :func:`refuse_unruled`; maps inputs ``(B, ...)`` to logits ``(B, N)``.
        x: ``(B, ...)``.
        target: explained class ``(B,)``.
        baseline: broadcasts to ``x``.

    Returns:
        Signed, same shape as ``x``.
    """
    half, start = x.detach().requires_grad_(), baseline.to(x.dtype).expand_as(x)
    handles = [m.register_forward_hook(_ruled) for m in network.modules() if isinstance(m, RULED)]
    try:
        with torch.enable_grad():
            logits = network(torch.cat([half, start]))[: len(x)]
            slopes = gradient(explained_output(logits, target, "logit"), half).detach()
    finally:
        for handle in handles:
            handle.remove()
    return slopes * (x - start)


def _ruled(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """Give a layer's output for inputs and baselines ``(2B, ...)`` the slope of the rule instead of its derivative."""
    x, start = inputs[0].chunk(2)
    y, y_start = output.chunk(2)
    if isinstance(layer, ELEMENTWISE):
        small = (x - start).abs() < _SMALL
        slope = _quotient(y - y_start, x - start)
        return torch.cat([torch.where(small, y, _sloped(y, (slope, x))), y_start])
    places, places_start = _largest(layer, x), _largest(layer, start)
    top = torch.maximum(y, y_start)
    own, other = (_at(x, p).view_as(y) for p in (places, places_start))
    first = _quotient(top - y_start, own - _at(start, places).view_as(y))
    second = _quotient(y - top, other - _at(start, places_start).view_as(y))
    return torch.cat([_sloped(y, (first, own), (second, other)), y_start])


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b.abs() < _SMALL, 0.0, a / torch.where(b.abs() < _SMALL, 1.0, b)).detach()


def _sloped(value: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """``value``, whose derivative by each tensor is the slope given with it."""
    return value.detach() + sum(slope * (x - x.detach()) for slope, x in terms)


def _largest(layer: nn.Module, x: Tensor) -> Tensor:
    """Places of each window's largest value in the flattened map, ``(B, C, windows)``."""
    for kind, adaptive in ADAPTIVE.items():
        if isinstance(layer, kind):
            return adaptive(x.detach(), layer.output_size, return_indices=True)[1].flatten(2)  # type: ignore[arg-type]
    pool = next(function for kind, function in POOLS.items() if isinstance(layer, kind))
    options = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation", "ceil_mode")}
    return pool(x.detach(), **options, return_indices=True)[1].flatten(2)


def _at(x: Tensor, places: Tensor) -> Tensor:
    return x.flatten(2).gather(2, places)


def deep_shap(network: nn.Module, x: Tensor, target: Tensor, baselines: Tensor) -> Tensor:
    """Return the mean of DeepLIFT over baselines ``(S, B, ...)`` (Lundberg and Lee 2017)."""
    return torch.stack([deeplift(network, x, target, baseline) for baseline in baselines]).mean(0)


def refuse_unruled(network: nn.Module, x: Tensor) -> None:
    """Refuse a network with a nonlinearity that the rule would miss.

    Args:
        network: in evaluation mode.
        x: a few inputs ``(B, ...)``.

    Raises:
        ExplainerInvalid: it calls ReLU or pooling as a function, runs such a layer twice, or changes values in place.
    """
    calls, functions = nonlinear_calls(network, x)
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
        parts: what it returned, of the shape of ``x``.
    """
    with torch.no_grad():
        logits = network(x) - network(baseline.expand_as(x).contiguous())
    rise = logits.gather(1, target[:, None])[:, 0].double()
    missing = (parts.flatten(1).double().sum(1) - rise).abs().sum()
    return float(missing.detach() / rise.abs().sum().clamp_min(1e-12))


def nonlinear_calls(network: nn.Module, x: Tensor) -> tuple[Counter[str], list[str]]:
    """Return how often each nonlinear layer runs, and the nonlinear functions that are called outside of them.

    Args:
        network: in evaluation mode.
        x: a few inputs ``(B, ...)``.
    """
    calls: Counter[str] = Counter()
    inside: list[str] = []

    def entered(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[name] += 1
            inside.append(name)

        return hook

    def left(*_: object) -> None:
        inside.pop()

    handles: list[RemovableHandle] = []
    for name, layer in network.named_modules():
        if isinstance(layer, RULED):
            handles.append(layer.register_forward_pre_hook(entered(name)))
            handles.append(layer.register_forward_hook(left))
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

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _FUNCTIONS and not self.inside:
            self.functions.append(name)
        return func(*args, **(kwargs or {}))
