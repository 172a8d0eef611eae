"""Anyone's texts in the format of the ERASER benchmark: ``dataset=eraser_folder dataset.root=FOLDER``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xfeedback.data import eraser, text_sets
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.data.text import TextConfig
from xfeedback.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Options of ``dataset=eraser_folder``; the format stands in :mod:`xfeedback.data.eraser`.

    Attributes:
        root: the folder.
        query: put the query before the document, with a separator between them.
    """

    name: Literal["eraser_folder"] = "eraser_folder"
    max_length: int = 512
    root: str | None = None
    query: bool = True

    @property
    def has_masks(self) -> bool:
        """Entries have evidences."""
        return True


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Return the texts in the folder's splits.

    Raises:
        UserError: no folder is given, a file is missing, or an entry is not as it should be.
    """
    if config.root is None:
        raise UserError(f"dataset=eraser_folder needs dataset.root=FOLDER with docs/ and {', '.join(eraser.FILES)}")
    splits = eraser.read(Path(config.root), query=config.query)
    return text_sets.source(config, text_sets.official(**splits))
