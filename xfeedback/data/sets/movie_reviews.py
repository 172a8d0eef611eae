"""Long movie reviews (Pang and Lee 2004, polarity dataset v2.0): 2,000 reviews, half of them positive."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xfeedback.data import folders, text_sets
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.data.text import Text, TextConfig
from xfeedback.errors import UserError

LABELS = {"neg": "negative", "pos": "positive"}
ARCHIVE, FOLDER = "review_polarity.tar.gz", "txt_sentoken"
OFFICIAL = 2000


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Options of ``dataset=movie_reviews``; see :class:`xfeedback.data.text.TextConfig`."""

    name: Literal["movie_reviews"] = "movie_reviews"
    max_length: int = 512


def read(config: Config, places: Places) -> Source:
    """Return the reviews, split 80/10/10 by class; fewer than all are stamped ``subset``.

    Raises:
        UserError: the files are missing or damaged.
    """
    texts = [Text(text=text, label=LABELS[label]) for label, text in sorted(_reviews(places))]
    stamps = () if len(texts) == OFFICIAL else ("subset",)
    if not texts:
        raise UserError(f"no {FOLDER}/neg/*.txt and {FOLDER}/pos/*.txt among the movie reviews: restore the files")
    names = tuple(LABELS.values())
    return text_sets.source(config, text_sets.drawn(texts, config.split_seed), names=names, stamps=stamps)


def _reviews(places: Places) -> Iterator[tuple[str, str]]:
    searched = text_sets.candidates(places, ["review_polarity"])
    for folder in searched:
        if (folder / FOLDER).is_dir():
            for path in sorted((folder / FOLDER).glob("*/*.txt")):
                if path.parent.name in LABELS:
                    yield path.parent.name, _joined(folders.read_bytes(path))
            return
        if (folder / ARCHIVE).exists():
            yield from _packed(folder / ARCHIVE)
            return
    raise UserError(
        f"no movie reviews ({ARCHIVE} or {FOLDER}/) in {', '.join(map(str, searched))}. Put "
        f"https://www.cs.cornell.edu/people/pabo/movie-review-data/{ARCHIVE} there, or set XFEEDBACK_DATA to a folder "
        "with it."
    )


def _packed(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(folders.read_bytes(path)), mode="r:gz") as archive:
            for member in archive:
                place = Path(member.name)
                file = archive.extractfile(member) if place.suffix == ".txt" else None
                if file is not None and place.parent.name in LABELS:
                    yield place.parent.name, _joined(file.read())
    except (tarfile.TarError, OSError, EOFError) as error:
        raise folders.damaged(path, error) from error


def _joined(content: bytes) -> str:
    return " ".join(content.decode("latin-1").split())
