"""TREC questions (Li and Roth 2002): what a question asks for, six classes, 5,452 + 500 questions."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.data import text_sets
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.data.text import Text, TextConfig
from xfeedback.errors import UserError

CLASSES = ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM")
NAMES = {str(number): name for number, name in enumerate(CLASSES)} | {name: name for name in CLASSES}
FILES = (("TREC.train.all", "TREC.test.all"), ("train_5500.label", "TREC_10.label"))
OFFICIAL = (5452, 500)


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Options of ``dataset=trec``; see :class:`xfeedback.data.text.TextConfig`."""

    name: Literal["trec"] = "trec"


def read(config: Config, places: Places) -> Source:
    """Return the questions; a tenth of the training set validates. Fewer than all are stamped ``subset``.

    Raises:
        UserError: the files are missing, or a line is not as it should be.
    """
    searched = text_sets.candidates(places, ["TREC"])
    pairs = [(folder / train, folder / test) for folder in searched for train, test in FILES]
    there = [pair for pair in pairs if all(path.exists() for path in pair)]
    if not there:
        raise UserError(
            f"no TREC questions in {', '.join(map(str, searched))}. Put train_5500.label and TREC_10.label of "
            "https://cogcomp.seas.upenn.edu/Data/QA/QC/ there, or set XFEEDBACK_DATA to a folder with them."
        )
    train, test = (text_sets.listed(path, _row, "latin-1") for path in there[0])
    stamps = () if (len(train), len(test)) == OFFICIAL else ("subset",)
    splits = text_sets.validated(train, test, config.split_seed)
    return text_sets.source(config, splits, names=CLASSES, stamps=stamps)


def _row(where: str, line: str) -> Text:
    label, _, text = line.partition(" ")
    found = text_sets.labelled(where, label.partition(":")[0], NAMES, "label question")
    return Text(text=text, label=found)
