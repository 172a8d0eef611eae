"""Texts as token ids: a deterministic tokeniser, a vocabulary of the training texts, padding and human rationales.

Letters: N texts, L tokens of the longest one. Rules: `docs/data.md`, section "Texts".
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from xfeedback.config import require
from xfeedback.data.options import DatasetConfig
from xfeedback.dtypes import Array
from xfeedback.errors import UserError
from xfeedback.kinds import Kind

if TYPE_CHECKING:
    from xfeedback.data.hf_tokeniser import Tokeniser

PADDING, UNKNOWN, SEPARATOR = 0, 1, 2
"""Ids that every vocabulary begins with."""

RESERVED = ("[PAD]", "[UNK]", "[SEP]")
"""The tokens of these ids; a text that holds ``[SEP]`` has a separator there."""

_PATTERNS = {"words": re.compile(r"\[SEP\]|\w+(?:['\u2019]\w+)*|[^\w\s]"), "whitespace": re.compile(r"\S+")}
Span = tuple[int, int]
"""Range of characters ``[start, end)``."""

Piece = tuple[str, Span]
"""A token and where it stands."""


@dataclass(frozen=True, kw_only=True)
class TextConfig(DatasetConfig):
    """Options of sets of texts.

    Attributes:
        tokeniser: ``whitespace``: at blanks, for texts that are tokenised already; ``words``: words with their inner
            apostrophes, and every other character that is no blank by itself; ``hf:<folder or name>``: a tokeniser of
            Hugging Face's, with its own vocabulary and rule for upper case.
        lower: write tokens in lower case.
        max_length: tokens of a text after this many are cut off.
        min_count: tokens seen less often in the training texts are unknown.
        max_size: ids of the vocabulary at most, the commonest tokens first; None: no limit.
        split_seed: of splits that are drawn; the run's seed does not change them.
    """

    kind: ClassVar[Kind] = "text"
    plants_decoys: ClassVar[bool] = False
    tokeniser: str = "whitespace"
    lower: bool = True
    max_length: int = 64
    min_count: int = 2
    max_size: int | None = None
    split_seed: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("max_length", "min_count"):
            require(getattr(self, option) >= 1, option, getattr(self, option), "1 or more")
        known = self.tokeniser in _PATTERNS or (self.tokeniser.startswith("hf:") and len(self.tokeniser) > 3)
        require(known, "tokeniser", self.tokeniser, "whitespace, words or hf:<folder>")
        least = len(RESERVED) + 1
        require(self.max_size is None or self.max_size >= least, "max_size", self.max_size, f"{least} or more")
        require(self.split_seed >= 0, "split_seed", self.split_seed, "0 or more")

    def cut(self, text: str) -> list[Piece]:
        """Return the tokens of a text with their character ranges, ``max_length`` of them at most.

        Raises:
            UserError: the tokeniser can't be had.
        """
        if self.tokeniser in _PATTERNS:
            return tokens(text, self.tokeniser, lower=self.lower)[: self.max_length]
        return self._pretrained.pieces(text)[: self.max_length]

    def vocabulary(self, texts: Iterable[Sequence[Piece]]) -> tuple[str, ...]:
        """Return the tokens of all ids: those of the training texts, or the pretrained tokeniser's own."""
        if self.tokeniser in _PATTERNS:
            cut = ([token for token, _ in pieces] for pieces in texts)
            return vocabulary(cut, self.min_count, self.max_size)
        return self._pretrained.vocabulary

    @property
    def _pretrained(self) -> "Tokeniser":
        from xfeedback.data.hf_tokeniser import load

        return load(self.tokeniser.removeprefix("hf:"))


@dataclass(frozen=True, kw_only=True)
class Text:
    """One text as read.

    Attributes:
        text: its characters.
        label: its class.
        rationale: character ranges ``[start, end)`` that a person marked as the reason; none: not annotated.
    """

    text: str
    label: str
    rationale: tuple[Span, ...] = ()


def tokens(text: str, tokeniser: str, *, lower: bool) -> list[Piece]:
    """Return the tokens of a text by ``whitespace`` or ``words``, with their character ranges ``[start, end)``.

    >>> [token for token, _ in tokens("It's GOOD, is n't it?", "words", lower=True)]
    ["it's", 'good', ',', 'is', "n't", 'it', '?']
    """
    found = ((match.group(), match.span()) for match in _PATTERNS[tokeniser].finditer(text))
    return [(token if token == RESERVED[SEPARATOR] or not lower else token.lower(), span) for token, span in found]


def vocabulary(texts: Iterable[Sequence[str]], min_count: int, max_size: int | None) -> tuple[str, ...]:
    """Return the reserved tokens and those of the texts, by falling count, equal counts in alphabetical order.

    Args:
        texts: tokens of the training texts.
        min_count: a token must occur as often.
        max_size: ids at most, the reserved ones included.

    >>> vocabulary([["b", "a"], ["b", "c", "a"]], min_count=2, max_size=None)
    ('[PAD]', '[UNK]', '[SEP]', 'a', 'b')
    """
    counts = Counter(token for text in texts for token in text)
    known = [token for token, count in counts.items() if count >= min_count and token not in RESERVED]
    known.sort(key=lambda token: (-counts[token], token))
    return (*RESERVED, *known)[:max_size]


def encode(
    texts: Sequence[Sequence[Piece]], rationales: Sequence[Sequence[Span]], known: Sequence[str], length: int
) -> dict[str, Array]:
    """Return ids, rationales and who is annotated as arrays.

    A token is part of the rationale when any of its characters is, separators never. A text without a token becomes
    one unknown token, and a word that is written as padding is unknown, so no row is all padding. A rationale that was
    cut off leaves its text without annotation.

    Args:
        texts: tokens of N texts, at most L each.
        rationales: of each text.
        known: the vocabulary.
        length: L.

    Returns:
        ``x`` ``(N, L)`` int64, padded with 0 at the end; ``mask`` ``(N, L)`` and ``annotated`` ``(N,)`` bool.
    """
    number = {token: position for position, token in enumerate(known) if position != PADDING}
    x = np.full((len(texts), length), PADDING, dtype=np.int64)
    mask = np.zeros((len(texts), length), dtype=bool)
    for row, (pieces, rationale) in enumerate(zip(texts, rationales, strict=True)):
        x[row, : len(pieces)] = [number.get(token, UNKNOWN) for token, _ in pieces]
        if not pieces:
            x[row, 0] = UNKNOWN
        if rationale:
            mask[row, : len(pieces)] = [_touches(span, rationale) for _, span in pieces]
    mask &= x != SEPARATOR
    return {"x": x, "mask": mask, "annotated": np.asarray(mask.any(1))}


def _touches(span: Span, rationale: Sequence[Span]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in rationale)


def marked(text: str, flags: Sequence[bool], where: str) -> tuple[Span, ...]:
    """Return the character ranges of the marked tokens of a text that is split at blanks.

    Args:
        text: its characters.
        flags: one per token.
        where: names the text in the error.

    Raises:
        UserError: there are not as many tokens.
    """
    spans = [match.span() for match in _PATTERNS["whitespace"].finditer(text)]
    if len(spans) != len(flags):
        raise UserError(
            f"{where}: the rationale marks {len(flags)} tokens, and the text has {len(spans)} between blanks"
        )
    return tuple(span for span, flag in zip(spans, flags, strict=True) if flag)


def class_names(train: Sequence[Text], others: Sequence[tuple[str, Sequence[Text]]]) -> tuple[str, ...]:
    """Return the training texts' labels in alphabetical order.

    Args:
        train: the training texts.
        others: further splits by name.

    Raises:
        UserError: there are fewer than two, or another split has one that no training text has.
    """
    names = tuple(sorted({item.label for item in train}))
    if len(names) < 2:
        raise UserError(f"the training texts have {len(names)} label(s), and a classifier needs two or more")
    for split, texts in others:
        strange = sorted({item.label for item in texts}.difference(names))
        if strange:
            raise UserError(
                f"the {split} texts have the label '{strange[0]}', which no training text has "
                f"({', '.join(names)}). Correct it, or add training texts of this class."
            )
    return names
