"""Find and read run folders, from this machine or another; nothing but files is needed."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from glob import glob, has_magic
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import yaml

from xfeedback.errors import UserError

Status = Literal["done", "failed", "unfinished"]
_RANK: dict[Status, int] = {"done": 2, "failed": 1, "unfinished": 0}
_NAME = re.compile(r"(?P<dataset>.+?)-(?P<model>.+?)-(?P<method>.+)-s(?P<seed>\d+)-(?P<hash>[0-9a-f]{6,})")
_MARKS = ("result.json", "error.json", "provenance.json", "metrics.jsonl")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder as it was found: one method, data set, model and seed.

    Attributes:
        folder: where it lies.
        status: ``done`` (result.json), ``failed`` (error.json), ``unfinished`` (neither: killed or still running).
        cell: identifies the configuration without its seed; empty when the folder does not say.
        metrics: final metrics by name, accuracies in percent; empty unless done.
        matrices: of incremental training, accuracy on each test after each phase, as in ``result.json``; else empty.
        reliability: bins of confidence, as in ``result.json``; else empty.
        reason: why it failed, or None.
        seconds: how long it took, evaluation included; None unless done.
        stamps: what makes the numbers special, e.g. ``subset``.
        provenance: content of ``provenance.json``, empty when there is none.
    """

    folder: Path
    dataset: str
    model: str
    method: str
    seed: int
    cell: str
    variant: str
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    matrices: Mapping[str, Any] = field(default_factory=dict)
    reliability: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    seconds: float | None = None
    stamps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    resumed: bool = False
    finished_at: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's own name, the same on every machine."""
        return self.folder.name

    @property
    def data(self) -> str | None:
        """Fingerprint of the data that it read, or None when it is not known."""
        data = self.provenance.get("data")
        return str(data.get("fingerprint") or "") or None if isinstance(data, Mapping) else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, read when first asked for; empty when the file is missing or damaged."""
        try:
            loaded = yaml.load((self.folder / "config.yaml").read_text(), Loader=_LOADER)  # noqa: S506 a safe loader
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    @cached_property
    def confusion(self) -> dict[str, Any]:
        """Content of ``confusion.json``, read when first asked for; empty when the run kept none or it is damaged."""
        return _json(self.folder / "confusion.json", []) or {}


@dataclass(frozen=True, slots=True)
class Collected:
    """Runs in the order in which they were found, and one line for each thing that was wrong."""

    runs: tuple[Run, ...]
    warnings: tuple[str, ...]


def collect(paths: Sequence[str | Path]) -> Collected:
    """Read all run folders named by ``paths``.

    Args:
        paths: run folders, folders that hold some at any depth, or glob patterns. A run found twice (same name) is
            kept once, the finished copy before an unfinished one.

    Raises:
        UserError: a path does not exist, or there is no run folder in any of them.
    """
    warnings: list[str] = []
    found: dict[str, Run] = {}
    for folder in _folders(paths, warnings):
        run = _read(folder, warnings)
        if run is None:
            continue
        known = found.get(run.name)
        if known is not None and known.status == run.status == "done" and known.metrics != run.metrics:
            warnings.append(f"{run.folder} and {known.folder} differ in their metrics; the latter is used")
        if known is None or _RANK[run.status] > _RANK[known.status]:
            found[run.name] = run
    if not found:
        places = ", ".join(str(p) for p in paths) or "nothing"
        raise UserError(
            f"no run folder in {places}. A run folder holds config.yaml and result.json, e.g. outputs/runs/*."
        )
    return Collected(tuple(found.values()), tuple(warnings))


def _folders(paths: Sequence[str | Path], warnings: list[str]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        start = len(seen)
        for place in _expand(path):
            for folder in _search(place):
                if (resolved := folder.resolve()) not in seen:
                    seen.add(resolved)
                    yield folder
        if len(seen) == start and start:
            warnings.append(f"{path}: no further run folder in it")


def _expand(path: str | Path) -> list[Path]:
    text = str(path)
    if Path(text).exists():
        return [Path(text)]
    matches = sorted(glob(text, recursive=True)) if has_magic(text) else []  # noqa: PTH207 a user's pattern may be absolute
    if not matches:
        raise UserError(f"{text} does not exist. Give run folders or a folder that holds some, e.g. outputs/runs.")
    return [Path(match) for match in matches]


def _search(place: Path) -> Iterator[Path]:
    """Yield the run folders at or below ``place``, by name; never looks inside a run folder or a hidden one.

    A link counts where it is one to a run folder. Runs that options were tuned with are found only below a folder of
    ``studies`` itself.
    """
    if not place.is_dir():
        return
    if _is_run(place):
        yield place
        return
    for child in sorted(place.iterdir()):
        visible = child.is_dir() and child.name != "studies" and not child.name.startswith(".")
        if visible and (_is_run(child) or not child.is_symlink()):
            yield from _search(child)


def _is_run(folder: Path) -> bool:
    if not (folder / "config.yaml").is_file():
        return False
    return bool(_NAME.fullmatch(folder.name)) or any((folder / mark).is_file() for mark in _MARKS)


def _read(folder: Path, warnings: list[str]) -> Run | None:
    files = {name: _json(folder / f"{name}.json", warnings) for name in ("result", "error", "provenance")}
    provenance = files["provenance"] or {}
    status, record, reason = _status(files)
    who = _identity(folder, (record, provenance))
    if who is None:
        warnings.append(
            f"{folder}: neither its files nor its name say which data set, model, method and seed it is; left out"
        )
        return None
    data = provenance.get("data")
    stamps = record.get("stamps") or (data.get("stamps") if isinstance(data, Mapping) else None) or ()
    return Run(
        folder=folder,
        **who,
        status=status,
        metrics=_numbers(record.get("metrics"), folder, warnings) if status == "done" else {},
        matrices=found if isinstance(found := record.get("matrices"), Mapping) else {},
        reliability=found if isinstance(found := record.get("reliability"), Mapping) else {},
        reason=reason,
        seconds=float(found) if status == "done" and isinstance(found := record.get("seconds"), int | float) else None,
        stamps=_texts(stamps),
        notes=_texts(record.get("notes") or ()),
        resumed=bool(record.get("resumed", False)),
        finished_at=record.get("finished_at") or record.get("at"),
        provenance=provenance,
    )


def _status(files: Mapping[str, dict[str, Any] | None]) -> tuple[Status, dict[str, Any], str | None]:
    result, error = files["result"], files["error"]
    if result:
        return "done", result, None
    if result is not None:
        return "failed", {}, "result.json is damaged"
    if error is not None:
        return "failed", error, _one_line(error.get("error") or "error.json is damaged")
    return "unfinished", {}, None


def _json(path: Path, warnings: list[str]) -> dict[str, Any] | None:
    """Content of ``path``; None when there is no such file, empty (with a warning) when it is damaged."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        warnings.append(f"{path} is damaged and was not used: {_one_line(error)}")
        return {}
    if not isinstance(value, dict) or not value:
        warnings.append(f"{path} is damaged and was not used: expected a filled JSON object")
        return {}
    return value


def _identity(folder: Path, records: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Data set, model, method, seed, cell and variant: as recorded, else as the folder is named."""
    match = _NAME.fullmatch(folder.name)
    merged: dict[str, Any] = {"cell": "", "variant": ""} | (match.groupdict() if match else {})
    for record in reversed(list(records)):
        merged |= {
            key: record[key]
            for key in ("dataset", "model", "method", "seed", "cell", "variant")
            if record.get(key) is not None
        }
    try:
        texts = {key: str(merged[key]) for key in ("dataset", "model", "method", "cell", "variant")}
        return {**texts, "seed": int(merged["seed"])}
    except (KeyError, ValueError):
        return None


def _numbers(metrics: Any, folder: Path, warnings: list[str]) -> dict[str, float]:
    kept: dict[str, float] = {}
    for name, value in metrics.items() if isinstance(metrics, Mapping) else ():
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            kept[name] = float(value)
        else:
            warnings.append(f"{folder / 'result.json'}: {name} is {value}, not a finite number; left out")
    return kept


def _texts(values: Any) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(str(value) for value in values)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
