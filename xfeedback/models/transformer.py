"""``transformer``: the Transformer for series (Vaswani et al. 2017) as in the benchmark of Ismail et al. 2020."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.models.base import InShape
from xfeedback.models.series_options import SeriesConfig, output_layer

EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(SeriesConfig):
    """Options of ``transformer``.

    Attributes:
        width: of each step's vector; series with another number of features are brought to it by a linear layer.
        layers: how many.
        heads: of the attention; they divide ``width``.
        feed_forward: units between the two linear layers of each layer.
        dropout: share of values dropped after the code of positions, of attention weights, inside the feed-forward
            part, and of both residual branches.
    """

    name: Literal["transformer"] = "transformer"
    width: int = 50
    layers: int = 6
    heads: int = 5
    feed_forward: int = 400

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("width", "layers", "heads", "feed_forward"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")
        require(self.width % self.heads == 0, "heads", self.heads, f"a divisor of width ({self.width})")


class Norm(nn.Module):
    """Scales each step's vector: a (x - mean) / (sd + 1e-6) + b, with the unbiased sd."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(width))
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to the same shape; a constant vector becomes b, with a finite gradient."""
        away = x - x.mean(-1, keepdim=True)
        square = away.square().sum(-1, keepdim=True) / (x.shape[-1] - 1)
        sd = square.where(square > 0, 1.0).sqrt().where(square > 0, 0.0)
        return self.a * away / (sd + EPS) + self.b


class Attention(nn.Module):
    """Attention of several heads to this step and those before it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (nn.Linear(config.width, config.width) for _ in range(4))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to the same shape."""
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        weights = self.dropout(scores.masked_fill(later, -torch.inf).softmax(-1))
        return self.out((weights @ value).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """``(B, T, D)`` to ``(B, heads, T, D / heads)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Attention and a feed-forward part, each on the normalised vectors and added to them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(config.width), Norm(config.width)
        self.attention = Attention(config)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.width, config.feed_forward),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feed_forward, config.width),
        )
        self.dropout1, self.dropout2 = nn.Dropout(config.dropout), nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to the same shape."""
        x = x + self.dropout1(self.attention(self.norm1(x)))
        return x + self.dropout2(self.feed_forward(self.norm2(x)))


class Transformer(nn.Module):
    """Layers on the steps with a code of their positions, a last norm, the maximum over time, one linear layer."""

    positions: Tensor

    def __init__(self, config: TransformerConfig, in_shape: InShape, n_classes: int) -> None:
        super().__init__()
        steps, features = in_shape
        width = config.width
        self.enter = nn.Identity() if features == width else nn.Linear(features, width)
        self.register_buffer("positions", position_code(steps, width), persistent=False)
        self.scale = math.sqrt(width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.Sequential(*(Layer(config) for _ in range(config.layers)))
        self.norm = Norm(width)
        self.pool = nn.AdaptiveMaxPool1d(1)
        self.head = nn.Linear(width, n_classes)
        self.output = output_layer(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map series ``(B, T, F)`` to ``(B, N)``; T is what the network was built for, or less."""
        x = self.dropout(self.enter(x) * self.scale + self.positions[: x.shape[1]])
        return self.output(self.head(self.pool(self.norm(self.layers(x)).transpose(1, 2)).flatten(1)))


def position_code(steps: int, width: int) -> Tensor:
    """Return sines and cosines of the positions ``(T, D)``.

    Dimension i, even, is sin(t / 10000^(2i/D)), and i + 1 is cos(t / 10000^(2(i+1)/D)): the released exponents, twice
    as fast and one pair apart from those of Vaswani et al. 2017.
    """
    at, dimension = torch.arange(steps, dtype=torch.float64)[:, None], torch.arange(width, dtype=torch.float64)
    angle = at / 10000 ** (2 * dimension / width)
    return torch.where(dimension % 2 == 0, angle.sin(), angle.cos()).float()


def build(config: TransformerConfig, in_shape: InShape, n_classes: int) -> Transformer:
    """Build the network; 305,302 parameters with 50 features and 2 classes."""
    return Transformer(config, in_shape, n_classes)
