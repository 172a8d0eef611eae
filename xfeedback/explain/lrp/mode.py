"""Run a network so that an ordinary backward pass carries relevance: a rule for each operation it calls.

Inside :class:`Relevance` every torch operation is looked up here by name, whether a module or a function called it. As
explained in :mod:`xfeedback.explain.lrp.affine`, operations that are linear in their inputs or homogeneous (ReLU, max
pooling, sums, reshaping) keep their own derivative: that is what makes shares proportional to contributions.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xfeedback.explain.lrp import recurrent, sequences
from xfeedback.explain.lrp.affine import carried, propagated, propagated_to_input, quotient
from xfeedback.explain.lrp.options import Rules, UnknownOperation

SHAPING = (
    *("view", "reshape", "flatten", "unflatten", "transpose", "swapaxes", "permute", "movedim", "squeeze", "unsqueeze"),
    *("contiguous", "clone", "expand", "expand_as", "view_as", "repeat", "__getitem__", "chunk", "split", "unbind"),
    *("narrow", "select", "cat", "concat", "stack", "to", "type", "float", "double", "__get__", "dropout", "pad"),
    *("dropout1d", "dropout2d", "dropout3d", "feature_dropout", "channel_shuffle", "pixel_shuffle", "t", "type_as"),
    *("index_select", "gather", "flip", "roll", "unfold", "detach", "requires_grad_"),
)
"""Move values about, and no more."""

HOMOGENEOUS = (
    *("relu", "relu_", "leaky_relu", "prelu", "add", "add_", "__add__", "__radd__", "__iadd__", "sub", "__sub__"),
    *("sum", "mean", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "amax"),
    *("adaptive_avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"),
    *("max", "maximum", "abs", "interpolate", "upsample", "neg", "__neg__", "where", "cumsum"),
    *("softmax", "log_softmax", "masked_fill", "masked_fill_", "rsub", "__rsub__"),
)
"""Keep their own derivative; softmax does by definition (gradient times input)."""

RATIO = ("tanh", "tanh_", "gelu", "silu", "silu_", "mish", "elu", "elu_", "celu", "selu", "hardswish", "relu6")
"""Pass relevance through unchanged; all are 0 at 0."""

GATES = ("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_")
"""Receive no relevance."""

PRODUCTS = ("mul", "__mul__", "__rmul__", "mul_", "__imul__", "matmul", "__matmul__", "bmm", "einsum", "baddbmm")
"""Of two signals: half of the relevance each; of a signal and a constant: linear."""

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")

KEEPS_SIGN = {
    *(*SHAPING, "max_pool1d", "max_pool2d", "max_pool3d", "relu", "relu_", "mean", "sum"),
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
}
MAKES_POSITIVE = {"relu", "relu_", "sigmoid", "softmax", "relu6"}


class Relevance(TorchFunctionMode):
    """Inside, the derivative of a network's outputs at a tensor h is such that ``h * derivative`` is its relevance.

    Args:
        rules: of the layers with weights.
        explains_input: the leaf of the graph is the input; with ``rules.first`` its relevance is the derivative itself.
    """

    def __init__(self, rules: Rules, *, explains_input: bool = True) -> None:
        super().__init__()
        self.rules = rules
        self._from_leaf = explains_input and rules.first is not None
        self._raw: dict[int, Tensor] = {}
        self._positive: dict[int, Tensor] = {}
        self._folding: dict[int, tuple[Tensor, int]] = {}
        self._sources: dict[int, Callable[[Tensor, Tensor], Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``func``, with the derivative of its rule."""
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        tensors = _tensors([*args, *kwargs.values()])
        raw = self._from_leaf and any(self._is_raw(t) for t in tensors)
        positive = bool(tensors) and all(id(t) in self._positive for t in tensors)
        out = self._rule(name, func)(*args, **kwargs)
        signals = [t for t in _tensors([out]) if t.requires_grad]
        if signals and raw and not self._reads_input(name):
            if name not in SHAPING:
                raise UnknownOperation(f"{name} reads the input before any layer with weights")
            self._raw |= {id(t): t for t in signals}
        if name in MAKES_POSITIVE or (positive and name in KEEPS_SIGN):
            self._positive |= {id(t): t for t in signals}
        else:
            for t in signals:  # one that was changed in place keeps its identity
                self._positive.pop(id(t), None)
        return out

    def _is_raw(self, t: Tensor) -> bool:
        """Whether it is the input, perhaps reshaped."""
        return id(t) in self._raw or (t.is_leaf and t.requires_grad)

    def _reads_input(self, name: str) -> bool:
        return name in CONVOLUTIONS or name == "linear"

    def _rule(self, name: str, func: Callable[..., Any]) -> Callable[..., Any]:
        if name in SHAPING or name in HOMOGENEOUS:
            return func
        if name in RATIO:
            return functools.partial(_ratio, func)
        if name in PRODUCTS:
            return functools.partial(_product, func)
        if name in GATES:
            return lambda *args, **kwargs: func(*args, **kwargs).detach()
        if name in CONVOLUTIONS:
            return functools.partial(self._convolved, func)
        return self._special(name, func) or functools.partial(_unknown, name, func)

    def _special(self, name: str, func: Callable[..., Any]) -> Callable[..., Any] | None:
        rules: Mapping[str, Callable[..., Any]] = {
            "linear": self._dense,
            **dict.fromkeys(("div", "div_", "__truediv__", "__itruediv__"), functools.partial(_divided, func)),
            "batch_norm": self._batch_norm,
            "layer_norm": sequences.layer_norm,
            "group_norm": sequences.group_norm,
            "rms_norm": sequences.rms_norm,
            "scaled_dot_product_attention": sequences.attention,
            "multi_head_attention_forward": functools.partial(sequences.multi_head, self._dense),
            "lstm": functools.partial(recurrent.lstm, self._dense),
            "gru": functools.partial(recurrent.gru, self._dense),
        }
        return rules.get(name)

    def _dense(self, a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return self._affine(F.linear, a, weight, bias, conv=False)

    def _convolved(
        self,
        func: Callable[..., Tensor],
        input: Tensor,  # noqa: A002 - torch's name
        weight: Tensor,
        bias: Tensor | None = None,
        *rest: Any,
        **more: Any,
    ) -> Tensor:
        return self._affine(lambda a, w, b: func(a, w, b, *rest, **more), input, weight, bias, conv=True)

    def _affine(
        self,
        linear: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        a: Tensor,
        w: Tensor,
        b: Tensor | None,
        *,
        conv: bool,
    ) -> Tensor:
        if not a.requires_grad:
            return linear(a, w, b)
        if w.requires_grad:
            raise UnknownOperation("weights that depend on the input")
        rule = self.rules.conv if conv else self.rules.dense
        first, positive = self._from_leaf and self._is_raw(a), id(a) in self._positive

        def run(weight: Tensor, bias: Tensor | None) -> Tensor:
            if first:
                return propagated_to_input(linear, a, weight, bias, self.rules)
            return propagated(linear, a, weight, bias, self.rules, rule=rule, positive=positive)

        out = run(w, b)
        by_unit = conv or out.ndim == 2  # of a linear layer on sequences BatchNorm's axis 1 is the position
        if self.rules.batch_norm == "fold" and by_unit:
            self._folding[id(out)] = out, out._version
            self._sources[id(out)] = lambda scale, shift: run(
                w * scale.view(-1, *[1] * (w.ndim - 1)), shift if b is None else b * scale + shift
            )
        return out

    def _batch_norm(  # noqa: PLR0917 - torch's order
        self,
        input: Tensor,  # noqa: A002 - torch's name
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        del momentum
        a = input
        if training or running_mean is None or running_var is None:
            raise UnknownOperation("batch_norm with the statistics of the batch")
        scale = (running_var + eps).rsqrt() * (1.0 if weight is None else weight)
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
        if self._comes_as_it_left(a):
            return self._sources[id(a)](scale, shift)
        scale, shift = (t.view(1, -1, *[1] * (a.ndim - 2)) for t in (scale, shift))
        z = a * scale + shift
        if self.rules.batch_norm == "pass":
            return carried(a, quotient(z.detach(), a.detach(), self.rules.epsilon or 1e-12), z)
        if self.rules.epsilon == 0 or not a.requires_grad:
            return z
        return carried(z, quotient(z.detach(), z.detach(), self.rules.epsilon), z)

    def _comes_as_it_left(self, a: Tensor) -> bool:
        """Whether a layer with weights gave this tensor, and nothing was added to it in place since."""
        _, version = self._folding.get(id(a), (a, -1))
        return a._version == version


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _ratio(func: Callable[..., Tensor], a: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        z = func(a.clone(), *args, **kwargs)
    return carried(a, quotient(z, a.detach()), z) if a.requires_grad else z


def _product(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    out = func(*args, **kwargs)
    if sum(t.requires_grad for t in _tensors([*args, *kwargs.values()])) > 1:
        return carried(out, torch.full_like(out, 0.5), out)
    return out


def _divided(func: Callable[..., Tensor], a: Tensor, by: Tensor | float, **kwargs: Any) -> Tensor:
    if isinstance(by, Tensor) and by.requires_grad:
        raise UnknownOperation("division by a signal")
    return func(a, by, **kwargs)


def _unknown(name: str, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    if any(t.requires_grad for t in _tensors([out])):
        raise UnknownOperation(name)
    return out
