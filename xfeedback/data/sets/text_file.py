"""Anyone's texts: a TSV, CSV or JSONL file with a text and a label a line, rationales where there are some."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from xfeedback.config import require
from xfeedback.data import text_sets
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.data.text import Span, Text, TextConfig, marked
from xfeedback.errors import UserError, suggest

FORM = "a string of 0 and 1 or a list of them, one per word between blanks, or a list of character ranges [start, end]"


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Options of ``dataset=text_file``.

    A ``.tsv`` file (no quoting) or ``.csv`` file begins with a header; a ``.jsonl`` file has an object a line. A pair
    of texts is written as ``first [SEP] second``. A rationale is a string of 0 and 1 or a list of them, one per word
    between blanks, or a list of character ranges ``[start, end)``; a text without a marked word is not annotated.

    Attributes:
        train, val, test: the files; without ``val`` a stratified tenth of the training texts validates, and without
            ``test`` another tenth tests.
        text_column, label_column, rationale_column: names of columns or fields; the last may be missing.
        balanced_accuracy: accuracy is the mean over the classes.
    """

    name: Literal["text_file"] = "text_file"
    tokeniser: str = "words"
    max_length: int = 256
    train: str | None = None
    val: str | None = None
    test: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    rationale_column: str = "rationale"
    balanced_accuracy: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.test is not None or self.val is None, "val", self.val, "given together with dataset.test")

    @property
    def has_masks(self) -> bool:
        """Whether the training file has a rationale's column, or of a ``.jsonl`` file any entry that field."""
        if self.train is None:
            return False
        entries = rows(Path(self.train))
        looked_at = entries if self.train.lower().endswith(".jsonl") else islice(entries, 1)
        return any(self.rationale_column in row for _, row in looked_at)


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Return the texts of the files.

    Raises:
        UserError: no file is given, one is missing or of another kind, or an entry is not as it should be.
    """
    if config.train is None:
        raise UserError("dataset=text_file needs dataset.train=FILE.tsv, .csv or .jsonl with columns text and label")
    given = {name: getattr(config, name) for name in ("train", "val", "test")}
    texts = {
        name: [text_of(config, where, row) for where, row in rows(Path(file))]
        for name, file in given.items()
        if file is not None
    }
    if "test" not in texts:
        splits = text_sets.drawn(texts["train"], config.split_seed)
    elif "val" not in texts:
        splits = text_sets.validated(texts["train"], texts["test"], config.split_seed)
    else:
        splits = text_sets.official(**texts)
    return text_sets.source(config, splits, balanced_accuracy=config.balanced_accuracy)


def rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the entries by column or field, each after where it stands.

    Raises:
        UserError: the file can't be read, is of another kind, or a line has too few or too many fields.
    """
    kind = path.suffix.lower()
    if kind == ".jsonl":
        yield from text_sets.json_lines(path)
        return
    if kind not in (".tsv", ".csv"):
        raise UserError(f"{path} must be a .tsv, .csv or .jsonl file")
    found = (
        text_sets.csv_rows(path) if kind == ".csv" else ((at, line.split("\t")) for at, line in text_sets.lines(path))
    )
    header = next(found, None)
    if header is None:
        raise UserError(f"{path} is empty; it must begin with a header such as text<TAB>label")
    columns = header[1]
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{header[0]}: several columns are called '{twice}'")
    for where, fields in found:
        if len(fields) != len(columns):
            raise UserError(f"{where} has {len(fields)} field(s), and the header {len(columns)} ({', '.join(columns)})")
        yield where, dict(zip(columns, fields, strict=True))


def text_of(config: Config, where: str, row: Mapping[str, Any]) -> Text:
    """Return the text of an entry.

    Raises:
        UserError: it has no text or label, or its rationale does not fit; the message begins with ``where``.
    """
    for option in ("text_column", "label_column"):
        name = getattr(config, option)
        if name not in row:
            raise UserError(f"{where} has no '{name}'.{suggest(name, row)} Name it with dataset.{option}=...")
    text, label = row[config.text_column], row[config.label_column]
    none = isinstance(label, dict | list | None) or (isinstance(label, float) and math.isnan(label))
    named = "" if none else str(label).strip()
    if not isinstance(text, str) or not named:
        raise UserError(f"{where}: the text must be text and the label a word or number, not {label!r}")
    return Text(text=text, label=named, rationale=_rationale(row.get(config.rationale_column), text, where))


def _rationale(given: Any, text: str, where: str) -> tuple[Span, ...]:
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: the rationale is no list: {error}") from error
    if isinstance(given, str):
        given = list(given.replace(" ", ""))
    flags = {0: False, 1: True, "0": False, "1": True}
    if given is None or given == []:
        return ()
    if isinstance(given, list) and all(isinstance(one, int | str) and one in flags for one in given):
        return marked(text, [flags[one] for one in given], where)
    if isinstance(given, list) and all(_is_range(one, len(text)) for one in given):
        return tuple((start, end) for start, end in given)
    raise UserError(f"{where}: a rationale must be {FORM} within the text")


def _is_range(one: Any, length: int) -> bool:
    whole = isinstance(one, list) and len(one) == 2 and all(type(number) is int for number in one)
    return whole and 0 <= one[0] < one[1] <= length
