"""Contextual decomposition: split each logit into what a region contributes and the rest (Singh et al. 2019).

The network is traced once into a graph of operations (torch.fx); each operation then maps a pair (b, g) to a pair whose
sum is what the network itself computes: b is the part of the region, g the rest. Letters and equations (2) to (6):
`docs/methods/cdep`.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Graph, Node, Tracer
from torch.fx.node import map_arg

from xfeedback.errors import UserError
from xfeedback.models.torch_bases import BatchNorm, DropoutNd


class Pair(NamedTuple):
    """A tensor in two parts of the same shape: ``b`` of the region and ``g`` of the rest."""

    b: Tensor
    g: Tensor

    @property
    def total(self) -> Tensor:
        """What the network computes."""
        return self.b + self.g


def traced(network: nn.Module, method: str) -> Graph:
    """Return the operations of a network.

    Args:
        network: whose forward pass does not depend on the values of its input.
        method: who asks, for the message.

    Raises:
        UserError: it can't be traced.
    """
    try:
        return Tracer().trace(network)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"method={method} can't follow the forward pass of {type(network).__name__}: {reason}. Choose a plain CNN, "
            "e.g. model=gapnet, or another method."
        ) from error


def decompose(network: nn.Module, graph: Graph, x: Pair, method: str) -> Pair:
    """Run a traced network on the two parts of its input.

    Args:
        network: in any mode; BatchNorm in training mode uses the statistics of the whole and moves no running ones.
        graph: from :func:`traced`.
        x: parts of the input, ``(B, C, H, W)`` each.
        method: who asks, for the message.

    Returns:
        Parts of the logits ``(B, N)``, whose sum is ``network(x.b + x.g)``.

    Raises:
        UserError: an operation has no rule; the message names it.
    """
    values: dict[Node, Any] = {}
    for node in graph.nodes:
        arguments, options = map_arg((node.args, node.kwargs), values.__getitem__)
        if node.op == "output":
            return cast(Pair, arguments[0])
        if node.op == "placeholder":
            values[node] = x
        elif node.op == "get_attr":
            values[node] = operator.attrgetter(str(node.target))(network)
        elif any(isinstance(values[source], Pair) for source in node.all_input_nodes):
            rule = _rule(network, node, arguments)
            if rule is None:
                raise UserError(_refusal(network, node, method))
            result, before = rule(*arguments, **options), values[node.all_input_nodes[0]]
            if _in_place(network, node):
                values |= {other: result for other, value in values.items() if value is before}
            values[node] = result
        else:  # sizes and the like
            values[node] = _called(node, *arguments, **options)
    raise AssertionError("a traced network has an output")


def affine(linear: Callable[[Tensor], Tensor], bias: Tensor | None, x: Pair) -> Pair:
    """Split an affine map: the linear part of each, and the bias in proportion to their magnitudes; equation (2).

    Where both parts are 0 the bias belongs to the rest.

    Args:
        linear: the map without its bias.
        bias: broadcasts to its output; or None.
        x: the parts, of one shape ``(B, ...)``.
    """
    b, g = linear(x.b), linear(x.g)
    if bias is None:
        return Pair(b, g)
    size = b.abs() + g.abs()
    share = b.abs() / torch.where(size > 0, size, 1.0)
    return Pair(b + share * bias, g + (1 - share) * bias)


def rectified(x: Pair) -> Pair:
    """Return (relu(b), relu(b + g) - relu(b)); equation (3)."""
    b = x.b.relu()
    return Pair(b, x.total.relu() - b)


def max_pooled(x: Pair, *args: Any, **options: Any) -> Pair:
    """Take both parts from the cells where their sum is largest; equation (4)."""
    options = {key: value for key, value in options.items() if key != "return_indices"}
    pooled, where = F.max_pool2d(x.total, *args, **options, return_indices=True)
    parts = (part.flatten(2).gather(2, where.flatten(2)).view(pooled.shape) for part in x)
    return Pair(*parts)


def _convolved(layer: nn.Conv2d, x: Pair) -> Pair:
    bias = None if layer.bias is None else layer.bias[:, None, None]
    return affine(lambda part: layer._conv_forward(part, layer.weight, None), bias, x)  # pyright: ignore[reportPrivateUsage]


def _dense(layer: nn.Linear, x: Pair) -> Pair:
    return affine(lambda part: F.linear(part, layer.weight), layer.bias, x)


def _normalised(layer: BatchNorm, x: Pair) -> Pair:
    """Normalisation is affine once the statistics of the whole are known; equation (5)."""
    mean, var = layer.running_mean, layer.running_var
    if layer.training or mean is None or var is None:
        total = x.total
        axes = [axis for axis in range(total.ndim) if axis != 1]
        mean, var = total.mean(axes), total.var(axes, correction=0)
    scale = (var + layer.eps).rsqrt()
    weight, shift = (cast("Tensor | None", parameter) for parameter in (layer.weight, layer.bias))
    if weight is not None:
        scale = scale * weight
    bias = -mean * scale if shift is None else shift - mean * scale
    scale, bias = (t.view(1, -1, *[1] * (x.b.ndim - 2)) for t in (scale, bias))
    return affine(lambda part: part * scale, bias, x)


def _dropped(layer: DropoutNd, x: Pair) -> Pair:
    kept = layer(torch.ones_like(x.b))
    return Pair(x.b * kept, x.g * kept)


def _max_pool_layer(layer: nn.MaxPool2d, x: Pair) -> Pair:
    return max_pooled(x, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)


def _relu_layer(_layer: nn.ReLU, x: Pair) -> Pair:
    return rectified(x)


def _linear_layer(layer: nn.Module, x: Pair) -> Pair:
    return Pair(layer(x.b), layer(x.g))


LAYERS: Mapping[type[nn.Module], Callable[..., Pair]] = {
    nn.Conv2d: _convolved,
    nn.Linear: _dense,
    BatchNorm: _normalised,
    nn.ReLU: _relu_layer,
    nn.MaxPool2d: _max_pool_layer,
    DropoutNd: _dropped,
    nn.AvgPool2d: _linear_layer,
    nn.AdaptiveAvgPool2d: _linear_layer,
    nn.Flatten: _linear_layer,
    nn.ZeroPad2d: _linear_layer,
    nn.Identity: _linear_layer,
}
"""The rule of each layer, by the class it is or inherits from."""

LINEAR = (
    "flatten",
    "mean",
    "view",
    "reshape",
    "squeeze",
    "contiguous",
    "getitem",
    "pad",
    "avg_pool2d",
    "adaptive_avg_pool2d",
)

FACTS = ("shape", "ndim", "dtype", "device")


def _rule(network: nn.Module, node: Node, arguments: Sequence[Any]) -> Callable[..., Any] | None:
    """Return the rule of an operation on one or more pairs, or None when there is none; equation (6) for sums."""
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        found = next((rule for kind, rule in LAYERS.items() if isinstance(layer, kind)), None)
        return None if found is None else partial(found, layer)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    rules: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(("relu", "relu_"), _relu),
        **dict.fromkeys(LINEAR, partial(_part_by_part, node)),
        "cat": _joined,
        "max_pool2d": max_pooled,
        "size": _size,
    }
    if name == "getattr" and arguments[1] in FACTS:
        return _fact
    if name in ("add", "iadd", "add_") and all(isinstance(a, Pair) for a in arguments):
        return _sum
    if name == "pad" and node.kwargs.get("value"):  # padding with anything but zeros is not linear
        return None
    return rules.get(name)


def _in_place(network: nn.Module, node: Node) -> bool:
    """Whether what an operation gives stands in its input from then on, for whoever reads that later."""
    if node.op == "call_module":
        return bool(getattr(network.get_submodule(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return bool(node.kwargs.get("inplace")) or name in ("relu_", "add_", "iadd")


def _relu(x: Pair, **_: Any) -> Pair:
    return rectified(x)


def _part_by_part(node: Node, x: Pair, *rest: Any, **more: Any) -> Pair:
    return Pair(*(_called(node, part, *rest, **more) for part in x))


def _joined(pairs: Sequence[Pair], *dim: int, **more: int) -> Pair:
    return Pair(*(torch.cat(parts, *dim, **more) for parts in zip(*pairs, strict=True)))


def _size(x: Pair, *dim: int) -> int | torch.Size:
    return x.b.size(*dim)


def _fact(x: Pair, fact: str) -> Any:
    return getattr(x.b, fact)


def _sum(x: Pair, y: Pair) -> Pair:
    return Pair(x.b + y.b, x.g + y.g)


def _called(node: Node, *arguments: Any, **options: Any) -> Any:
    name = "reshape" if node.target == "view" else str(node.target)  # parts may lie in memory as the whole does not
    function = node.target if callable(node.target) else getattr(torch.Tensor, name)
    return function(*arguments, **options)


def _refusal(network: nn.Module, node: Node, method: str) -> str:
    inside = list(node.meta.get("nn_module_stack") or {})
    place = f"layer '{inside[-1]}' in " if inside else ""
    what = f"operation '{getattr(node.target, '__name__', node.target)}' of {place}"
    if node.op == "call_module":
        what = f"layer '{node.target}' ({type(network.get_submodule(str(node.target))).__name__}) of "
    return (
        f"method={method} has no rule for {what}{type(network).__name__}; it knows convolutions, linear layers, "
        "BatchNorm, ReLU, pooling, dropout and sums. Choose another model, e.g. model=gapnet, or another method."
    )
