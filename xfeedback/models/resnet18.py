"""``resnet18`` and ``resnet18_gap8``: ResNet-18 for small images: 3x3 stem, no pooling after the stem.

Layers, parameter names and initialisation are torchvision's. ``resnet18_gap8`` keeps stride 1 in the last stage, so
that the explained map is 8x8 for 32x32 images: at 4x4 a cell covers 8 pixels, too coarse for a small object.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.models.base import InShape, ModelConfig
from xfeedback.models.blocks import BasicBlock, init_kaiming, projection


@dataclass(frozen=True, kw_only=True)
class _ResNet18Config(ModelConfig):
    """Options of both.

    Attributes:
        width: channels of the first stage; the four have ``width * (1, 2, 4, 8)``.
    """

    width: int = 64

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", self.width, "a positive integer")


@dataclass(frozen=True, kw_only=True)
class ResNet18Config(_ResNet18Config):
    """Options of ``resnet18``: ``width``, channels of the first stage; the four have ``width * (1, 2, 4, 8)``."""

    name: Literal["resnet18"] = "resnet18"


@dataclass(frozen=True, kw_only=True)
class ResNet18Gap8Config(_ResNet18Config):
    """Options of ``resnet18_gap8``, as of ``resnet18``."""

    name: Literal["resnet18_gap8"] = "resnet18_gap8"


class ResNet18(nn.Module):
    """3x3 convolution, four stages of two residual blocks, global average pooling, linear layer."""

    explained_layer = "layer4"
    gap_head: str | None = "fc"

    def __init__(self, in_channels: int, n_classes: int, width: int, last_stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=last_stride)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, n_classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, N)``; the map of a 32x32 image is 4x4, or 8x8 for ``gap8``."""
        maps = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(self.avgpool(self.layer4(self.layer3(maps))).flatten(1))


def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    same = stride == 1 and in_channels == out_channels
    shortcut = nn.Identity() if same else projection(in_channels, out_channels, stride)
    return nn.Sequential(
        BasicBlock(in_channels, out_channels, stride, shortcut),
        BasicBlock(out_channels, out_channels, 1, nn.Identity()),
    )


def build(config: ResNet18Config | ResNet18Gap8Config, in_shape: InShape, n_classes: int) -> ResNet18:
    """Build the network; 11,173,962 parameters for 3 channels, 10 classes and width 64, in both forms."""
    last_stride = 1 if isinstance(config, ResNet18Gap8Config) else 2
    return ResNet18(in_shape[0], n_classes, config.width, last_stride)
