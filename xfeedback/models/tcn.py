"""``tcn``: the temporal convolutional network (Bai et al. 2018) of the time series benchmark of Ismail et al. 2020."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from xfeedback.config import require
from xfeedback.models.base import InShape
from xfeedback.models.series_options import SeriesConfig, output_layer


@dataclass(frozen=True, kw_only=True)
class TcnConfig(SeriesConfig):
    """Options of ``tcn``.

    Attributes:
        channels: of each block; block n looks back in strides of 2^n steps.
        kernel: steps that a convolution sees.
        dropout: share of values dropped after each convolution.
    """

    name: Literal["tcn"] = "tcn"
    channels: tuple[int, ...] = (5, 5, 50)
    kernel: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        good = bool(self.channels) and all(width > 0 for width in self.channels)
        require(good, "channels", list(self.channels), "positive integers, one a block")
        require(self.kernel > 0, "kernel", self.kernel, "a positive integer")


class Block(nn.Module):
    """Twice a causal convolution with normalised weights, ReLU and dropout; the input is added, then ReLU."""

    def __init__(self, entering: int, leaving: int, config: TcnConfig, dilation: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (entering, leaving):
            layers += [
                nn.ConstantPad1d(((config.kernel - 1) * dilation, 0), 0.0),
                weight_norm(nn.Conv1d(width, leaving, config.kernel, dilation=dilation)),
                nn.ReLU(),
                nn.Dropout(config.dropout),
            ]
        self.layers = nn.Sequential(*layers)
        self.skip = nn.Identity() if entering == leaving else nn.Conv1d(entering, leaving, 1)
        if isinstance(self.skip, nn.Conv1d):
            nn.init.normal_(self.skip.weight, 0.0, 0.01)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, K, T)`` to ``(B, K', T)``."""
        return self.relu(self.layers(x) + self.skip(x))


class Tcn(nn.Module):
    """Blocks with dilations 1, 2, 4, ..., the maximum over time, one linear layer.

    Each ReLU and the pooling are modules used once, so that DeepLIFT and LRP can hook them.
    """

    def __init__(self, config: TcnConfig, features: int, n_classes: int) -> None:
        super().__init__()
        widths = (features, *config.channels)
        self.blocks = nn.Sequential(*(Block(a, b, config, 2**number) for number, (a, b) in enumerate(pairwise(widths))))
        self.pool = nn.AdaptiveMaxPool1d(1)
        self.head = nn.Linear(widths[-1], n_classes)
        self.output = output_layer(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map series ``(B, T, F)`` to ``(B, N)``."""
        return self.output(self.head(self.pool(self.blocks(x.transpose(1, 2))).flatten(1)))


def build(config: TcnConfig, in_shape: InShape, n_classes: int) -> Tcn:
    """Build the network; 13,197 parameters with 50 features and 2 classes."""
    return Tcn(config, in_shape[1], n_classes)
