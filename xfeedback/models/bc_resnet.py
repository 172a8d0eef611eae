"""``bc_resnet``: BC-ResNet-1 of Kim et al. 2021, "Broadcasted residual learning for efficient keyword spotting"."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.models.base import InShape, ModelConfig

STAGES = ((2, 1.0, 1), (2, 1.5, 2), (4, 2.0, 2), (4, 2.5, 1))
"""Blocks, channels as multiples of the width, and stride in frequency, of the four stages (their table 1)."""


@dataclass(frozen=True, kw_only=True)
class BcResNetConfig(ModelConfig):
    """Options of ``bc_resnet``.

    Attributes:
        width: channels of the first stage; 8 is BC-ResNet-1, 8 tau is BC-ResNet-tau.
        sub_bands: into how many bands of frequency SubSpectralNorm divides a map; where they don't fit evenly, the
            next smaller number that does.
        dropout: share of a block's channels that are dropped.
    """

    name: Literal["bc_resnet"] = "bc_resnet"
    width: int = 8
    sub_bands: int = 5
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for option in ("width", "sub_bands"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")


class SubSpectralNorm(nn.Module):
    """BatchNorm of each band of frequency on its own (Chang et al. 2021).

    Args:
        channels: of the maps.
        bands: how many bands of equal height the maps' rows fall into.
    """

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.norm = nn.BatchNorm2d(channels * bands)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, F, T)`` to the same shape."""
        batch, channels, height, frames = x.shape
        split = x.reshape(batch, channels * self.bands, height // self.bands, frames)
        return self.norm(split).reshape(batch, channels, height, frames)


class BroadcastBlock(nn.Module):
    """A broadcasted residual block: ``relu(x + f2(x) + broadcast(f1(mean over frequency of f2(x))))``.

    f2 is a depthwise convolution over frequency with SubSpectralNorm, f1 a depthwise one over time, BatchNorm, swish, a
    1x1 convolution and channel dropout. A transition block, the first of a stage, begins f2 with a 1x1 convolution,
    BatchNorm and ReLU, and has no ``x +``.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        bands: of SubSpectralNorm.
        stride: in frequency.
        dilation: in time.
        dropout: share of channels dropped.
    """

    def __init__(
        self, in_channels: int, channels: int, *, bands: int, stride: int, dilation: int, dropout: float, first: bool
    ) -> None:
        super().__init__()
        self.first = first
        widen = (nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()) if first else ()
        over_frequency = nn.Conv2d(channels, channels, (3, 1), (stride, 1), padding=(1, 0), groups=channels, bias=False)
        self.f2 = nn.Sequential(*widen, over_frequency, SubSpectralNorm(channels, bands))
        self.pool = nn.AdaptiveAvgPool2d((1, None))
        self.f1 = nn.Sequential(
            nn.Conv2d(
                channels,
                channels,
                (1, 3),
                padding=(0, dilation),
                dilation=(1, dilation),
                groups=channels,
                bias=False,
            ),
            nn.BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Dropout2d(dropout),
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, F, T)`` to ``(B, channels, ceil(F / stride), T)``."""
        wide = self.f2(x)
        summed = wide + self.f1(self.pool(wide))
        return self.relu(summed if self.first else x + summed)


class BcResNet(nn.Module):
    """5x5 convolution, four stages of broadcasted residual blocks, 5x5 depthwise convolution, 1x1 convolutions.

    The explained map is the last stage's: what follows still mixes neighbouring frames, so Grad-CAM has no closed form.
    """

    explained_layer = "stages"
    gap_head: str | None = None

    def __init__(self, config: BcResNetConfig, in_shape: InShape, n_classes: int) -> None:
        super().__init__()
        height = -(-in_shape[1] // 2)
        channels = 2 * config.width
        self.stem = nn.Sequential(
            nn.Conv2d(in_shape[0], channels, 5, (2, 1), padding=2, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.stages = nn.Sequential()
        for number, (blocks, multiple, stride) in enumerate(STAGES):
            height = -(-height // stride)
            bands = max(bands for bands in range(1, config.sub_bands + 1) if height % bands == 0)
            for block in range(blocks):
                out = round(multiple * config.width)
                self.stages.append(
                    BroadcastBlock(
                        channels,
                        out,
                        bands=bands,
                        stride=stride if block == 0 else 1,
                        dilation=2**number,
                        dropout=config.dropout,
                        first=block == 0,
                    )
                )
                channels = out
        tall = min(5, height)
        self.mix = nn.Conv2d(channels, channels, (tall, 5), padding=(0, 2), groups=channels, bias=False)
        self.head = nn.Sequential(
            nn.Conv2d(channels, 4 * config.width, 1, bias=False), nn.BatchNorm2d(4 * config.width), nn.ReLU()
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * config.width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map spectrograms ``(B, C, F, T)`` to logits ``(B, N)``; the explained map is ``(B, 20, F / 8, T)``."""
        return self.fc(self.avgpool(self.head(self.mix(self.stages(self.stem(x))))).flatten(1))


def build(config: BcResNetConfig, in_shape: InShape, n_classes: int) -> BcResNet:
    """Build the network; 9,232 parameters for one channel of 40 bands and 12 classes (published: 9.2k)."""
    return BcResNet(config, in_shape, n_classes)
