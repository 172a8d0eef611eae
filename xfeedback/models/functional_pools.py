"""Find where a network pools by a function call instead of a module."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from xfeedback.models.lap import LAP
from xfeedback.models.running import mode
from xfeedback.models.torch_bases import NormBase

_WINDOWED = ("max_pool2d", "max_pool2d_with_indices", "avg_pool2d")
_GLOBAL = ("mean", "_adaptive_avg_pool2d", "adaptive_max_pool2d")
_MODULES = (
    "MaxPool2d",
    "AvgPool2d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "FastAdaptiveAvgPool",
    "FastAdaptiveMaxPool",
)


@dataclass(frozen=True, kw_only=True)
class PoolCall:
    """A pooling operation that no pooling module made.

    Attributes:
        name: of the operation.
        module: dotted name of the module whose forward called it.
        strides: it makes a smaller map of windows; false: it pools the whole map.
    """

    name: str
    module: str
    strides: bool


class _Calls(TorchDispatchMode):
    def __init__(self, running: list[tuple[str, nn.Module]]) -> None:
        super().__init__()
        self.running = running
        self.found: list[PoolCall] = []

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func._overloadpacket.__name__
        module, kind = (self.running[-1][0], self.running[-1][1]) if self.running else ("", None)
        inside = any(isinstance(m, LAP) or type(m).__name__ in _MODULES for _, m in self.running)
        if not inside and not isinstance(kind, NormBase):
            if name in _WINDOWED and max(args[2] if len(args) > 2 and args[2] else args[1]) > 1:
                self.found.append(PoolCall(name=name, module=module, strides=True))
            elif name in _GLOBAL and _is_global(name, args):
                self.found.append(PoolCall(name=name, module=module, strides=False))
        return func(*args, **(kwargs or {}))


def _is_global(name: str, args: Sequence[Any]) -> bool:
    x = args[0]
    if x.ndim != 4 or x.shape[2] * x.shape[3] == 1:
        return False
    if name != "mean":
        return tuple(args[1]) == (1, 1)
    return len(args) > 1 and sorted(d % 4 for d in args[1]) == [2, 3]


def functional_pools(network: nn.Module, example: Tensor) -> list[PoolCall]:
    """Return the pooling operations of one forward pass in evaluation mode that no pooling module made.

    Args:
        network: stays as it is.
        example: one image ``(1, C, H, W)``.
    """
    running: list[tuple[str, nn.Module]] = []

    def entering(name: str) -> Callable[[nn.Module, object], None]:
        def hook(module: nn.Module, _inputs: object) -> None:
            running.append((name, module))

        return hook

    def leaving(*_: object) -> None:
        running.pop()

    handles = [m.register_forward_pre_hook(entering(name)) for name, m in network.named_modules()]
    handles += [m.register_forward_hook(leaving) for m in network.modules()]
    try:
        with mode(network, training=False), torch.no_grad(), _Calls(running) as calls:
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return calls.found
