"""Texts in the format of the ERASER benchmark (DeYoung et al. 2020): documents, and JSONL files with evidences.

In the folder: ``train.jsonl``, ``val.jsonl``, ``test.jsonl`` with a line each of ``annotation_id``, ``query``,
``classification``, ``docids`` and ``evidences``; the documents as ``docs/<docid>`` or in ``docs.jsonl``, tokens between
blanks.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xfeedback.data import folders, text_sets
from xfeedback.data.text import RESERVED, SEPARATOR, Text, marked
from xfeedback.errors import UserError

FILES = ("train.jsonl", "val.jsonl", "test.jsonl")
Documents = Callable[[str, str], list[str]]
"""Tokens of a document by its id; the second argument says where it is named."""


def read(folder: Path, *, query: bool) -> dict[str, list[Text]]:
    """Return the texts by split: ``query [SEP] document``, several documents with a separator between them.

    Evidences mark tokens of documents from ``start_token`` to before ``end_token``; all groups count.

    Args:
        folder: see the module.
        query: put the query, where there is one, before the document.

    Raises:
        UserError: a file is missing, or an entry does not fit its document.
    """
    documents = _documents(folder)
    return {
        split: [_text(where, entry, documents, query) for where, entry in text_sets.json_lines(folder / file)]
        for split, file in zip(("train", "val", "test"), FILES, strict=True)
    }


def _documents(folder: Path) -> Documents:
    packed = {}
    if (folder / "docs.jsonl").exists():
        for where, entry in text_sets.json_lines(folder / "docs.jsonl"):
            packed[_field(entry, "docid", str, where)] = _field(entry, "document", str, where).split()
    known: dict[str, list[str]] = packed

    def document(name: str, where: str) -> list[str]:
        if name not in known:
            path = folder / "docs" / name
            if not path.is_file() or ".." in Path(name).parts:
                raise UserError(f"{where} names the document '{name}', and there is no {path}")
            known[name] = folders.read_bytes(path).decode("utf-8", errors="replace").split()
        return known[name]

    return document


def _text(where: str, entry: Mapping[str, Any], documents: Documents, query: bool) -> Text:
    evidences = [one for group in _field(entry, "evidences", list, where) for one in _group(group, where)]
    names = entry.get("docids") or [_field(one, "docid", str, where) for one in evidences]
    names = list(dict.fromkeys(names)) or [_field(entry, "annotation_id", str, where)]
    asked = str(entry.get("query") or "").split() if query else []
    parts = [(None, asked)] if asked else []
    parts += [(name, documents(name, where)) for name in names]
    words: list[str] = []
    starts: dict[str | None, tuple[int, int]] = {}
    for name, part in parts:
        words += [RESERVED[SEPARATOR]] if words else []
        starts[name] = len(words), len(part)
        words += part
    flags = [False] * len(words)
    for one in evidences:
        start, end = _range(one, starts, where)
        flags[start:end] = [True] * (end - start)
    text = " ".join(words)
    label = str(_field(entry, "classification", str, where))
    return Text(text=text, label=label, rationale=marked(text, flags, where))


def _group(group: Any, where: str) -> Sequence[Mapping[str, Any]]:
    found = group if isinstance(group, list) else [group]
    if not all(isinstance(one, dict) for one in found):
        raise UserError(f"{where}: evidences must be lists of objects with docid, start_token and end_token")
    return found


def _range(one: Mapping[str, Any], starts: Mapping[str | None, tuple[int, int]], where: str) -> tuple[int, int]:
    name = _field(one, "docid", str, where)
    start, end = (_field(one, key, int, where) for key in ("start_token", "end_token"))
    if name not in starts:
        raise UserError(f"{where} has evidence in the document '{name}', which is not among its docids")
    offset, length = starts[name]
    if not 0 <= start < end <= length:
        raise UserError(f"{where}: evidence from token {start} to {end} of '{name}', which has {length} tokens")
    return offset + start, offset + end


def _field(entry: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind):
        raise UserError(f"{where}: the field '{key}' must be {_KINDS[kind]}, not {str(value)[:30]}")
    return value


_KINDS = {str: "text", int: "a whole number", list: "a list"}
