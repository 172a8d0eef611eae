"""Movie Reviews of the ERASER benchmark (DeYoung et al. 2020; Zaidan and Eisner 2008): reviews with rationales."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.data import eraser, text_sets
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.data.text import TextConfig

CLASSES = ("NEG", "POS")


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Options of ``dataset=movie_rationales``; see :class:`xfeedback.data.text.TextConfig`."""

    name: Literal["movie_rationales"] = "movie_rationales"
    max_length: int = 512

    @property
    def has_masks(self) -> bool:
        """People marked the passages that support the label."""
        return True


def read(config: Config, places: Places) -> Source:
    """Return the reviews in their official splits, without the query, which is the same for all.

    Raises:
        UserError: the files are missing, or an entry is not as it should be.
    """
    how = "Unpack https://www.eraserbenchmark.com/zipped/movies.tar.gz there"
    folder = text_sets.find(places, ["movies", "eraser/movies"], eraser.FILES, "ERASER movie reviews", how)
    return text_sets.source(config, text_sets.official(**eraser.read(folder, query=False)), names=CLASSES)
