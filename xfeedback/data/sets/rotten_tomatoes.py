"""Rotten Tomatoes (Pang and Lee 2005): 10,662 sentences of film reviews, half of them positive."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.data import text_sets
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.data.text import Text, TextConfig

NAMES = {"0": "negative", "1": "positive"}
FILE = "rt-polarity.all"
HALVES = {"rt-polarity.neg": "negative", "rt-polarity.pos": "positive"}
FOLDERS = ("rt-polarity", "rt-polaritydata", "rt-polaritydata/rt-polaritydata")
OFFICIAL = 10662


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Options of ``dataset=rotten_tomatoes``; see :class:`xfeedback.data.text.TextConfig`."""

    name: Literal["rotten_tomatoes"] = "rotten_tomatoes"


def read(config: Config, places: Places) -> Source:
    """Return the sentences, split 80/10/10 by class; fewer than all are stamped ``subset``.

    Raises:
        UserError: the files are missing, or a line is not as it should be.
    """
    searched = text_sets.candidates(places, FOLDERS)
    halves = [folder for folder in searched if all((folder / file).exists() for file in HALVES)]
    if halves:
        texts = [
            Text(text=line, label=label)
            for file, label in HALVES.items()
            for _, line in text_sets.lines(halves[0] / file, "latin-1")
        ]
    else:
        how = "Unpack https://www.cs.cornell.edu/people/pabo/movie-review-data/rt-polaritydata.tar.gz there"
        folder = text_sets.find(places, FOLDERS, [FILE], "Rotten Tomatoes", how)
        texts = text_sets.listed(folder / FILE, _row, "latin-1")
    stamps = () if len(texts) == OFFICIAL else ("subset",)
    names = tuple(NAMES.values())
    return text_sets.source(config, text_sets.drawn(texts, config.split_seed), names=names, stamps=stamps)


def _row(where: str, line: str) -> Text:
    label, _, text = line.partition(" ")
    return Text(text=text, label=text_sets.labelled(where, label, NAMES, "label sentence"))
