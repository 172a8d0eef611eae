"""``typology_cnn``: the small convolutional network of Friedrich et al. 2022, "A typology for exploring the mitigation
of shortcut behaviour" (released code), for rows beside theirs on DecoyMNIST and DecoyFashionMNIST.
"""  # noqa: D205

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from xfeedback.errors import UserError
from xfeedback.models.base import InShape, ModelConfig

MIN_SIDE = 16
"""Smallest image: two 5x5 convolutions without padding and two poolings leave one cell."""


@dataclass(frozen=True, kw_only=True)
class TypologyCnnConfig(ModelConfig):
    """Options of ``typology_cnn``: none, its sizes are those of the released network."""

    name: Literal["typology_cnn"] = "typology_cnn"


class TypologyCnn(nn.Module):
    """5x5 convolutions to 20 and 50 channels without padding, 2x2 max-pooling after each, dense layers of 256 and N.

    The explained map is the second convolution's output before its ReLU, as released. The dense layers read its pooled
    cells one by one, so Grad-CAM has no closed form here and shows less than with global average pooling.
    """

    explained_layer = "conv2"
    gap_head: str | None = None

    def __init__(self, in_shape: InShape, n_classes: int) -> None:
        super().__init__()
        channels, height, width = in_shape
        cells = (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        self.conv1 = nn.Conv2d(channels, 20, 5)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(50 * cells, 256)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(256, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, N)``; the explained map is ``(B, 50, 8, 8)`` at 28x28."""
        maps = self.pool2(self.relu2(self.conv2(self.pool1(self.relu1(self.conv1(x))))))
        return self.fc2(self.relu3(self.fc1(maps.flatten(1))))


def build(config: TypologyCnnConfig, in_shape: InShape, n_classes: int) -> TypologyCnn:
    """Build the network; the dense layer fits the image size. 233,196 parameters at 1x28x28 and 10 classes.

    Raises:
        UserError: the image is smaller than 16x16.
    """
    if min(in_shape[1:]) < MIN_SIDE:
        size = f"{in_shape[1]}x{in_shape[2]}"
        raise UserError(f"model={config.name} needs images of at least {MIN_SIDE}x{MIN_SIDE} pixels, not {size}")
    return TypologyCnn(in_shape, n_classes)
