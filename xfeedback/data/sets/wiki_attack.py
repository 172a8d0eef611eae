"""Comments of Wikipedia's talk pages, personal attacks or not, with human rationales (Carton, Mei, Resnick 2018)."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.data import text_sets
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.data.text import Text, TextConfig, marked
from xfeedback.errors import UserError

CLASSES = ("not_attack", "attack")
FILE, HEADER = "dev.tsv", "label\tcomment\trationale"


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Options of ``dataset=wiki_attack``; see :class:`xfeedback.data.text.TextConfig`."""

    name: Literal["wiki_attack"] = "wiki_attack"
    max_length: int = 256

    @property
    def has_masks(self) -> bool:
        """People marked the words that make a comment an attack."""
        return True


def read(config: Config, places: Places) -> Source:
    """Return the 549 comments that were put out, split 80/10/10 by class; scored by balanced accuracy.

    A comment without a marked word is not annotated.

    Raises:
        UserError: the file is missing, or a line is not as it should be.
    """
    how = f"Put the comments there: a header {HEADER!r} and a line each, the rationale as a 0 or 1 per word"
    folder = text_sets.find(places, ["wiki_attack_rationales"], [FILE], "comments with rationales", how)
    (where, header), *rows = text_sets.lines(folder / FILE)
    if header != HEADER:
        raise UserError(f"{where} must be the header {HEADER!r}")
    texts = [_row(place, row) for place, row in rows]
    splits = text_sets.drawn(texts, config.split_seed)
    return text_sets.source(config, splits, names=CLASSES, balanced_accuracy=True)


def _row(where: str, line: str) -> Text:
    fields = line.split("\t")
    if len(fields) != 3:
        raise UserError(f"{where} has {len(fields)} field(s), expected label<TAB>comment<TAB>rationale")
    label = text_sets.labelled(where, fields[0], {name: name for name in CLASSES}, "label<TAB>comment<TAB>rationale")
    return Text(text=fields[1], label=label, rationale=marked(fields[1], [c == "1" for c in fields[2]], where))
