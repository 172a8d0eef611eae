"""Image sets whose labels and boxes stand in tables: images are decoded once, whatever is read from the tables."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeedback.data import cache, images
from xfeedback.data.source import Part, fingerprint
from xfeedback.dtypes import Array, Bools, Bytes, Floats, Ints
from xfeedback.errors import UserError


def present(names: Collection[str], folder: Path) -> list[str]:
    """Return those of ``names`` that are files in ``folder``, in their order; the folder's other files don't count."""
    there = {entry.name for entry in os.scandir(folder) if entry.is_file()}
    return [name for name in names if name in there]


def part(
    pictures: Sequence[Path],
    y: Ints,
    boxes: tuple[Floats, Ints] | None,
    *,
    stated: tuple[int, int],
    size: int,
    channels: int,
    store: Path,
    what: str,
) -> tuple[Part, str]:
    """Return the images with labels and masks, positions counted from 0, and the fingerprint.

    Args:
        pictures: files of the ``N`` images.
        y: labels ``(N,)``.
        boxes: left, top, right, bottom in pixels ``(n, 4)`` and the image's position ``(n,)``; None: no annotations.
        stated: (height, width) that each image must have.
        size: side of the result in pixels.
        channels: 1, grey, or 3.
        store: the cache's folder and the set's name in it.
        what: the set, for messages.

    Raises:
        UserError: an image can't be read or has another size, or the cache can't be written.
    """
    file = store.with_name(f"{store.name}-{cache.key(pictures, size)}.pt")
    arrays, digest = cache.arrays(file, lambda: {"x": _decode(pictures, stated, size, channels, what)})
    beside: list[Array] = [np.frombuffer(digest.encode(), dtype=np.uint8), y]
    mask = None
    if boxes is not None:
        mask = masks(*boxes, len(y), stated, size)
        beside += boxes
    index = np.arange(len(y))
    annotated = None if mask is None else np.asarray(mask.any((1, 2)))
    return Part(x=arrays["x"], y=y, index=index, mask=mask, annotated=annotated), fingerprint(*beside)


def masks(boxes: Floats, rows: Ints, count: int, picture: tuple[int, int], size: int) -> Bools:
    """Return ``(count, size, size)``: the pixels of reduced images that touch a pixel in which one of their boxes lies.

    Equal to :func:`xfeedback.data.images.touched` of the boxes in full size; what lies outside of the image is cut off.

    Args:
        boxes: left, top, right, bottom edge in pixels of the image, right and bottom outside, ``(n, 4)``.
        rows: the image of each box ``(n,)``.
        count: of the images.
        picture: (height, width) of an image.
        size: side of the result in pixels.
    """
    first, last = np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])
    wide, tall = (_along(first[:, axis], last[:, axis], picture[1 - axis], size) for axis in (0, 1))
    mask = np.zeros((count, size, size), dtype=bool)
    for at, row in enumerate(rows.tolist()):
        mask[row] |= tall[at][:, None] & wide[at]
    return mask


def _along(first: Floats, last: Floats, length: int, size: int) -> Bools:
    """Which of ``size`` pixels touch the interval from ``first`` to ``last`` of ``length``, ``(n, size)``."""
    first, last = np.clip(first, 0, length)[:, None], np.clip(last, 0, length)[:, None]
    starts = np.arange(size) * length // size
    ends = -(-(np.arange(size) + 1) * length // size)
    return (ends > first) & (starts < last) & (first < last)


def _decode(pictures: Sequence[Path], stated: tuple[int, int], size: int, channels: int, what: str) -> Bytes:
    x: NDArray[np.uint8] = np.empty((len(pictures), channels, size, size), dtype=np.uint8)
    for row, path in enumerate(cache.progress(pictures, len(pictures), what)):
        picture = images.picture_of(path)
        if (picture.height, picture.width) != stated:
            raise UserError(
                f"{path} is {picture.width}x{picture.height}, and the images of {what} are {stated[1]}x{stated[0]} "
                "(width x height): its table would not fit. Restore the file."
            )
        x[row] = images.resized(picture.convert("L" if channels == 1 else "RGB"), size)
    return x
