"""From texts as read to a data set: splits, vocabulary, ids; and what readers of text files share."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xfeedback.data import folders
from xfeedback.data.options import Places
from xfeedback.data.source import Part, Source, fingerprint, stratified
from xfeedback.data.text import RESERVED, Text, TextConfig, class_names, encode
from xfeedback.dtypes import Ints
from xfeedback.errors import UserError

Rows = tuple[Sequence[Text], Ints]
"""Texts and their positions in the official set."""


def source(
    config: TextConfig,
    splits: Mapping[str, Rows],
    *,
    names: Sequence[str] = (),
    balanced_accuracy: bool = False,
    stamps: Sequence[str] = (),
) -> Source:
    """Return a data set of texts; the vocabulary is that of the training texts as they are cut.

    Args:
        config: its options.
        splits: ``train``, ``test`` and, where there is one, ``val``.
        names: the classes in order; none: the training labels in alphabetical order.
        balanced_accuracy: whether accuracy is the mean over the classes.
        stamps: what must stand beside every result.

    Raises:
        UserError: a split is empty, or has a label that no training text has.
    """
    for split, (texts, _) in splits.items():
        if not len(texts):
            raise UserError(f"dataset={config.name} has no {split} texts")
    found = class_names(splits["train"][0], [(name, texts) for name, (texts, _) in splits.items() if name != "train"])
    classes = tuple(names) if set(found) <= set(names) else found
    cut = {name: [config.cut(item.text) for item in texts] for name, (texts, _) in splits.items()}
    known = config.vocabulary(cut["train"])
    if len(known) == len(RESERVED):
        raise UserError(f"no token of {config.name} occurs dataset.min_count={config.min_count} times in training")
    length = max(1, *(len(pieces) for texts in cut.values() for pieces in texts))
    marked, parts = config.has_masks, {}
    for name, (texts, index) in splits.items():
        arrays = encode(cut[name], [item.rationale for item in texts], known, length)
        y = np.array([classes.index(item.label) for item in texts], dtype=np.int64)
        parts[name] = Part(y=y, index=index, **(arrays if marked else {"x": arrays["x"]}))
    content = [array for part in parts.values() for array in (part.x, part.y, part.mask) if array is not None]
    return Source(
        kind="text",
        train=parts["train"],
        val=parts.get("val"),
        test=parts["test"],
        class_names=classes,
        vocabulary=known,
        balanced_accuracy=balanced_accuracy,
        object_mask="own" if marked else "none",
        stamps=(
            *stamps,
            *(_share(parts.values()) if marked else ()),
            *(("balanced accuracy",) if balanced_accuracy else ()),
        ),
        fingerprint=fingerprint(*content, np.frombuffer("\n".join(known).encode(), dtype=np.uint8)),
    )


def _share(parts: Iterable[Part]) -> tuple[str, ...]:
    annotated = np.concatenate([part.annotated for part in parts if part.annotated is not None])
    return () if annotated.all() else (f"{100 * annotated.mean():.0f} % annotated",)


def official(**splits: Sequence[Text]) -> dict[str, Rows]:
    """Return splits as they are given: ``train``, ``test`` and perhaps ``val``, which counts on after ``train``."""
    start = {"val": len(splits["train"])}
    return {name: (texts, start.get(name, 0) + np.arange(len(texts))) for name, texts in splits.items()}


def drawn(texts: Sequence[Text], seed: int) -> dict[str, Rows]:
    """Return a stratified split, 80 % to train, 10 % to validate, 10 % to test."""
    y, tenth = _labels(texts), _tenth(texts)
    test = stratified(y, tenth, seed)
    rest = np.setdiff1d(np.arange(len(y)), test)
    val = rest[stratified(y[rest], tenth, seed)]
    return _chosen(texts, {"train": np.setdiff1d(rest, val), "val": val, "test": test})


def validated(train: Sequence[Text], test: Sequence[Text], seed: int) -> dict[str, Rows]:
    """Split a stratified tenth of the training texts off for validation, where the publisher names none."""
    val = stratified(_labels(train), _tenth(train), seed)
    rows = {"train": np.setdiff1d(np.arange(len(train)), val), "val": val}
    return {**_chosen(train, rows), "test": (test, np.arange(len(test)))}


def _tenth(texts: Sequence[Text]) -> int:
    return min(len(texts), max(1, round(0.1 * len(texts))))


def _labels(texts: Sequence[Text]) -> Ints:
    return np.unique([item.label for item in texts], return_inverse=True)[1].astype(np.int64)


def _chosen(texts: Sequence[Text], rows: Mapping[str, Ints]) -> dict[str, Rows]:
    return {name: ([texts[row] for row in chosen], chosen) for name, chosen in rows.items()}


def find(places: Places, names: Sequence[str], files: Sequence[str], what: str, how: str) -> Path:
    """Return the first folder ``text/<name>`` or ``<name>`` that holds all of some files.

    Raises:
        UserError: none does; ``how`` says where to get the set.
    """
    searched = candidates(places, names)
    for folder in searched:
        if all((folder / file).exists() for file in files):
            return folder
    raise UserError(
        f"no {what} ({', '.join(files)}) in {', '.join(map(str, searched))}. {how}, or set XFEEDBACK_DATA to a folder "
        "with it."
    )


def candidates(places: Places, names: Sequence[str]) -> list[Path]:
    """Return the folders a set of texts may lie in."""
    return folders.candidates(places, *(f"{above}{name}" for name in names for above in ("text/", "")))


def decoded(path: Path, encoding: str = "utf-8") -> str:
    """Return a file's text, without a byte-order mark.

    Raises:
        UserError: the file can't be read.
    """
    try:
        return folders.read_bytes(path).decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no {encoding} text: byte {error.start} can't be read. Save it as UTF-8.") from error


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """Yield the lines that are not blank, each after where it stands: ``<path>, line <number>``.

    Raises:
        UserError: the file can't be read.
    """
    for number, line in enumerate(decoded(path, encoding).split("\n"), start=1):
        if line.strip("\r"):
            yield f"{path}, line {number}", line.rstrip("\r")


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a JSONL file, each after where it stands.

    Raises:
        UserError: a line is no JSON object.
    """
    for where, line in lines(path):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} is no JSON: {error}") from error
        if not isinstance(entry, dict):
            raise UserError(f"{where} must be a JSON object, not {line[:40]}")
        if "\\ud" in line.lower() and not _encodes(json.dumps(entry, ensure_ascii=False)):
            raise UserError(f"{where} holds half of a character, such as \\ud83d alone. Mend or remove the line.")
        yield where, entry


def _encodes(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each after where it ends; quoted fields may have several lines.

    Raises:
        UserError: the file can't be read, or a quote is not closed or not doubled within quotes.
    """
    text = decoded(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # 131,072 characters otherwise
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{path}, line {first}: {error}. A field with quotes stands in quotes, and each of its own is doubled."
            ) from error
        if fields:
            yield f"{path}, line {reader.line_num}", fields


def listed(path: Path, read: Callable[[str, str], Text], encoding: str = "utf-8") -> list[Text]:
    """Return the texts of a file with one a line; ``read`` gets where the line stands, and the line.

    Raises:
        UserError: the file can't be read or holds no text, or ``read`` refuses a line.
    """
    texts = [read(where, line) for where, line in lines(path, encoding)]
    if not texts:
        raise UserError(f"{path} holds no text")
    return texts


def labelled(where: str, label: str, names: Mapping[str, str], form: str) -> str:
    """Return the class that a file's label stands for.

    Raises:
        UserError: it stands for none; ``form`` says what a line must look like.
    """
    if label not in names:
        raise UserError(f"{where}: '{label[:30]}' is no label ({', '.join(names)}). A line must be: {form}")
    return names[label]
