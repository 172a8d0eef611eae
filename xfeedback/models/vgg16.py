"""``vgg16``: torchvision's VGG-16 (Simonyan and Zisserman 2015) with the classifier of Ismail et al. 2021 for BIRD.

The convolutions' names, sizes and initialisation are torchvision's, so its trained weights fit them.
"""

from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Literal, cast

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.models.base import InShape, ModelConfig
from xfeedback.models.blocks import init_kaiming

STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Channels over ``width``, and convolutions, between two poolings."""
CELLS = 7
"""Side of the map that the classifier reads."""


@dataclass(frozen=True, kw_only=True)
class Vgg16Config(ModelConfig):
    """Options of ``vgg16``.

    Attributes:
        width: channels of the first stage; the five have ``width * (1, 2, 4, 8, 8)``.
        hidden: units of the classifier's hidden layers; 4048 as released, torchvision has 4096 and 4096.
        dropout: share of hidden units dropped before each following layer; torchvision has 0.5.
        weights: file with torchvision's weights of its VGG-16 (a state dict, as it downloads it): the convolutions
            start from them, the classifier always from random ones.
    """

    name: Literal["vgg16"] = "vgg16"
    width: int = 64
    hidden: tuple[int, ...] = (4048, 2048)
    dropout: float = 0.4
    weights: str | None = None

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", self.width, "a positive integer")
        require(all(units >= 1 for units in self.hidden), "hidden", self.hidden, "a list of positive integers")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")


class Vgg16(nn.Module):
    """Thirteen 3x3 convolutions with ReLU, five poolings, adaptive pooling to 7x7, dense layers with ReLU and dropout.

    The explained map is that of the last ReLU, 14x14 for images of 224x224. Each ReLU is a module used once and not in
    place, so that DeepLIFT and LRP can hook it. The dense layers read each cell, so Grad-CAM has no closed form here.
    """

    explained_layer = "features.29"
    gap_head: str | None = None

    def __init__(self, config: Vgg16Config, in_channels: int, n_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for factor, convolutions in STAGES:
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, factor * config.width, 3, padding=1), nn.ReLU()]
                channels = factor * config.width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(CELLS)
        dense: list[nn.Module] = []
        units = channels * CELLS**2
        for hidden in config.hidden:
            dense += [nn.Linear(units, hidden), nn.ReLU(), nn.Dropout(config.dropout)]
            units = hidden
        self.classifier = nn.Sequential(*dense, nn.Linear(units, n_classes))
        init_kaiming(self)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` of at least 32x32 to logits ``(B, N)``."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def build(config: Vgg16Config, in_shape: InShape, n_classes: int) -> Vgg16:
    """Build the network; 125,100,052 parameters for 3 channels and 260 classes, for images of any size.

    Raises:
        UserError: the file of the weights can't be read, or its convolutions are not those of this network.
    """
    network = Vgg16(config, in_shape[0], n_classes)
    if config.weights is not None:
        _load(network.features, config.weights)
    return network


def _load(features: nn.Sequential, path: str) -> None:
    """Fill the convolutions from the entries ``features.*`` of a file."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"cannot read model.weights={path}: {reason}") from error
    wanted = features.state_dict()
    stored = {name: found.get(f"features.{name}") for name in wanted} if isinstance(found, dict) else {}
    for name, values in wanted.items():
        if not isinstance(value := stored.get(name), Tensor) or value.shape != values.shape:
            shape = "x".join(str(size) for size in values.shape)
            raise UserError(
                f"model.weights={path} has no features.{name} of {shape}: give torchvision's weights of vgg16, for "
                "images of three channels and model.width=64"
            )
    features.load_state_dict(cast("dict[str, Tensor]", stored))
