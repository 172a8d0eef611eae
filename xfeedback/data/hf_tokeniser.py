"""Tokenisers of Hugging Face's package transformers, for ``dataset.tokeniser=hf:<folder or name>``."""

from functools import lru_cache
from typing import Any, NamedTuple

from xfeedback.data.text import RESERVED, SEPARATOR, Piece
from xfeedback.errors import UserError

PREFIX = "hf:"
_SPECIAL = ("pad", "unk", "sep")


class Tokeniser(NamedTuple):
    """A tokeniser and how its ids map to ours.

    Attributes:
        inner: of the library.
        vocabulary: the token of each of our ids: padding, unknown and separator first, then all others in its order.
        ids: its id of each of ours.
    """

    inner: Any
    vocabulary: tuple[str, ...]
    ids: tuple[int, ...]

    def pieces(self, text: str) -> list[Piece]:
        """Return the tokens of a text with their character ranges, without special tokens but ``[SEP]``."""
        found: list[Piece] = []
        start, mark = 0, RESERVED[SEPARATOR]
        for part in text.split(mark):
            if start:
                found.append((mark, (start - len(mark), start)))
            coded = self.inner(part, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            names = self.inner.convert_ids_to_tokens(coded["input_ids"])
            spans = [(start + a, start + b) for a, b in coded["offset_mapping"]]
            found += zip(names, spans, strict=True)
            start += len(part) + len(mark)
        return found


@lru_cache(maxsize=4)
def load(path: str) -> Tokeniser:
    """Return a tokeniser from a folder, or by its name from the user's cache or the hub.

    Raises:
        UserError: transformers is not installed, there is no such tokeniser, or it lacks what texts need.
    """
    try:
        from transformers import AutoTokenizer  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(f"{PREFIX}{path} needs the package transformers: pip install transformers") from error
    try:
        inner = AutoTokenizer.from_pretrained(path, use_fast=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(
            f"no tokeniser in {path}: {reason}. Give a folder that save_pretrained wrote, or a name in the cache of "
            "Hugging Face (HF_HOME)."
        ) from error
    special = [getattr(inner, f"{name}_token_id") for name in _SPECIAL]
    lacking = [name for name, number in zip(_SPECIAL, special, strict=True) if number is None]
    if lacking or not inner.is_fast:
        what = f"has no {' and no '.join(lacking)} token" if lacking else "is not a fast one, which knows ranges"
        raise UserError(f"the tokeniser {path} {what}; take an encoder's, such as BERT's or RoBERTa's")
    others = sorted(number for number in inner.get_vocab().values() if number not in special)
    ids = (*special, *others)
    return Tokeniser(inner, (*RESERVED, *inner.convert_ids_to_tokens(others)), ids)
