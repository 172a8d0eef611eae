"""SST-2, the Stanford Sentiment Treebank (Socher et al. 2013) with two classes: sentences of film reviews."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xfeedback.data import folders, text_sets
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.data.text import Text, TextConfig, marked
from xfeedback.errors import UserError

CLASSES = ("negative", "positive")
SIGNS = {-1: "negative", 0: "neutral", 1: "positive"}
OFFICIAL = (6920, 872, 1821)
URL = "https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip"
MD5 = "5c3b23ce88089053fd3efeb4a34f614d"
FILES = ("trees/train.txt", "trees/dev.txt", "trees/test.txt")
_LEAF = re.compile(r"\(([0-4]) ([^()\s]+)\)")
_ESCAPED = {"-LRB-": "(", "-RRB-": ")", "\\/": "/", "\\*": "*"}


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Options of ``dataset=sst2``.

    Attributes:
        form: ``trees``: the publisher's trees, in which people judged every word too: a word whose own judgement has
            the sentence's sign is right evidence. ``tsv``: ``train.tsv``, ``dev.tsv``, ``test.tsv`` with a
            ``sentence<TAB>label`` a line, no evidence.
    """

    name: Literal["sst2"] = "sst2"
    form: Literal["trees", "tsv"] = "trees"

    @property
    def has_masks(self) -> bool:
        """Whether words are judged."""
        return self.form == "trees"


def read(config: Config, places: Places) -> Source:
    """Return the sentences of the official splits without the neutral ones; fewer than all are stamped ``subset``.

    Raises:
        UserError: the files are missing and can't be downloaded, or a line is not as it should be.
    """
    train, val, test = _trees(places) if config.form == "trees" else _tsv(places)
    stamps = () if (len(train), len(val), len(test)) == OFFICIAL else ("subset",)
    return text_sets.source(config, text_sets.official(train=train, val=val, test=test), names=CLASSES, stamps=stamps)


def _trees(places: Places) -> list[list[Text]]:
    searched = text_sets.candidates(places, ["SST-trees"])
    there = [folder for folder in searched if all((folder / file).exists() for file in FILES)]
    folder = there[0] if there else folders.download("SST-2 trees", searched[0], searched, _fetch)
    return [[item for item in text_sets.listed(folder / file, tree) if item.label != "neutral"] for file in FILES]


def _fetch(folder: Path) -> Path:
    from torchvision.datasets.utils import download_and_extract_archive

    made = folder / "SST-trees"
    download_and_extract_archive(URL, str(made), md5=MD5, remove_finished=True)
    return made


def tree(where: str, line: str) -> Text:
    """Return the sentence of a tree ``(3 (2 It) (4 works))``: label, words, and those judged like the sentence.

    Raises:
        UserError: the line is no tree.
    """
    leaves = _LEAF.findall(line)
    if not leaves or not re.match(r"\([0-4] ", line) or line.count("(") != line.count(")"):
        raise UserError(f"{where} is no tree like (3 (2 It) (4 works)): {line[:40]}")
    sign = _sign(line[1])
    words = " ".join(_unescaped(word) for _, word in leaves)
    same = [sign != 0 and _sign(label) == sign for label, _ in leaves]
    return Text(text=words, label=SIGNS[sign], rationale=marked(words, same, where))


def _sign(label: str) -> int:
    return (int(label) > 2) - (int(label) < 2)


def _unescaped(word: str) -> str:
    for written, meant in _ESCAPED.items():
        word = word.replace(written, meant)
    return word


def _tsv(places: Places) -> list[list[Text]]:
    files = ("train.tsv", "dev.tsv", "test.tsv")
    how = f"Put the three files there, or take dataset.form=trees, which comes from {URL}"
    folder = text_sets.find(places, ["SST-2"], files, "SST-2", how)
    return [text_sets.listed(folder / file, _row) for file in files]


def _row(where: str, line: str) -> Text:
    text, _, label = line.rpartition("\t")
    names = {"0": "negative", "1": "positive"}
    return Text(text=text, label=text_sets.labelled(where, label, names, "sentence<TAB>label"))
