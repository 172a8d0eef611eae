"""``huggingface``: any encoder of the transformers library, on the user's own weights, with a fresh head."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from xfeedback.data.hf_tokeniser import PREFIX, load
from xfeedback.errors import UserError
from xfeedback.kinds import Kind
from xfeedback.models.base import InShape, ModelConfig
from xfeedback.models.text_base import TextNetwork
from xfeedback.models.text_layers import real_mean, require_dropout


@dataclass(frozen=True, kw_only=True)
class HuggingFaceConfig(ModelConfig):
    """Options of ``huggingface``; the data set must have been cut by the encoder's own tokeniser.

    Attributes:
        path: folder that ``save_pretrained`` wrote, or a name in the Hugging Face cache; also the tokeniser's.
        pretrained: start from its weights; false: from random ones of the same architecture.
        dropout: share of the pooled features dropped before the head.
    """

    takes: ClassVar[tuple[Kind, ...]] = ("text",)
    name: Literal["huggingface"] = "huggingface"
    path: str | None = None
    pretrained: bool = True
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_dropout(self.dropout)


class HuggingFaceNetwork(TextNetwork):
    """The encoder's token embeddings, in the order of our ids; the encoder; the mean over its states; a dense layer.

    The encoder's first and last special tokens stand round each text. They are no tokens of the data: nothing can mask
    them, and no gradient is taken at them.
    """

    def __init__(self, encoder: nn.Module, ids: Tensor, ends: tuple[int, int], n_classes: int, dropout: float) -> None:
        super().__init__()
        inner = cast(Any, encoder)
        words = inner.get_input_embeddings().weight.detach()
        self.embedding = nn.Embedding(len(ids), words.shape[1], padding_idx=0)
        with torch.no_grad():
            self.embedding.weight.copy_(words[ids])
            self.embedding.weight[0] = 0
        self.ends = nn.Parameter(words[list(ends)].clone())
        inner.set_input_embeddings(nn.Embedding(1, words.shape[1]).requires_grad_(False))
        self.encoder = encoder
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(inner.config.hidden_size, n_classes)

    def classify(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map embeddings ``(B, L, E)`` to logits ``(B, N)``; an empty text is the two special tokens."""
        place = torch.arange(x.shape[1] + 2, device=x.device)
        length = (torch.where(valid, place[:-2] + 1, 0)).amax(1, keepdim=True)
        first, last = (place == 0).expand(len(x), -1), place == length + 1
        x = nn.functional.pad(x, (0, 0, 1, 1))
        for end, where in zip(self.ends, (first, last), strict=True):
            x = torch.where(where[..., None], end.to(x.dtype), x)
        attended = nn.functional.pad(valid, (1, 1)) | first | last
        states = self.encoder(inputs_embeds=x, attention_mask=attended.long()).last_hidden_state
        return self.head(self.drop(real_mean(states, attended)))


def build(
    config: HuggingFaceConfig, in_shape: InShape, n_classes: int, vocabulary: tuple[str, ...]
) -> HuggingFaceNetwork:
    """Build the network from the encoder's folder; attention is written out, so that it can be differentiated twice.

    Raises:
        UserError: no path, no transformers, no encoder there, another tokeniser, or texts too long for the encoder.
    """
    if config.path is None:
        raise UserError(f"model=huggingface needs model.path=FOLDER and dataset.tokeniser={PREFIX}FOLDER")
    tokeniser = load(config.path)
    if tuple(vocabulary) != tokeniser.vocabulary:
        raise UserError(
            f"model=huggingface needs texts cut by its own tokeniser: dataset.tokeniser={PREFIX}{config.path}"
        )
    last = int(tokeniser.inner.sep_token_id)
    first = tokeniser.inner.cls_token_id
    ends = last if first is None else int(first), last
    encoder = _encoder(config)
    known = cast(Any, encoder).get_input_embeddings().weight.shape[0]
    if max(tokeniser.ids) >= known:
        raise UserError(f"{config.path} has {known} embeddings, and its tokeniser has ids up to {max(tokeniser.ids)}")
    network = HuggingFaceNetwork(encoder, torch.tensor(tokeniser.ids), ends, n_classes, config.dropout)
    try:
        with torch.no_grad():
            network(torch.ones(1, *in_shape, dtype=torch.long))
    except (IndexError, RuntimeError) as error:
        raise UserError(
            f"{config.path} does not take texts of {in_shape[0]} tokens and 2 special ones: lower dataset.max_length"
        ) from error
    return network


def _encoder(config: HuggingFaceConfig) -> nn.Module:
    from transformers import AutoConfig, AutoModel, utils  # type: ignore[import-not-found]

    utils.logging.disable_progress_bar()  # it would break into the bar of the training
    try:
        options = AutoConfig.from_pretrained(config.path)
        if options.is_encoder_decoder:
            raise UserError(f"{config.path} is an encoder with a decoder; take an encoder alone, such as BERT")
        if config.pretrained:
            return AutoModel.from_pretrained(config.path, attn_implementation="eager", dtype=torch.float32)
        return AutoModel.from_config(options, attn_implementation="eager")
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"no encoder in {config.path}: {reason}. Give a folder that save_pretrained wrote.") from error
