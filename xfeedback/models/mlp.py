"""``mlp``: dense layers on the pixels, as in Ross et al. 2017, "Right for the right reasons", for DecoyMNIST.

It has no map of features, so only input gradients can explain it.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from xfeedback.config import require
from xfeedback.models.base import InShape, ModelConfig


@dataclass(frozen=True, kw_only=True)
class MlpConfig(ModelConfig):
    """Options of ``mlp``.

    Attributes:
        widths: units of the hidden layers.
    """

    name: Literal["mlp"] = "mlp"
    widths: tuple[int, ...] = (50, 30)

    def __post_init__(self) -> None:
        require(all(width >= 1 for width in self.widths), "widths", self.widths, "a list of positive integers")


def build(config: MlpConfig, in_shape: InShape, n_classes: int) -> nn.Module:
    """Build the network; 41,090 parameters at 1x28x28, 10 classes and the default widths."""
    channels, height, width = in_shape
    layers: list[nn.Module] = [nn.Flatten()]
    units = channels * height * width
    for hidden in config.widths:
        layers += [nn.Linear(units, hidden), nn.ReLU()]
        units = hidden
    return nn.Sequential(*layers, nn.Linear(units, n_classes))
