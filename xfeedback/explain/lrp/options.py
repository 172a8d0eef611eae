"""Which rule propagates relevance through which kind of layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from xfeedback.config import require

Rule = Literal["epsilon", "gamma", "zplus", "alpha_beta"]
FirstRule = Literal["flat", "w2", "box"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of layer-wise relevance propagation; equations (8) to (14) of `docs/methods/challenger.md`.

    Attributes:
        conv: rule of convolutions.
        dense: rule of linear layers.
        first: rule of the layers that read the input itself, when the input is what is explained: ``flat``, ``w2``, or
            ``box`` (z^B); None: as any other layer. These give relevance to inputs of value 0 too.
        epsilon: added to denominators, away from 0; 0 divides by what is there.
        gamma: how far ``gamma`` favours positive weights.
        alpha: weight of the positive share in ``alpha_beta``; the negative one has ``alpha - 1``.
        empty_share: when one of the two shares of ``alpha_beta`` has no members: ``one_sided`` gives the other one
            weight 1, ``zero`` keeps the formula (and loses relevance).
        batch_norm: ``affine``: a layer of its own, with ``epsilon``; ``fold``: part of the layer before it, where there
            is one; ``pass``: relevance goes through unchanged.
        low: least value of the input for ``box``, broadcast to its shape.
        high: largest value of the input for ``box``, broadcast to its shape.
    """

    conv: Rule = "epsilon"
    dense: Rule = "epsilon"
    first: FirstRule | None = None
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    empty_share: Literal["one_sided", "zero"] = "one_sided"
    batch_norm: Literal["affine", "fold", "pass"] = "affine"
    low: float | Tensor | None = None
    high: float | Tensor | None = None

    def __post_init__(self) -> None:
        require(self.epsilon >= 0, "epsilon", self.epsilon, "0 or more")
        require(self.gamma >= 0, "gamma", self.gamma, "0 or more")
        require(self.alpha >= 1, "alpha", self.alpha, "1 or more")
        bounds = (self.low is not None, self.high is not None)
        require(bounds == (self.first == "box",) * 2, "low, high", bounds, "given exactly with first=box")


COMPOSITES: Mapping[str, Rules] = {
    "epsilon": Rules(),
    "zplus": Rules(conv="zplus", dense="zplus"),
    "gamma": Rules(conv="gamma", dense="gamma"),
    "alpha_beta": Rules(conv="alpha_beta", dense="alpha_beta"),
    "composite": Rules(conv="gamma", dense="epsilon", first="flat"),
    "epsilon_plus": Rules(conv="zplus", dense="epsilon"),
    "epsilon_plus_flat": Rules(conv="zplus", dense="epsilon", first="flat"),
}
"""Rules by name: one rule for all layers, or one for each kind of layer."""


class UnknownOperation(Exception):  # noqa: N818 - not the last word: the caller adds the layer's name
    """An operation that carries relevance has no rule."""
