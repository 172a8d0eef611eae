"""``ds_cnn``: the depthwise separable network of Zhang et al. 2017, "Hello edge: keyword spotting on
microcontrollers", of their size S: one convolution, four separable ones, global average pooling.
"""  # noqa: D205

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.models.base import InShape, ModelConfig


@dataclass(frozen=True, kw_only=True)
class DsCnnConfig(ModelConfig):
    """Options of ``ds_cnn``.

    Attributes:
        width: channels of all layers.
        blocks: depthwise separable convolutions.
        stride: of the first convolution, in frequency and time.
    """

    name: Literal["ds_cnn"] = "ds_cnn"
    width: int = 64
    blocks: int = 4
    stride: int = 2

    def __post_init__(self) -> None:
        for option in ("width", "blocks", "stride"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")


class DsCnn(nn.Module):
    """A convolution of 4 frequencies by 10 frames, then 3x3 depthwise and 1x1 convolutions, BatchNorm and ReLU each.

    Padding keeps the map's size; the head is global average pooling and a linear layer, so Grad-CAM has a closed form.
    Convolutions have no biases, which BatchNorm brings.
    """

    explained_layer = "blocks"
    gap_head: str | None = "fc"

    def __init__(self, config: DsCnnConfig, in_shape: InShape, n_classes: int) -> None:
        super().__init__()
        width = config.width
        self.pad = nn.ZeroPad2d((4, 5, 1, 2))
        self.stem = _normed(nn.Conv2d(in_shape[0], width, (4, 10), config.stride, bias=False))
        self.blocks = nn.Sequential(*(_separable(width) for _ in range(config.blocks)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map spectrograms ``(B, C, F, T)`` to logits ``(B, N)``; the explained map has half the input's sides."""
        return self.fc(self.avgpool(self.blocks(self.stem(self.pad(x)))).flatten(1))


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


def _separable(width: int) -> nn.Sequential:
    depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
    return nn.Sequential(*_normed(depthwise), *_normed(nn.Conv2d(width, width, 1, bias=False)))


def build(config: DsCnnConfig, in_shape: InShape, n_classes: int) -> DsCnn:
    """Build the network; 23,180 parameters for one channel and 12 classes."""
    return DsCnn(config, in_shape, n_classes)
