"""Where the right evidence lies: turns the annotation options into masks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xfeedback.data.options import AnnotationConfig
from xfeedback.data.source import Part, Source
from xfeedback.dtypes import Array, Bools
from xfeedback.errors import UserError


def resolve(config: AnnotationConfig, decoys: bool, default: str) -> str:
    """Return the object mask that applies: ``none``, or one of the choices of ``object_mask`` but ``auto``.

    Raises:
        UserError: the complement of decoys that are off, or masks of a data set that has none.
    """
    if config.object_mask == "own" and default != "own":
        raise UserError("dataset.annotation.object_mask=own: the data set has no masks of its own; take center or file")
    if config.object_mask == "complement" and not decoys:
        raise UserError("dataset.annotation.object_mask=complement needs decoys: add decoy=corner, or take center")
    if config.object_mask != "auto":
        return config.object_mask
    return default if decoys or default == "own" else "none"


def box(side: int, height: int, width: int) -> Bools:
    """Return a mask ``(H, W)`` bool of the centred box of ``side`` pixels.

    Raises:
        UserError: the box is not smaller than the image.
    """
    if side >= min(height, width):
        raise UserError(f"dataset.annotation.center_box={side} must be smaller than the image's {min(height, width)}")
    mask = np.zeros((height, width), dtype=bool)
    top, left = (height - side) // 2, (width - side) // 2
    mask[top : top + side, left : left + side] = True
    return mask


def foreground(part: Part) -> Bools:
    """Return the pixels above 0 in any channel, ``(N, H, W)`` bool."""
    return np.any(part.x > 0, axis=1)


def read_masks(path: Path, source: Source) -> dict[str, Bools]:
    """Read the masks of the official training and test set, each ``(M, ...)`` bool, M above every index.

    Raises:
        UserError: the file is missing or damaged, or its arrays don't fit the samples.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            masks = {name: file[name] for name in ("train", "test")}
    except Exception as error:
        raise UserError(
            f"cannot read the masks of dataset.annotation.file={path}: {error}. It must be an .npz file with the "
            "arrays 'train' and 'test' of shape (images, height, width), (series, time, features) or (texts, tokens)."
        ) from error
    parts = {"train": [part for part in (source.train, source.val, source.pool) if part], "test": [source.test]}
    for name, array in masks.items():
        _fit(path, name, array, parts[name])
    return {name: array != 0 for name, array in masks.items()}


def _fit(path: Path, name: str, array: Array, parts: list[Part]) -> None:
    needed, x = 1 + max(int(p.index.max()) for p in parts), parts[0].x
    shape = x.shape[2:] if x.ndim == 4 else x.shape[1:]
    if array.dtype.kind not in "bui" or array.shape[1:] != shape or len(array) < needed:
        raise UserError(
            f"{path}: array '{name}' is {array.dtype} {array.shape}, but must be whole numbers of shape "
            f"({', '.join(map(str, (needed, *shape)))}): one mask per sample of the official set, in its order."
        )


def masks_of(kind: str, split: str, part: Part, file: Mapping[str, Bools]) -> tuple[Bools | None, Bools | None]:
    """Return (mask per image or None, whether each image is annotated or None) for one split."""
    if kind == "none":
        return None, None
    if kind == "own":
        return part.mask, part.annotated
    if kind in ("center", "complement"):
        return None, np.ones(len(part.y), dtype=bool)
    mask = foreground(part) if kind == "foreground" else file["test" if split == "test" else "train"][part.index]
    return mask, np.asarray(mask.reshape(len(mask), -1).any(1))
