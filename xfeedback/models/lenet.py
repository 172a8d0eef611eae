"""``lenet``: LeNet with wide layers, as in the released code of Tomani and Buettner 2021, "Towards trustworthy
predictions from deep neural networks with fast adversarial calibration"; of Challenger no network is known.
"""  # noqa: D205

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.models.base import InShape, ModelConfig

MIN_SIDE = 12
"""Smallest image: two poolings and a 5x5 convolution without padding leave one cell."""


@dataclass(frozen=True, kw_only=True)
class LenetConfig(ModelConfig):
    """Options of ``lenet``.

    Attributes:
        dropout: share of hidden units dropped after each hidden dense layer; the released rate is not known.
    """

    name: Literal["lenet"] = "lenet"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")


class Lenet(nn.Module):
    """5x5 convolutions to 32 channels, padded, and 48, not padded, 2x2 max-pooling after each, dense layers 256, 84, N.

    Each ReLU, pooling and dropout is a module used once, so that DeepLIFT and LRP can hook it. The dense layers read
    the pooled cells one by one, so Grad-CAM has no closed form here and shows less than with global average pooling.
    """

    explained_layer = "relu2"
    gap_head: str | None = None

    def __init__(self, config: LenetConfig, in_shape: InShape, n_classes: int) -> None:
        super().__init__()
        channels, height, width = in_shape
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(32, 48, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(48 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2), 256)
        self.relu3 = nn.ReLU()
        self.dropout1 = nn.Dropout(config.dropout)
        self.fc2 = nn.Linear(256, 84)
        self.relu4 = nn.ReLU()
        self.dropout2 = nn.Dropout(config.dropout)
        self.fc3 = nn.Linear(84, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, N)``; the explained map is ``(B, 48, 10, 10)`` at 28x28."""
        maps = self.pool2(self.relu2(self.conv2(self.pool1(self.relu1(self.conv1(x))))))
        hidden = self.dropout1(self.relu3(self.fc1(maps.flatten(1))))
        return self.fc3(self.dropout2(self.relu4(self.fc2(hidden))))


def build(config: LenetConfig, in_shape: InShape, n_classes: int) -> Lenet:
    """Build the network; the dense layer fits the image size. 369,174 parameters at 1x28x28 and 10 classes.

    Raises:
        UserError: the image is smaller than 12x12.
    """
    if min(in_shape[1:]) < MIN_SIDE:
        size = f"{in_shape[1]}x{in_shape[2]}"
        raise UserError(f"model={config.name} needs images of at least {MIN_SIDE}x{MIN_SIDE} pixels, not {size}")
    return Lenet(config, in_shape, n_classes)
