"""``text_lstm``: a bidirectional LSTM (Hochreiter and Schmidhuber 1997) over learned embeddings."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.kinds import Kind
from xfeedback.models.base import InShape, ModelConfig
from xfeedback.models.recurrent import states
from xfeedback.models.text_base import TextNetwork
from xfeedback.models.text_layers import real_mean, require_dropout, token_embedding


@dataclass(frozen=True, kw_only=True)
class TextLstmConfig(ModelConfig):
    """Options of ``text_lstm``.

    Attributes:
        width: E, of the embeddings.
        hidden: units in each direction.
        dropout: share of embedding entries, and of pooled features, that is dropped.
        cudnn: train with cuDNN's kernel on a GPU; false where a method differentiates twice (``rrr``), which that
            kernel refuses.
    """

    takes: ClassVar[tuple[Kind, ...]] = ("text",)
    name: Literal["text_lstm"] = "text_lstm"
    width: int = 128
    hidden: int = 128
    dropout: float = 0.5
    cudnn: bool = True

    def __post_init__(self) -> None:
        for option in ("width", "hidden"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")
        require_dropout(self.dropout)


class TextLstm(TextNetwork):
    """One LSTM reads the text forwards, one backwards; the mean of their states over the tokens is classified.

    The second reads each text from its own last token on, so padding changes nothing and lengths stay on the device.
    """

    def __init__(self, config: TextLstmConfig, n_ids: int, n_classes: int) -> None:
        super().__init__()
        self.embedding = token_embedding(n_ids, config.width, 1.0)
        self.drop_input = nn.Dropout(config.dropout)
        self.forwards = nn.LSTM(config.width, config.hidden, batch_first=True)
        self.backwards = nn.LSTM(config.width, config.hidden, batch_first=True)
        self.drop_pooled = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.hidden, n_classes)
        self.cudnn = config.cudnn

    def classify(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map embeddings ``(B, L, E)`` to logits ``(B, N)``; an empty text has pooled features of 0.

        cuDNN refuses a backward pass in evaluation mode, so gradients there take PyTorch's own kernel.
        """
        x, order = self.drop_input(x), _reversed(valid)[..., None]
        allowed = self.cudnn if self.training else not torch.is_grad_enabled()
        ahead = states(self.forwards, x, cudnn=allowed)
        back = states(self.backwards, x.gather(1, order.expand_as(x)), cudnn=allowed)
        back = back.gather(1, order.expand_as(back))
        return self.head(self.drop_pooled(real_mean(torch.cat([ahead, back], dim=2), valid)))


def _reversed(valid: Tensor) -> Tensor:
    """Return positions ``(B, L)`` that turn each text round up to its last real token; twice is no change."""
    place = torch.arange(valid.shape[1], device=valid.device).expand(valid.shape)
    length = torch.where(valid, place + 1, 0).amax(1, keepdim=True)
    return torch.where(place < length, length - 1 - place, place)


def build(config: TextLstmConfig, in_shape: InShape, n_classes: int, vocabulary: tuple[str, ...]) -> TextLstm:
    """Build the network; texts may have any length."""
    del in_shape
    return TextLstm(config, len(vocabulary), n_classes)
