"""``text_cnn``: the convolutional network of Kim 2014, "Convolutional neural networks for sentence classification"."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.kinds import Kind
from xfeedback.models.base import InShape, ModelConfig
from xfeedback.models.text_base import TextNetwork
from xfeedback.models.text_layers import require_dropout, token_embedding


@dataclass(frozen=True, kw_only=True)
class TextCnnConfig(ModelConfig):
    """Options of ``text_cnn``.

    Attributes:
        width: E, of the embeddings (Kim: 300, pretrained; here learned).
        windows: tokens that each group of filters sees.
        filters: filters per window.
        dropout: share of the pooled features dropped before the last layer.
    """

    takes: ClassVar[tuple[Kind, ...]] = ("text",)
    name: Literal["text_cnn"] = "text_cnn"
    width: int = 128
    windows: tuple[int, ...] = (3, 4, 5)
    filters: int = 100
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for option in ("width", "filters"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")
        require(bool(self.windows) and min(self.windows) > 0, "windows", self.windows, "a list of positive integers")
        require_dropout(self.dropout)


class TextCnn(TextNetwork):
    """Convolutions over the tokens, ReLU, the maximum over the places, dropout and one dense layer.

    A place counts when its middle token is real; beyond the text there are zeros. Each module is used once.
    """

    def __init__(self, config: TextCnnConfig, n_ids: int, n_classes: int) -> None:
        super().__init__()
        self.embedding = token_embedding(n_ids, config.width, 0.25)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.width, config.filters, window, padding=window // 2) for window in config.windows
        )
        self.relus = nn.ModuleList(nn.ReLU() for _ in config.windows)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.filters * len(config.windows), n_classes)

    def classify(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map embeddings ``(B, L, E)`` to logits ``(B, N)``; an empty text has pooled features of 0."""
        real = valid[:, None].to(x.dtype)
        channels = x.transpose(1, 2) * real  # padding is 0 already; so is its gradient now
        pooled = [
            (relu(convolution(channels)[..., : x.shape[1]]) * real).amax(2)
            for convolution, relu in zip(self.convolutions, self.relus, strict=True)
        ]
        return self.head(self.dropout(torch.cat(pooled, dim=1)))


def build(config: TextCnnConfig, in_shape: InShape, n_classes: int, vocabulary: tuple[str, ...]) -> TextCnn:
    """Build the network; texts may have any length."""
    del in_shape
    return TextCnn(config, len(vocabulary), n_classes)
