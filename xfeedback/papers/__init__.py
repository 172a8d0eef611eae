"""Published numbers: one YAML file a paper, read with a schema check.

Every file has the same shape, repeated at its top::

    paper: xbl                  # name of the method in this package
    title: ...                  # of the paper
    reference: ...              # authors, year, venue, arXiv number
    blocks:                     # values that share a unit, a source and a note
      - name: table_1
        origin: paper           # paper | released code | third party
        unit: "%"               # null when unknown
        source: "Table 1"       # where it can be read; null when it can't
        note: ...               # or null
        protocol: null          # the variant of ours that follows the same protocol (paper | clean); null: any
        not_comparable: null    # why no row of ours may be judged against it; null when one may
        cells:
          - {dataset: mnist, method: saliency_guided, metric: acc/test, value: null}

``value`` is a number, a list of numbers (a pair or a range, as the unit or note says) or null: not published in reach.
Nothing here was measured by this project.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from xfeedback.errors import UserError

FOLDER = Path(__file__).parent
ORIGINS = ("paper", "released code", "third party")
_FILE_KEYS = {"paper", "title", "reference", "blocks"}
_BLOCK_KEYS = {"name", "origin", "unit", "source", "note", "protocol", "not_comparable", "cells"}
_CELL_KEYS = {"dataset", "method", "metric", "value"}
_PROTOCOLS = (None, "paper", "clean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One number that somebody published.

    Attributes:
        paper: name of the file's paper.
        block: name of the table or list it stands in.
        dataset: as this package names it, where it has it.
        method: as this package names it, where it has it.
        metric: as in ``result.json``, where it has it.
        value: a number, several (see ``unit`` and ``note``), or None when it is not published in reach.
        origin: who says so, one of :data:`ORIGINS`.
        protocol: variant of ours that follows the same protocol; None: any.
        not_comparable: why no row of ours may be judged against it, or None.
    """

    paper: str
    block: str
    dataset: str
    method: str
    metric: str
    value: float | tuple[float, ...] | None
    unit: str | None
    source: str | None
    note: str | None
    origin: str
    protocol: str | None
    not_comparable: str | None

    @property
    def number(self) -> float:
        """The value of a cell that has exactly one.

        Raises:
            ValueError: there is none, or several.
        """
        if not isinstance(self.value, float):
            raise ValueError(f"{self.paper}: {self.block} has no single value")
        return self.value


def published(dataset: str, method: str, metric: str, protocol: str | None = None) -> Published | None:
    """The number that the method's own paper reports for this combination, or None when there is none in reach.

    Args:
        dataset: name of the data set.
        method: name of the method; ``plain`` finds the paper's own baseline.
        metric: name of the metric as in ``result.json``.
        protocol: variant of the run; None finds a number under any protocol.
    """
    for cell in _index().get((dataset, method, metric), ()):
        if protocol is None or cell.protocol in (None, protocol):
            return cell
    return None


def load(path: Path) -> tuple[Published, ...]:
    """Read and check one paper's file.

    Raises:
        UserError: the file does not follow the schema; the message names the file and the place.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} is no valid YAML: {' '.join(str(error).split())}") from error
    _keys(content, _FILE_KEYS, path.name)
    _list(content["blocks"], path.name)
    return tuple(cell for block in content["blocks"] for cell in _block(content["paper"], block, path.name))


@cache
def everything() -> tuple[Published, ...]:
    """All cells of all papers in this folder, null ones too."""
    return tuple(cell for path in sorted(FOLDER.glob("*.yaml")) for cell in load(path))


@cache
def _index() -> Mapping[tuple[str, str, str], list[Published]]:
    index: dict[tuple[str, str, str], list[Published]] = {}
    for cell in everything():
        if cell.origin == "paper" and isinstance(cell.value, float):
            index.setdefault((cell.dataset, cell.method, cell.metric), []).append(cell)
    return index


def _block(paper: str, block: Any, where: str) -> Iterator[Published]:
    name = block.get("name", "a block without name") if isinstance(block, dict) else "a block"
    where = f"{where}, {name}"
    _keys(block, _BLOCK_KEYS, where)
    for key, choices in (("origin", ORIGINS), ("protocol", _PROTOCOLS)):
        if block[key] not in choices:
            raise UserError(f"{where}: {key} is {block[key]}, must be one of {', '.join(map(str, choices))}")
    shared = {key: block[key] for key in ("unit", "source", "note", "origin", "protocol", "not_comparable")}
    _list(block["cells"], where)
    seen = set()
    for cell in block["cells"]:
        _keys(cell, _CELL_KEYS, where)
        names = tuple(cell[key] for key in ("dataset", "method", "metric"))
        if names in seen or not all(isinstance(text, str) for text in names):
            raise UserError(f"{where}: {names} stands twice or holds something that is no text")
        seen.add(names)
        yield Published(paper=paper, block=block["name"], **{**cell, "value": _value(cell["value"], where)}, **shared)


def _value(value: Any, where: str) -> float | tuple[float, ...] | None:
    if value is None:
        return None
    if isinstance(value, list) and value:
        return tuple(_number(item, where) for item in value)
    return _number(value, where)


def _number(value: Any, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise UserError(f"{where}: value {value} is neither a number nor a list of numbers nor null")


def _list(value: Any, where: str) -> None:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: expected a list of blocks or cells, found {value}")


def _keys(mapping: Any, expected: set[str], where: str) -> None:
    if not isinstance(mapping, dict) or set(mapping) != expected:
        found = sorted(map(str, mapping)) if isinstance(mapping, dict) else mapping
        raise UserError(f"{where}: expected the keys {', '.join(sorted(expected))}; found {found}")
