"""What every network's options have in common."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xfeedback.kinds import Kind

InShape = tuple[int, ...]
"""Shape of one input: ``(C, H, W)``, ``(T, F)`` or ``(L,)``."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Options of a network; each family adds its own.

    Attributes:
        takes: the kinds of inputs that the network takes.
        name: the network's name in the registry, e.g. ``"gapnet"``.
    """

    takes: ClassVar[tuple[Kind, ...]] = ("image",)
    name: str


def example(in_shape: InShape, kind: Kind) -> Tensor:
    """Return one input ``(1, ...)``: an empty image or series, or a text of the token 1, the first after padding."""
    return torch.ones(1, *in_shape, dtype=torch.long) if kind == "text" else torch.zeros(1, *in_shape)
