"""Anyone's images as arrays in one ``.npz`` or ``.pt`` file; see :class:`Config`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.data import arrays, images, lists
from xfeedback.data.options import Places
from xfeedback.data.source import Part, Source, fingerprint
from xfeedback.dtypes import Array, Bools
from xfeedback.errors import UserError

MOST_CHANNELS = 4
"""Of a picture: grey, with transparency or not, or colours, with transparency or not."""


@dataclass(frozen=True, kw_only=True)
class Config(arrays.ArraysConfig):
    """Options of ``dataset=image_arrays``.

    The file is as :class:`~xfeedback.data.arrays.ArraysConfig` says; images are ``(N, C, H, W)`` or ``(N, H, W)``,
    uint8 or float in [0, 1], ``mask`` and ``wrong`` ``(N, H, W)``. Without splits in it 60 % train, 20 % validate, 20 %
    test.

    Attributes:
        channels: colours stand ``first`` or ``last``, ``(N, H, W, C)``.
        augment: ``crop_flip``: shifts by up to 4 pixels and mirroring, image and masks together; training only.
    """

    name: Literal["image_arrays"] = "image_arrays"
    channels: Literal["first", "last"] = "first"
    augment: Literal["crop_flip", "none"] = "none"


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Return the images of the file; channel statistics are those of the training images.

    Raises:
        UserError: no file is given, or its arrays are not as :class:`Config` says.
    """
    path = config.path
    found = arrays.read(path)
    whole = {split: _part(path, config, part) for split, part in found.parts.items()}
    if len({part.x.shape[1:] for part in whole.values()}) > 1 or len({part.x.dtype for part in whole.values()}) > 1:
        raise UserError(f"{path}: the splits hold images of different shapes or types")
    if "all" in whole:
        everything = whole["all"]
        drawn = images.drawn_splits(everything.y, config.split_seed)
        whole = {name: everything.take(rows) for name, rows in drawn.items()}
    elif "val" in whole:
        counted = len(whole["train"].y) + np.arange(len(whole["val"].y))
        whole["val"] = replace(whole["val"], index=counted)
    train = whole["train"]
    lists.refuse_absent(np.unique(train.y).tolist(), found.class_names, "image")
    mean, std = statistics(train.x)
    half = min(train.x.shape[2:]) // 2
    annotated = [part.annotated for part in whole.values() if part.annotated is not None]
    if annotated and len(annotated) < len(whole):
        raise UserError(f"{path}: give mask or wrong for all splits or for none; zeros mean not annotated")
    content = [array for part in whole.values() for array in (part.x, part.y, part.mask, part.wrong, part.annotated)]
    return Source(
        train=train,
        val=whole.get("val"),
        test=whole["test"],
        class_names=found.class_names,
        mean=mean,
        std=std,
        augment=config.augment,
        object_mask="own" if annotated else "center",
        center_box={"gray": half, "hue": half // 2},
        stamps=_share(annotated),
        fingerprint=fingerprint(*(array for array in content if array is not None)),
    )


def _part(path: Path, config: Config, found: Mapping[str, Array]) -> Part:
    x = pixels(path, found["x"], config.channels)
    own = arrays.regions(path, found, x.shape[2:])
    mask, wrong, annotated = (own.get(name) for name in ("mask", "wrong", "annotated"))
    return Part(x=x, y=found["y"], index=np.arange(len(x)), mask=mask, wrong=wrong, annotated=annotated)


def pixels(path: Path, x: Array, channels: Literal["first", "last"]) -> Array:
    """Return images as ``(N, C, H, W)``, uint8 or float32 in [0, 1].

    Raises:
        UserError: they have another shape, type or range.
    """
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and channels == "last":
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4:
        raise UserError(f"{path}: images have the shape {x.shape}; expected (N, C, H, W) or (N, H, W)")
    if channels == "first" and colours_last(x.shape):
        raise UserError(f"{path}: images have the shape {x.shape}: with colours last say dataset.channels=last")
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind != "f":
        raise UserError(f"{path}: images are {x.dtype}; expected uint8, or floats in [0, 1]")
    if not (x.min() >= 0 and x.max() <= 1):  # NaN fails too
        raise UserError(f"{path}: images range from {x.min():g} to {x.max():g}; expected uint8, or floats in [0, 1]")
    return np.ascontiguousarray(x, dtype=np.float32)


def colours_last(shape: tuple[int, ...]) -> bool:
    """Whether images of this shape ``(N, ...)`` look as if their colours stood last."""
    return len(shape) == 4 and shape[3] <= MOST_CHANNELS < shape[1]


def statistics(x: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel in [0, 1], rounded to four places, the latter above 0."""
    if x.dtype == np.uint8:
        return images.channel_statistics(x)
    mean, std = x.mean((0, 2, 3), dtype=np.float64), x.std((0, 2, 3), dtype=np.float64)
    return tuple(np.round(mean, 4).tolist()), tuple(np.maximum(np.round(std, 4), 1e-4).tolist())


def _share(annotated: list[Bools]) -> tuple[str, ...]:
    share = float(np.concatenate(annotated).mean()) if annotated else 0.0
    return (f"{100 * share:.0f} % annotated",) if 0 < share < 1 else ()
