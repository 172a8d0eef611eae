"""Where evidence lies in one picture: from a mask's file, from boxes or outlines; each checked against the picture.

A region is a function of the picture's (height, width) that returns bool ``(height, width)``.
"""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np

from xfeedback.dtypes import Bools, Bytes
from xfeedback.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Region = Callable[[int, int], Bools]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels, counted from 0; the right and bottom edges are outside."""

HALF = 128
"""Grey value from which on a mask with more than two levels counts as object."""


def png(path: Path, picture: Path, *, grey: bool = False) -> Region:
    """Return the region of a mask in a PNG file; see :func:`binary` for what counts.

    Args:
        path: the mask, 8 bit.
        picture: what it is a mask of, for messages.
        grey: always cut at 128, as for masks that are known to be grey.
    """

    def region(height: int, width: int) -> Bools:
        values = read_levels(path, numbers=False)
        if values.shape != (height, width):
            raise UserError(
                f"{path} is {values.shape[1]}x{values.shape[0]} and its image {picture} {width}x{height} (width x "
                "height): a mask must have its image's size."
            )
        return values >= HALF if grey else binary(values, path)

    return region


def binary(values: Bytes, path: Path) -> Bools:
    """Return which pixels of a mask are object, bool.

    At most two levels: all but the lower one, or all but 0. More levels, up to 128 or above: a grey mask with soft
    edges, object from 128 on.

    Raises:
        UserError: more than two levels and all below 128: a map of labels rather than a mask.
    """
    levels = np.unique(values)
    if len(levels) <= 2:
        return values > (levels[0] if len(levels) == 2 else 0)
    if levels[-1] < HALF:
        raise UserError(
            f"{path} has {len(levels)} levels up to {levels[-1]}: neither a mask with two levels nor a grey one, "
            "object from 128 on. Write the object as 255 and the rest as 0."
        )
    return values >= HALF


def read_levels(path: Path, *, numbers: bool = True) -> Bytes:
    """Return the levels of a mask or label map, ``(H, W)`` uint8: grey values, or the numbers of a palette's colours.

    Of a picture of one colour, the transparency (0 where nothing shows) is what it says.

    Args:
        path: the file.
        numbers: False: grey colours of a palette, or black and one other, count by their brightness, as programs number
            them in any order.

    Raises:
        UserError: the file can't be read, or has more than 8 bit.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as mask:
            if mask.mode.startswith(("I", "F")):
                raise UserError(f"{path} has {mask.mode} pixels: write the mask with 8 bit.")
            kept = mask if mask.mode in ("1", "L", "P") else mask.convert("L")
            levels = np.asarray(kept).astype(np.uint8)
            levels = levels if numbers or mask.mode != "P" else _bright(mask, levels)
            if levels.min() < levels.max():
                return levels
            shown = np.asarray(mask.convert("RGBA"))[..., 3]
            return shown if shown.min() < 255 else levels
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise UserError(f"cannot read the mask {path}: {error}.") from error


def _bright(mask: "Image.Image", levels: Bytes) -> Bytes:
    colours = np.asarray(mask.convert("RGB"))
    bright, used = colours.max(2), len(np.unique(levels))
    grey = bool((colours.min(2) == bright).all())
    told = grey or (used == 2 and bright.min() == 0)
    return bright if told and len(np.unique(bright)) == used else levels


def boxes(found: Sequence[Box], where: str, stated: tuple[int, int] | None = None) -> Region:
    """Return the union of boxes, those that reach over the edge cut off there.

    Args:
        found: the boxes.
        where: the file and entry they stand in, for messages.
        stated: (height, width) of the picture according to that file.
    """

    def region(height: int, width: int) -> Bools:
        check_size(where, stated, height, width)
        mask = np.zeros((height, width), dtype=bool)
        for box in found:
            if not all(map(math.isfinite, box)):
                raise UserError(f"{where}: the box {_edges(box)} has an edge that is no number.")
            left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
            right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
            if not (left < right and top < bottom):
                raise UserError(f"{where}: the box {_edges(box)} has no pixel in its image, {width}x{height}.")
            mask[top:bottom, left:right] = True
        return mask

    return region


def _edges(box: Box) -> str:
    return f"{', '.join(f'{edge:g}' for edge in box)} (left, top, right, bottom)"


def check_size(where: str, stated: tuple[int, int] | None, height: int, width: int) -> None:
    """Compare the size (height, width) that an annotation states, if it does, with its image's.

    Raises:
        UserError: they differ.
    """
    if stated is not None and stated != (height, width):
        raise UserError(
            f"{where} is for an image of {stated[1]}x{stated[0]}, and its image is {width}x{height} (width x height)."
        )


def union(regions: Iterable[Region]) -> Region:
    """Return what lies in any of the regions."""
    parts = list(regions)

    def region(height: int, width: int) -> Bools:
        mask = np.zeros((height, width), dtype=bool)
        for part in parts:
            mask |= part(height, width)
        return mask

    return region


def read_voc(path: Path, labels: Sequence[str] = ()) -> Region:
    """Read a Pascal VOC annotation; its boxes count from 1 and include their last pixel.

    Args:
        path: the XML file.
        labels: names of the objects that count; none: all.

    Raises:
        UserError: the file is missing or no such annotation.
    """
    try:
        root = _parsed(path)
        size = int(root.findtext("size/height", "0")), int(root.findtext("size/width", "0"))
        found = [
            [float(entry.findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax")]
            for entry in root.iter("object")
            if not labels or entry.findtext("name", "").strip() in labels
        ]
    except (OSError, ET.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is no Pascal VOC annotation: {error}.") from error
    return boxes([(a - 1, b - 1, c, d) for a, b, c, d in found], str(path), size if min(size) > 0 else None)


def voc_names(path: Path) -> set[str]:
    """Return the names of the objects of a Pascal VOC annotation.

    Raises:
        UserError: the file is missing or no such annotation.
    """
    try:
        return {entry.findtext("name", "").strip() for entry in _parsed(path).iter("object")}
    except (OSError, ET.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is no Pascal VOC annotation: {error}.") from error


def _parsed(path: Path) -> ET.Element:
    return ET.parse(path).getroot()  # noqa: S314 - the user's own annotations; nothing is fetched


def read_csv(path: Path) -> dict[str, list[Box]]:
    """Read a table of boxes with the columns ``file``, ``x0``, ``y0``, ``x1``, ``y1``: boxes by file.

    Raises:
        UserError: another table.
    """
    found: dict[str, list[Box]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            for row in csv.DictReader(table, strict=True):
                box = float(row["x0"]), float(row["y0"]), float(row["x1"]), float(row["y1"])
                found.setdefault(row["file"], []).append(box)
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is no table with the columns file, x0, y0, x1, y1: {error!r}.") from error
    return found
