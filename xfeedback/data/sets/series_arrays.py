"""Anyone's series as arrays in one ``.npz`` or ``.pt`` file; see :class:`Config`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xfeedback.data import arrays, series
from xfeedback.data.options import Places
from xfeedback.data.series import Series
from xfeedback.data.source import Part, Source, fingerprint, stratified
from xfeedback.dtypes import Array, Bools
from xfeedback.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config(arrays.ArraysConfig, series.SeriesConfig):
    """Options of ``dataset=series_arrays``.

    The file is as :class:`~xfeedback.data.arrays.ArraysConfig` says; series are ``(N, T, F)`` or ``(N, T)``, NaN where
    a value is missing or a series has ended, ``mask`` and ``wrong`` ``(N, T, F)``. Without test series in it a fifth
    tests.
    """

    name: Literal["series_arrays"] = "series_arrays"


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Return the series of the file.

    Raises:
        UserError: no file is given, its arrays are not as :class:`Config` says, or a series can't be used.
    """
    path = config.path
    found = arrays.read(path)
    parts = {name: dict(part) for name, part in found.parts.items()}
    if "all" in parts:
        parts = _drawn(parts["all"], config)
    held = len(parts["val"]["y"]) if "val" in parts else 0
    items = {name: _items(path, name, part, found.class_names) for name, part in parts.items()}
    told = replace(config, val_share=0.0) if held else config
    source = series.source(told, [*items["train"], *items.get("val", [])], items["test"])
    if set(source.class_names) == set(found.class_names):
        source = _in_order(source, found.class_names)
    if held:
        source = _held_out(source, held)
    return _annotated(config, source, parts)


def _drawn(everything: Mapping[str, Array], config: Config) -> dict[str, dict[str, Array]]:
    """A stratified fifth tests."""
    y = everything["y"]
    test = stratified(y, round(0.2 * len(y)), config.split_seed)
    rows = {"train": np.setdiff1d(np.arange(len(y)), test), "test": test}
    return {name: {key: array[own] for key, array in everything.items()} for name, own in rows.items()}


def _items(path: Path, split: str, part: Mapping[str, Array], names: tuple[str, ...]) -> list[Series]:
    x = part["x"]
    if x.ndim not in (2, 3):
        raise UserError(f"{path}: series have the shape {x.shape}; expected (N, T, F) or (N, T)")
    x = x[..., None] if x.ndim == 2 else x
    return [
        Series(values=values.astype(np.float64), label=names[label], where=f"{path}, {split} series {number}")
        for number, (values, label) in enumerate(zip(x, part["y"], strict=True))
    ]


def _in_order(source: Source, names: tuple[str, ...]) -> Source:
    """Number the classes as the file does."""
    number = np.array([names.index(name) for name in source.class_names])
    parts: dict[str, Any] = {
        name: replace(part, y=number[part.y])
        for name in ("train", "val", "test")
        if (part := getattr(source, name)) is not None
    }
    return replace(source, class_names=names, **parts)


def _held_out(source: Source, held: int) -> Source:
    """Validate on the file's own validation series, which stand after the others."""
    rows = np.arange(len(source.train.y))
    train, val = source.train.take(rows[:-held]), source.train.take(rows[-held:])
    mean, std = series.feature_statistics(train.x, train.valid)
    return replace(source, train=train, val=val, mean=mean, std=std)


def _annotated(config: Config, source: Source, parts: Mapping[str, Mapping[str, Array]]) -> Source:
    """Give the samples the regions of the file."""
    path = config.path
    shape = (parts["train"]["x"].shape[1], source.train.x.shape[2])
    flat = {name: _deep(part, shape) for name, part in parts.items()}
    regions = {name: arrays.regions(path, part, shape) for name, part in flat.items()}
    if not any(regions.values()):
        return source
    if not all(regions.values()):
        raise UserError(f"{path}: give mask or wrong for all splits or for none; zeros mean not annotated")
    if config.unequal == "stretch":
        steps = source.train.x.shape[1]
        regions = {name: _stretched(found, parts[name]["x"], steps) for name, found in regions.items()}
    both = [regions[name] for name in ("train", "val") if name in regions]
    known = {name: np.concatenate([part[name] for part in both]) for name in both[0]}
    train, val = (part and _with(part, known) for part in (source.train, source.val))
    test = _with(source.test, regions["test"])
    shares = np.concatenate([known["annotated"], regions["test"]["annotated"]])
    stamps = () if shares.all() else (f"{100 * shares.mean():.0f} % annotated",)
    content = [known["mask"], regions["test"]["mask"], np.frombuffer(source.fingerprint.encode(), dtype=np.uint8)]
    return replace(
        source,
        train=train,
        val=val,
        test=test,
        object_mask="own",
        stamps=(*source.stamps, *stamps),
        fingerprint=fingerprint(*content),
    )


def _deep(part: Mapping[str, Array], shape: tuple[int, int]) -> dict[str, Array]:
    """Regions of series of one feature may be ``(N, T)`` as the series are."""
    return {
        name: array[..., None] if name in ("mask", "wrong") and array.ndim == 2 and shape[1] == 1 else array
        for name, array in part.items()
    }


def _stretched(regions: Mapping[str, Bools], x: Array, steps: int) -> dict[str, Bools]:
    """Stretch regions ``(N, T, F)`` as their series were: each of the new steps is as the nearest step was."""
    last = (np.isfinite(x.reshape(*x.shape[:2], -1)).any(2) * np.arange(x.shape[1])).max(1)
    if last.min() == steps - 1:
        return dict(regions)
    at = np.rint(np.linspace(0, last, steps, axis=1)).astype(np.int64)
    rows = np.arange(len(x))[:, None]
    return {name: array if name == "annotated" else array[rows, at] for name, array in regions.items()}


def _with(part: Part, regions: Mapping[str, Bools]) -> Part:
    steps = part.x.shape[1]
    own = {name: regions[name][part.index][:, :steps] for name in ("mask", "wrong") if name in regions}
    return replace(part, **own, annotated=regions["annotated"][part.index])
