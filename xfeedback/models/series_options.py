"""Options that the networks for series share: those of the benchmark of Ismail et al. 2020."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from xfeedback.config import require
from xfeedback.kinds import Kind
from xfeedback.models.base import ModelConfig


@dataclass(frozen=True, kw_only=True)
class SeriesConfig(ModelConfig):
    """Options of a network for series.

    Attributes:
        dropout: share of values dropped, at the places where the network drops.
        output: ``logits``; the released networks end in a ``softmax`` that cross-entropy then takes for logits, so that
            the loss cannot fall below ln(1 + 1/e) = 0.313 with two classes.
    """

    takes: ClassVar[tuple[Kind, ...]] = ("series",)
    dropout: float = 0.1
    output: Literal["logits", "softmax"] = "logits"

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")


def output_layer(config: SeriesConfig) -> nn.Module:
    """Return the layer after the last linear one."""
    return nn.Softmax(dim=1) if config.output == "softmax" else nn.Identity()
