"""``gapnet`` and ``gapnet_bn``: four convolutions, global average pooling and one linear layer.

The smallest networks whose Grad-CAM has a closed form, for 8x8 maps at 32 pixels and 7x7 maps at 28 pixels.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.models.base import InShape, ModelConfig


@dataclass(frozen=True, kw_only=True)
class GapNetConfig(ModelConfig):
    """Options of ``gapnet``, which has no BatchNorm.

    Attributes:
        width: channels of the first convolution; the four have ``width * (1, 2, 2, 4)``.
        init: ``he``: convolutions from N(0, 2 / fan-in), zero biases (He et al. 2015); ``torch``: PyTorch's default.
        dropout: share of the pooled features dropped before the last layer.
    """

    name: Literal["gapnet"] = "gapnet"
    width: int = 16
    init: Literal["he", "torch"] = "he"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", self.width, "a positive integer")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class GapNetBNConfig(ModelConfig):
    """Options of ``gapnet_bn``: convolutions without bias, BatchNorm before each ReLU.

    Attributes:
        width: channels of the first convolution; the four have ``width * (1, 2, 4, 4)``.
        dropout: share of the pooled features dropped before the last layer.
    """

    name: Literal["gapnet_bn"] = "gapnet_bn"
    width: int = 24
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", self.width, "a positive integer")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")


class GapNet(nn.Module):
    """Four 3x3 convolutions, 2x2 max-pooling after the first two, global average pooling, linear layer.

    Args:
        in_channels: channels of the images.
        n_classes: number of logits.
        widths: channels of the four convolutions.
        batch_norm: BatchNorm before each ReLU, and convolutions without bias.
        dropout: share of the pooled features dropped before the last layer; 0 leaves the closed form of Grad-CAM.
    """

    explained_layer = "features"
    gap_head: str | None = "head"

    def __init__(
        self, in_channels: int, n_classes: int, widths: tuple[int, ...], *, batch_norm: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        previous = in_channels
        for number, width in enumerate(widths, start=1):
            layers[f"conv{number}"] = nn.Conv2d(previous, width, 3, padding=1, bias=not batch_norm)
            if batch_norm:
                layers[f"bn{number}"] = nn.BatchNorm2d(width)
            layers[f"relu{number}"] = nn.ReLU()
            if number <= 2:
                layers[f"pool{number}"] = nn.MaxPool2d(2)
            previous = width
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.gap_head = None if dropout else "head"
        self.head = nn.Linear(previous, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, N)``; the explained map is ``(B, 4 * width, H // 4, W // 4)``."""
        return self.head(self.dropout(self.pool(self.features(x)).flatten(1)))


def build(config: GapNetConfig | GapNetBNConfig, in_shape: InShape, n_classes: int) -> GapNet:
    """Build the network; at the default widths 33,194 (1 channel) and 136,930 parameters (3 channels), 10 classes."""
    w = config.width
    if isinstance(config, GapNetBNConfig):
        return GapNet(in_shape[0], n_classes, (w, 2 * w, 4 * w, 4 * w), batch_norm=True, dropout=config.dropout)
    network = GapNet(in_shape[0], n_classes, (w, 2 * w, 2 * w, 4 * w), batch_norm=False, dropout=config.dropout)
    if config.init == "he":
        _he(network)
    return network


def _he(network: GapNet) -> None:
    for module in network.features:
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
