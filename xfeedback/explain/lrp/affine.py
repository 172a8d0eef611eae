"""Rules of layers with weights: the layer's own output, with another derivative.

Every rule here changes the derivative of ``z = linear(a, w, b)`` so that an ordinary backward pass carries
``G = R / value`` instead of a gradient: at any tensor h, ``R = h * G``. Where a layer keeps its own derivative (sums,
ReLU, pooling, reshaping) nothing has to be done. Equations (8) to (14) of `docs/methods/challenger.md`.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from xfeedback.explain.lrp.options import Rule, Rules

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``linear(a, w, b)``: a convolution or a matrix product with its stride and padding."""


class _Carried(torch.autograd.Function):
    """The value of one tensor with the derivative of another, times a constant."""

    @staticmethod
    def forward(ctx: Any, _surrogate: Tensor, factor: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        ctx.mark_dirty(value)  # the output is this tensor and no view of it, so that layers may work in place
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None, None


def carried(surrogate: Tensor, factor: Tensor, value: Tensor) -> Tensor:
    """Return ``value``, whose derivative is ``factor`` times that of ``surrogate``; all of one shape."""
    return cast(Tensor, _Carried.apply(surrogate, factor.detach(), value.detach()))


def stabilised(z: Tensor, epsilon: float) -> Tensor:
    """Return z + epsilon sign(z) with sign(0) = +1, of the shape of z; equation (8).

    >>> stabilised(torch.tensor([-2.0, 0.0, 2.0]), 0.5)
    tensor([-2.5000,  0.5000,  2.5000])
    """
    return z + torch.copysign(z.new_full((), epsilon), z) if epsilon else z


def quotient(z: Tensor, by: Tensor, epsilon: float = 0.0) -> Tensor:
    """Return z / stabilised(by), and 0 where that is 0: such a unit has no inputs to give relevance to.

    Args:
        z: of any shape.
        by: of the same.
        epsilon: see :func:`stabilised`.

    >>> quotient(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
    tensor([0.5000, 0.0000])
    """
    below = stabilised(by, epsilon)
    if epsilon:
        return z / below
    return torch.where(below == 0, 0.0, z / torch.where(below == 0, 1.0, below))


def propagated(
    linear: Linear, a: Tensor, w: Tensor, b: Tensor | None, rules: Rules, *, rule: Rule, positive: bool
) -> Tensor:
    """Return ``linear(a, w, b)`` with the derivative that makes ``a * G`` its inputs' relevance.

    Args:
        linear: the layer.
        a: its input ``(B, ...)``.
        w: its weights, constants.
        b: its bias, a constant, or None.
        rules: constants of the rules.
        rule: which rule.
        positive: the input is known to hold nothing below 0.
    """
    if rule == "epsilon":
        z = linear(a, w, b)
        return carried(z, quotient(z.detach(), z.detach(), rules.epsilon), z) if rules.epsilon else z
    with torch.no_grad():
        z = linear(a, w, b)
    if rule == "gamma":
        raised = None if b is None else b + rules.gamma * b.clamp_min(0)
        m = linear(a, w + rules.gamma * w.clamp_min(0), raised)
        return carried(m, quotient(z, m.detach(), rules.epsilon), z)
    helping = _signed_part(linear, a, w, positive=positive, helping=True)
    if rule == "zplus":
        return carried(helping, quotient(z, helping.detach(), rules.epsilon), z)
    opposing = _signed_part(linear, a, w, positive=positive, helping=False)
    return _alpha_beta(z, helping, opposing, rules)


def _signed_part(linear: Linear, a: Tensor, w: Tensor, *, positive: bool, helping: bool) -> Tensor:
    """Return the sum over inputs of (a w)^+ or of (a w)^-."""
    above, below = w.clamp_min(0), w.clamp_max(0)
    if not helping:
        above, below = below, above
    part = linear(a if positive else a.clamp_min(0), above, None)
    return part if positive else part + linear(a.clamp_max(0), below, None)


def _alpha_beta(z: Tensor, helping: Tensor, opposing: Tensor, rules: Rules) -> Tensor:
    p, n = helping.detach(), opposing.detach()
    alpha, beta = torch.full_like(z, rules.alpha), torch.full_like(z, 1 - rules.alpha)
    if rules.empty_share == "one_sided":
        alpha, beta = alpha.where(n != 0, 1.0), beta.where(p != 0, 1.0)
    surrogate = helping * (alpha * quotient(z, p, rules.epsilon)) + opposing * (beta * quotient(z, n, rules.epsilon))
    return carried(surrogate, torch.ones_like(z), z)


def propagated_to_input(linear: Linear, a: Tensor, w: Tensor, b: Tensor | None, rules: Rules) -> Tensor:
    """Return ``linear(a, w, b)`` with the derivative that makes G itself, not ``a * G``, the inputs' relevance.

    These rules give relevance to inputs of value 0: ``flat`` shares it equally among the inputs a unit reads (padding
    is none), ``w2`` by the squared weights, ``box`` by how far each contribution is above its least value.

    Args:
        linear: the layer that reads the input.
        a: the input ``(B, ...)``.
        w: its weights, constants.
        b: its bias, a constant, or None.
        rules: which rule, and the bounds of ``box``.
    """
    with torch.no_grad():
        z = linear(a, w, b)
    if rules.first == "box":
        surrogate, whole = _box(linear, a, w, rules)
    else:
        shares = torch.ones_like(w) if rules.first == "flat" else w.square()
        surrogate, whole = linear(a, shares, None), linear(torch.ones_like(a[:1]), shares, None).expand_as(z)
    return carried(surrogate, quotient(z, whole, rules.epsilon if rules.first == "box" else 0.0), z)


def _box(linear: Linear, a: Tensor, w: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
    x, above, below = a.detach(), w.clamp_min(0), w.clamp_max(0)
    low, high = (torch.as_tensor(bound).to(x).expand_as(x) for bound in (rules.low, rules.high))

    def shares(scale: Tensor | float) -> Tensor:
        parts = ((x, w, 1), (low, above, -1), (high, below, -1))
        return torch.stack([sign * linear(scale * part, weight, None) for part, weight, sign in parts]).sum(0)

    return shares(a), shares(1.0).detach()
