"""``text_transformer``: a small Transformer encoder (Vaswani et al. 2017) over learned embeddings and positions."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.kinds import Kind
from xfeedback.models.base import InShape, ModelConfig
from xfeedback.models.text_base import TextNetwork
from xfeedback.models.text_layers import real_mean, require_dropout, token_embedding


@dataclass(frozen=True, kw_only=True)
class TextTransformerConfig(ModelConfig):
    """Options of ``text_transformer``.

    Attributes:
        width: E, of embeddings and layers.
        layers: encoder layers.
        heads: attention heads, a divisor of ``width``.
        dropout: share of entries dropped after embedding, attention and dense layers.
    """

    takes: ClassVar[tuple[Kind, ...]] = ("text",)
    name: Literal["text_transformer"] = "text_transformer"
    width: int = 128
    layers: int = 2
    heads: int = 4
    dropout: float = 0.3

    def __post_init__(self) -> None:
        for option in ("width", "layers", "heads"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")
        require(self.width % self.heads == 0, "heads", self.heads, f"a divisor of width={self.width}")
        require_dropout(self.dropout)


class Attention(nn.Module):
    """Self-attention with its softmax written out, so that it can be differentiated twice on every device."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inner = nn.Linear(width, 3 * width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, L, E)`` to the same shape; tokens that are not ``valid`` ``(B, L)`` are not looked at."""
        batch, length, width = x.shape
        query, key, value = self.inner(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(2, 3) / (width // self.heads) ** 0.5
        lowest = -1e4  # also in half precision; a text without real tokens looks at all alike instead of giving NaN
        weights = scores.masked_fill(~valid[:, None, None], lowest).softmax(3)
        return self.outer((weights @ value).transpose(1, 2).reshape(batch, length, width))


class Layer(nn.Module):
    """Attention and a dense layer of fourfold width, each with dropout, a shortcut and LayerNorm after it.

    Were LayerNorm before them, the gradient's mean over a token's embedding would be 0 on every path, and saliency
    guided training's signed score with it.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop1, self.drop2 = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, L, E)`` to the same shape; see :class:`Attention`."""
        x = self.norm1(x + self.drop1(self.attention(x, valid)))
        return self.norm2(x + self.drop2(self.dense(x)))


class TextTransformer(TextNetwork):
    """Embeddings and positions, encoder layers, the mean over the tokens and one dense layer."""

    def __init__(self, config: TextTransformerConfig, n_ids: int, length: int, n_classes: int) -> None:
        super().__init__()
        self.embedding = token_embedding(n_ids, config.width, 0.1)
        self.positions = nn.Embedding(length, config.width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.drop = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config.width, config.heads, config.dropout) for _ in range(config.layers))
        self.head = nn.Linear(config.width, n_classes)

    def classify(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map embeddings ``(B, L, E)`` to logits ``(B, N)``; an empty text has pooled features of 0.

        Raises:
            UserError: the text is longer than those that the network was built for.
        """
        most = self.positions.num_embeddings
        if x.shape[1] > most:
            raise UserError(f"model=text_transformer was built for texts of {most} tokens at most, not {x.shape[1]}")
        hidden = self.drop(x + self.positions.weight[: x.shape[1]])
        for layer in self.layers:
            hidden = layer(hidden, valid)
        return self.head(real_mean(hidden, valid))


def build(
    config: TextTransformerConfig, in_shape: InShape, n_classes: int, vocabulary: tuple[str, ...]
) -> TextTransformer:
    """Build the network for texts of the data set's length or shorter ones."""
    return TextTransformer(config, len(vocabulary), in_shape[0], n_classes)
