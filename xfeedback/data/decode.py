"""From an image file and its boxes to one input: both go through the same transforms."""

import math
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree as ET

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from xfeedback.data.pictures import Recipe
from xfeedback.errors import UserError
from xfeedback.seeding import derive

Sides = tuple[float, float, float, float]


class BrokenError(Exception):
    """An image file that can't be decoded."""


def read_image(content: Path | BytesIO) -> tv_tensors.Image:
    """Return an image in colour ``(3, H, W)`` uint8, from its file or its bytes.

    Raises:
        BrokenError: it can't be decoded, e.g. because it ends too early.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(content) as picture:
            return tv_tensors.Image(v2.functional.pil_to_tensor(picture.convert("RGB")))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise BrokenError(str(error)) from error


def read_boxes(path: Path, height: int, width: int) -> tv_tensors.BoundingBoxes:
    """Return the boxes of a Pascal VOC file for its image of this size ``(n, 4)`` float32: left, top, right, bottom.

    Edges count in pixels from 0, right and bottom outside. Boxes are in the pixels of the size that the file states and
    are scaled to the image's, so that copies of ImageNet in other sizes keep theirs.

    Raises:
        UserError: the file is no such annotation.
    """
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - the user's own annotations; nothing is fetched
        tall, wide = (int(root.findtext(f"size/{side}", "")) for side in ("height", "width"))
        found = [
            [float(box.findtext(edge, "")) for edge in ("xmin", "ymin", "xmax", "ymax")] for box in root.iter("bndbox")
        ]
        scale = torch.tensor([width / wide, height / tall] * 2)
    except (OSError, ET.ParseError, ValueError, LookupError, ZeroDivisionError) as error:
        raise UserError(f"{path} is no Pascal VOC annotation with a size and boxes: {error}.") from error
    edges = (torch.tensor(found).reshape(-1, 4) - torch.tensor([1.0, 1.0, 0.0, 0.0])) * scale
    return tv_tensors.BoundingBoxes(edges, format="XYXY", canvas_size=(height, width))  # type: ignore[call-overload]


def transforms(recipe: Recipe, *, training: bool) -> v2.Transform:
    """Return what turns an image with its boxes into an input of ``recipe.size`` pixels."""
    if training:
        cut = v2.RandomResizedCrop(recipe.size, scale=(recipe.min_scale, 1.0), antialias=True)
        return v2.Compose([cut, v2.RandomHorizontalFlip()])
    return v2.Compose([v2.Resize(recipe.short_side, antialias=True), v2.CenterCrop(recipe.size)])


def transformed(
    change: v2.Transform, image: tv_tensors.Image, boxes: tv_tensors.BoundingBoxes | None, *key: int
) -> tuple[Tensor, Tensor]:
    """Return the input ``(3, size, size)`` uint8 and its region ``(size, size)`` bool.

    Args:
        change: what :func:`transforms` returned.
        image: as decoded.
        boxes: its boxes, or None.
        key: seed, epoch and position of the image, which alone decide all draws; none for evaluation.
    """
    with torch.random.fork_rng(devices=[], enabled=bool(key)):
        if key:
            torch.default_generator.manual_seed(derive(key[0], "augment", *key[1:]))
        x, moved = (change(image), None) if boxes is None else change(image, boxes)
    found = [] if moved is None else moved.tolist()
    return x.as_subclass(Tensor), region(found, x.shape[-1])


def region(boxes: list[Sides], size: int) -> Tensor:
    """Return the pixels that boxes touch ``(size, size)`` bool; what lies outside is cut off.

    Edges are rounded to a thousandth of a pixel first, so that float32 does not add a column.
    """
    mask = torch.zeros(size, size, dtype=torch.bool)
    for box in boxes:
        left, top, right, bottom = (round(min(max(edge, 0.0), float(size)), 3) for edge in box)
        if left < right and top < bottom:
            mask[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)] = True
    return mask
