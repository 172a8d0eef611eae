"""``kws_cnn``: the ten-layer keyword network of Mazumder et al. 2023, "Harnessing the power of explanations for
incremental training" (released code): ten convolutions over a spectrogram brought to 64x64, two dense layers.
"""  # noqa: D205

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from xfeedback.config import require
from xfeedback.models.base import InShape, ModelConfig

CHANNELS = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8)
"""Channels of the convolutions, as multiples of the width."""
POOLED = (6, 9)
"""After which convolutions the map is halved."""
SIDE = 64
CUT = 0.8796256610342398
"""Standard deviation of a standard normal cut off at two."""


@dataclass(frozen=True, kw_only=True)
class KwsCnnConfig(ModelConfig):
    """Options of ``kws_cnn``.

    Attributes:
        width: channels of the first convolution.
        dense: units of the hidden dense layer.
        empty_channels: channels of zeros put behind the input's; 2 gives the released network for one channel.
        first_fan_in: inputs of a unit of the first convolution that its weights' spread is drawn for; 27 as in the
            released network of three channels, two of them empty. None: what it has.
    """

    name: Literal["kws_cnn"] = "kws_cnn"
    width: int = 8
    dense: int = 1_000
    empty_channels: int = 0
    first_fan_in: int | None = 27

    def __post_init__(self) -> None:
        for option in ("width", "dense"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")
        require(self.empty_channels >= 0, "empty_channels", self.empty_channels, "0 or more")
        fits = self.first_fan_in is None or self.first_fan_in > 0
        require(fits, "first_fan_in", self.first_fan_in, "a positive integer")


class KwsCnn(nn.Module):
    """3x3 convolutions with ReLU, max-pooling after the seventh and the tenth, dense layers.

    The input is brought to 64x64 in the forward, bilinear with half-pixel centres and without smoothing, so masks and
    attributions have the spectrogram's own size. Each ReLU and pooling is a module used once. The dense layers follow
    the map directly, so Grad-CAM has no closed form here.
    """

    explained_layer = "features.pool10"
    gap_head: str | None = None

    def __init__(self, config: KwsCnnConfig, in_shape: InShape, n_classes: int) -> None:
        super().__init__()
        self.empty_channels = config.empty_channels
        channels = in_shape[0] + config.empty_channels
        self.features = nn.Sequential()
        for number, multiple in enumerate(CHANNELS, start=1):
            width = multiple * config.width
            self.features.add_module(f"conv{number}", nn.Conv2d(channels, width, 3, padding=1))
            self.features.add_module(f"relu{number}", nn.ReLU())
            if number - 1 in POOLED:
                self.features.add_module(f"pool{number}", nn.MaxPool2d(2))
            channels = width
        self.fc1 = nn.Linear(channels * (SIDE // 2 ** len(POOLED)) ** 2, config.dense)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(config.dense, n_classes)
        self._draw(config.first_fan_in)

    @torch.no_grad()
    def _draw(self, first_fan_in: int | None) -> None:
        """Keras' He normal (cut off at two standard deviations), Glorot uniform for the logits, no biases."""
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        for layer in layers[:-1]:
            fan_in = layer.weight[0].numel()
            if layer is layers[0] and first_fan_in is not None:
                fan_in = first_fan_in
            std = math.sqrt(2 / fan_in) / CUT
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.xavier_uniform_(layers[-1].weight)
        for layer in layers:
            nn.init.zeros_(cast("Tensor", layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map spectrograms ``(B, C, F, T)`` to logits ``(B, N)``; the explained map is ``(B, 64, 16, 16)``."""
        if tuple(x.shape[2:]) != (SIDE, SIDE):
            x = functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        if self.empty_channels:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.empty_channels))
        return self.fc2(self.relu(self.fc1(self.features(x).flatten(1))))


def build(config: KwsCnnConfig, in_shape: InShape, n_classes: int) -> KwsCnn:
    """Build the network.

    For 35 classes and one channel 16,539,675 parameters; with two empty channels 16,539,819.
    """
    return KwsCnn(config, in_shape, n_classes)
