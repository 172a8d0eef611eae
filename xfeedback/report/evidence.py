"""What the page shows beside numbers: learning curves and explanation maps, read from run folders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from xfeedback.report.collect import Run
from xfeedback.report.rows import Group, Row
from xfeedback.report.series import as_images

_MAP = "map/"
_EXPLANATIONS = "explanations.npz"
_KINDS = {"image": "images", "series": "series", "text": "tokens"}
MOST_COLUMNS = 12
"""Rows whose explanations are drawn; more would not fit a page."""
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """Explanations of one run for N test samples.

    Attributes:
        kind: ``image``, ``series`` (drawn as images) or ``text``.
        inputs: images uint8 (N, H, W, C), or tokens (N, L).
        mask: annotation, bool (N, H, W) or (N, L), or None.
        wrong: decoy, likewise, or None.
        valid: which tokens are no padding, bool (N, L), or None: all.
        label: true class (N,).
        prediction: predicted class (N,).
        index: position in the test set (N,).
        maps: scaled to [0, 1], (N, H, W) or (N, L) by explainer.
    """

    kind: str = "image"
    inputs: NDArray[Any]
    mask: NDArray[np.bool_] | None
    wrong: NDArray[np.bool_] | None
    valid: NDArray[np.bool_] | None = None
    label: NDArray[Any]
    prediction: NDArray[Any]
    index: NDArray[Any]
    maps: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Curves and maps of one group.

    Attributes:
        histories: epoch records by row label and seed, unfinished and failed runs included.
        seed: the seed whose explanations are shown, or None when there are none.
        explanations: by row label, for that seed; at most :data:`MOST_COLUMNS`.
        left_out: how many further rows have explanations that are not drawn.
        warnings: one line for each damaged file.
    """

    histories: Mapping[str, Mapping[int, Sequence[Record]]]
    seed: int | None
    explanations: Mapping[str, Explanations]
    left_out: int
    warnings: tuple[str, ...]


def gather(group: Group) -> Evidence:
    """Read the curves of all runs of ``group`` and the explanations of one seed."""
    warnings: list[str] = []
    histories = {row.label: {run.seed: read_history(run.folder, warnings) for run in row.runs} for row in group.rows}
    seed = _seed(group.rows)
    folders = {row.label: run.folder for row in group.rows for run in row.done if run.seed == seed and _has_maps(run)}
    found = {label: read_explanations(folders[label], warnings) for label in list(folders)[:MOST_COLUMNS]}
    explanations = {label: value for label, value in found.items() if value is not None}
    return Evidence(
        histories=histories,
        seed=seed if explanations else None,
        explanations=explanations,
        left_out=max(len(folders) - MOST_COLUMNS, 0),
        warnings=tuple(warnings),
    )


def read_history(folder: Path, warnings: list[str]) -> list[Record]:
    """Epoch records of one run, in order; an epoch that stands twice (a resumed run) counts as last written.

    A last line cut short by a kill is left out silently; any other damaged line adds one warning.
    """
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    records: dict[tuple[str, Any], Record] = {}
    damaged = [number for number, line in enumerate(lines, 1) if not _add(line, records)]
    if damaged and damaged != [len(lines)]:
        warnings.append(f"{path}: line {damaged[0]} is damaged; the others are used")
    return list(records.values())


def read_explanations(folder: Path, warnings: list[str]) -> Explanations | None:
    """The explanations of one run; None (with a warning) when they are damaged."""
    path = folder / _EXPLANATIONS
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _checked(arrays)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        warnings.append(f"{path} is damaged and was not used: {' '.join(str(error).split())}")
        return None


def _checked(arrays: Mapping[str, NDArray[Any]]) -> Explanations:
    kind = next((kind for kind, name in _KINDS.items() if name in arrays), "image")
    if kind == "series":
        arrays = as_images(arrays)
    inputs = arrays["tokens" if kind == "text" else "images"]
    shape = inputs.shape[: 2 if kind == "text" else 3]
    maps = {name.removeprefix(_MAP): array for name, array in arrays.items() if name.startswith(_MAP)}
    if odd := [name for name in maps if not name.isidentifier()]:
        raise ValueError(f"explainer {odd[0]!r} is no plain name")
    masks = {name: arrays[name].astype(bool) for name in ("mask", "wrong", "valid") if name in arrays}
    for name, array in {**maps, **masks}.items():
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, the {kind}s {inputs.shape}")
    vectors = {name: arrays[name] for name in ("label", "prediction", "index")}
    form = "(N, L)" if kind == "text" else "(N, H, W, C)"
    if inputs.ndim != form.count(",") + 1 or any(vector.shape != shape[:1] for vector in vectors.values()):
        raise ValueError(f"{kind}s {inputs.shape} must be {form} with labels, predictions and indices (N,)")
    regions = {name: masks.get(name) for name in ("mask", "wrong", "valid")}
    return Explanations(kind=kind, inputs=inputs, maps=maps, **regions, **vectors)


def _has_maps(run: Run) -> bool:
    return (run.folder / _EXPLANATIONS).is_file()


def _seed(rows: Sequence[Row]) -> int | None:
    """The seed that most rows have explanations for, the smallest of several."""
    seeds = [run.seed for row in rows for run in row.done if _has_maps(run)]
    return min(set(seeds), key=lambda seed: (-seeds.count(seed), seed), default=None)


def _add(line: str, records: dict[tuple[str, Any], Record]) -> bool:
    try:
        record = json.loads(line)
        records[str(record.get("phase", "0")), record["epoch"]] = record
    except (ValueError, KeyError, AttributeError, TypeError):
        return not line.strip()
    return True
