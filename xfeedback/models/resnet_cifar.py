"""``resnet20`` and ``resnet32``: the ResNets for 32x32 images of He et al. 2016, section 4.2, with shortcut A."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.models.base import InShape, ModelConfig
from xfeedback.models.blocks import BasicBlock, PadShortcut, init_kaiming


@dataclass(frozen=True, kw_only=True)
class _CifarConfig(ModelConfig):
    """Options of both.

    Attributes:
        width: channels of the first stage; the three have ``width * (1, 2, 4)``.
    """

    width: int = 16

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", self.width, "a positive integer")


@dataclass(frozen=True, kw_only=True)
class ResNet20Config(_CifarConfig):
    """Options of ``resnet20``: ``width``, channels of the first stage; the three have ``width * (1, 2, 4)``."""

    name: Literal["resnet20"] = "resnet20"


@dataclass(frozen=True, kw_only=True)
class ResNet32Config(_CifarConfig):
    """Options of ``resnet32``, as of ``resnet20``."""

    name: Literal["resnet32"] = "resnet32"


class CifarResNet(nn.Module):
    """3x3 convolution, three stages of ``blocks`` residual blocks, global average pooling, linear layer."""

    explained_layer = "layer3"
    gap_head: str | None = "fc"

    def __init__(self, in_channels: int, n_classes: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, n_classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, N)``; the explained map is 8x8 for 32x32 images."""
        maps = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(self.avgpool(maps).flatten(1))


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    same = stride == 1 and in_channels == out_channels
    first = nn.Identity() if same else PadShortcut(out_channels - in_channels, stride)
    rest = (BasicBlock(out_channels, out_channels, 1, nn.Identity()) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(in_channels, out_channels, stride, first), *rest)


def build(config: ResNet20Config | ResNet32Config, in_shape: InShape, n_classes: int) -> CifarResNet:
    """Build the network; 269,722 and 464,154 parameters for 3 channels, 10 classes and width 16."""
    blocks = 3 if isinstance(config, ResNet20Config) else 5
    return CifarResNet(in_shape[0], n_classes, config.width, blocks)
