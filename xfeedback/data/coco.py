"""COCO's annotation files: outlines, run lengths and boxes of objects (Lin et al. 2014)."""

import json
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from xfeedback.data.regions import Region, boxes, check_size
from xfeedback.dtypes import Bools
from xfeedback.errors import UserError, unknown


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of an annotation file.

    Attributes:
        id: COCO's.
        file: its name.
        size: (height, width), or None when the file does not say.
        objects: its annotations, as in the file.
    """

    id: int
    file: str
    size: tuple[int, int] | None
    objects: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """An annotation file.

    Attributes:
        path: of the file.
        categories: id by name.
        pictures: by id.
    """

    path: Path
    categories: Mapping[str, int]
    pictures: Mapping[int, Picture]

    def ids(self, names: Sequence[str]) -> set[int]:
        """Return the ids of categories; no name: of all.

        Raises:
            UserError: there is no such category.
        """
        for name in names:
            if name not in self.categories:
                raise unknown(f"category of {self.path}", name, self.categories)
        return {self.categories[name] for name in names or self.categories}


def read(path: Path) -> Annotations:
    """Read an annotation file.

    Raises:
        UserError: it is missing, or not in COCO's format.
    """
    try:
        content = json.loads(path.read_bytes())
        named = [(str(entry["name"]), int(entry["id"])) for entry in content["categories"]]
        objects: dict[int, list[Mapping[str, Any]]] = {int(entry["id"]): [] for entry in content["images"]}
        for entry in content["annotations"]:
            objects[int(entry["image_id"])].append({**entry, "category_id": int(entry["category_id"])})
        pictures = {int(entry["id"]): _picture(entry, objects[int(entry["id"])]) for entry in content["images"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no COCO annotation file: {error!r}.") from error
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise UserError(f"{path} has several categories called '{twice[0]}': give each a name of its own, or join them")
    return Annotations(path=path, categories=dict(named), pictures=pictures)


def _picture(entry: Mapping[str, Any], objects: list[Mapping[str, Any]]) -> Picture:
    size = (int(entry["height"]), int(entry["width"])) if "height" in entry and "width" in entry else None
    return Picture(id=int(entry["id"]), file=str(entry["file_name"]), size=size, objects=tuple(objects))


def region(entry: Mapping[str, Any], where: str, stated: tuple[int, int] | None = None) -> Region:
    """Return the region of one object: its outlines or run lengths where it has some, else its box.

    Outlines of fewer than three points are none.

    Args:
        entry: an annotation of the file.
        where: the file and picture, for messages.
        stated: (height, width) of the picture according to the file.

    Raises:
        UserError: the annotation is malformed; of outlines and run lengths it is said when they are filled.
    """
    outline = entry.get("segmentation")
    if isinstance(outline, list):
        outline = [part for part in cast("list[Any]", outline) if not isinstance(part, list) or len(part) >= 6]
    if not outline:
        with _well_formed(where):
            left, top, width, height = (float(value) for value in entry["bbox"])
        return boxes([(left, top, left + width, top + height)], where, stated)

    def filled(height: int, width: int) -> Bools:
        check_size(where, stated, height, width)
        with _well_formed(where):
            if isinstance(outline, Mapping):
                return run_lengths(outline, where, (height, width))
            return polygons(outline, (height, width))

    return filled


@contextmanager
def _well_formed(where: str) -> Generator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: an annotation is not in COCO's format: {error!r}.") from error


def polygons(outlines: Sequence[Sequence[float]], size: tuple[int, int]) -> Bools:
    """Return the pixels inside any of some outlines, bool ``(height, width)``; parts outside the picture are cut off.

    Args:
        outlines: each x0, y0, x1, y1, ... in pixels.
        size: (height, width).
    """
    from PIL import Image, ImageDraw

    mask = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(mask)
    for outline in outlines:
        if len(outline) >= 6:
            draw.polygon([float(value) for value in outline], fill=1)
    return np.array(mask)


def run_lengths(encoded: Mapping[str, Any], where: str, size: tuple[int, int]) -> Bools:
    """Return the mask of run lengths down the columns, background first, plain or compressed to text.

    Raises:
        UserError: they belong to a picture of another size.
    """
    counts = encoded["counts"]
    runs = _uncompressed(counts) if isinstance(counts, str) else [int(count) for count in counts]
    height, width = (int(side) for side in encoded["size"])
    if (height, width) != size or sum(runs) != height * width:
        raise UserError(f"{where}: run lengths of {sum(runs)} pixels, and the image is {size[1]}x{size[0]}.")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _uncompressed(text: str) -> list[int]:
    """Decode COCO's text: five bits a character, lowest first, signed; the fourth and later relative to two before."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
