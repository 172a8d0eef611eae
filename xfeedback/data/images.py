"""Sets of single image files with masks or boxes: decoded once to one size, cached, and split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data import cache, dicom
from xfeedback.data.options import DatasetConfig
from xfeedback.data.regions import Region
from xfeedback.data.source import Part, Source, stratified
from xfeedback.dtypes import Array, Bools, Bytes, Ints
from xfeedback.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels."""


@dataclass(frozen=True, kw_only=True)
class ImagesConfig(DatasetConfig):
    """Options of sets of image files.

    Attributes:
        size: images are brought to ``size`` x ``size`` pixels, whatever their proportions.
        augment: ``crop_flip``: shifts by up to 4 pixels and mirroring, image and masks together; training only.
        split_seed: of splits that are drawn; the run's seed does not change them.
        balanced_sampling: training draws every class equally often.
    """

    size: int = 64
    augment: Literal["crop_flip", "none"] = "crop_flip"
    split_seed: int = 17
    balanced_sampling: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.size >= 8, "size", self.size, "8 or more")
        require(self.split_seed >= 0, "split_seed", self.split_seed, "0 or more")

    @property
    def has_masks(self) -> bool:
        """Whether the set says itself where the right evidence lies."""
        return True


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image.

    Attributes:
        picture: the image's file.
        label: of the class.
        mask: its right evidence, or None.
        wrong: its wrong evidence, or None. With this alone everything else is right.
        crop: (left, top, right, bottom) of the part that is used, or None for all of it.
    """

    picture: Path
    label: int
    mask: Region | None = None
    wrong: Region | None = None
    crop: tuple[int, int, int, int] | None = None


def decoded(items: Sequence[Item], size: int, store: Path, what: str) -> tuple[Part, str]:
    """Return the images of ``items``, positions counted from 0, and the fingerprint; from the cache where it is there.

    Args:
        items: in the set's order.
        size: side of the images in pixels.
        store: the cache's file; its name must change with the items and whatever their masks are read from.
        what: the set, for the progress bar.

    Raises:
        UserError: an image can't be read, a mask does not fit, or the cache can't be written.
    """
    arrays, digest = cache.arrays(store, lambda: _decode(items, size, what))
    return Part(index=np.arange(len(items)), **{name: array for name, array in arrays.items() if array.size}), digest


def _decode(items: Sequence[Item], size: int, what: str) -> dict[str, Array]:
    picture_of.cache_clear()
    count = len(items)
    x = np.empty((count, 3, size, size), dtype=np.uint8)
    mask, wrong = np.zeros((2, count, size, size), dtype=bool)
    grey = True
    for row, item in enumerate(cache.progress(items, count, what)):
        picture = picture_of(item.picture)
        grey &= picture.mode == "L"
        height, width = picture.height, picture.width
        bad = np.zeros((height, width), dtype=bool) if item.wrong is None else item.wrong(height, width)
        good = np.zeros((height, width), dtype=bool)
        if item.mask is not None:
            good = item.mask(height, width)
        elif bad.any():
            good = ~bad
        x[row] = resized(picture.crop(item.crop) if item.crop else picture, size)
        mask[row], wrong[row] = (touched(_cropped(region, item.crop), size) for region in (good, bad))
    used = any(item.wrong is not None for item in items)
    return {
        "x": x[:, :1].copy() if grey else x,
        "y": np.array([item.label for item in items], dtype=np.int64),
        "mask": mask,
        "wrong": wrong if used else np.zeros(0, dtype=bool),
        "annotated": np.asarray((mask | wrong).any((1, 2))),
    }


@lru_cache(maxsize=1)
def picture_of(path: Path) -> "Image.Image":
    """Return a PIL image in grey (``L``) or colour (``RGB``); several items may be parts of one.

    Raises:
        UserError: it can't be read.
    """
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() in dicom.SUFFIXES:
        return dicom.picture(path)
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                return _of_sixteen_bit(np.asarray(picture), path)
            return picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise UserError(f"cannot read the image {path}: {error}.") from error


def _of_sixteen_bit(levels: Array, path: Path) -> "Image.Image":
    """The upper 8 of 16 bits, in grey."""
    from PIL import Image

    if levels.dtype.kind == "f" or levels.min() < 0 or levels.max() >= 1 << 16:
        raise UserError(
            f"{path} has {levels.dtype} pixels from {levels.min():g} to {levels.max():g}: which of them is white can't "
            "be told. Write the image with 8 or 16 bit."
        )
    return Image.fromarray((levels >> 8).astype(np.uint8))


def resized(picture: "Image.Image", size: int, height: int | None = None) -> Bytes:
    """Return a PIL image as ``(3, height, size)`` uint8, or ``(1, ...)`` when grey; bilinear, smoothed before.

    Args:
        picture: in grey or colour.
        size: width in pixels.
        height: None: as the width.
    """
    from PIL import Image

    pixels = np.asarray(picture.resize((size, height or size), Image.Resampling.BILINEAR))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def touched(mask: Bools, size: int) -> Bools:
    """Bring a mask ``(H, W)`` to ``(size, size)``: a pixel that the mask touches belongs to it, so none is lost."""
    if not mask.any():
        return np.zeros((size, size), dtype=bool)
    for axis in (0, 1):
        n = mask.shape[axis]
        starts = np.arange(size) * n // size
        ends = -(-(np.arange(size) + 1) * n // size)
        before = np.concatenate([np.zeros_like(mask.take([0], axis), dtype=np.int64), mask.cumsum(axis)], axis)
        mask = before.take(ends, axis) > before.take(starts, axis)
    return mask


def _cropped(mask: Bools, crop: tuple[int, int, int, int] | None) -> Bools:
    if crop is None:
        return mask
    left, top, right, bottom = crop
    return mask[top:bottom, left:right]


def source(
    config: ImagesConfig,
    everything: Part,
    rows: Mapping[str, Ints],
    *,
    fingerprint: str,
    class_names: Sequence[str],
    balanced_accuracy: bool,
    stamps: Sequence[str] = (),
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Source:
    """Return a data set of decoded images.

    Args:
        config: its options.
        everything: all images.
        rows: those of ``train``, ``test`` and, where there is one, ``val``.
        fingerprint: of the decoded content.
        class_names: one per class.
        balanced_accuracy: whether accuracy is the mean over the classes.
        stamps: what must stand beside every result.
        normalisation: means and standard deviations of the channels; None: those of the training images.
    """
    train = everything.take(rows["train"])
    mean, std = normalisation or channel_statistics(train.x)
    half = config.size // 2
    return Source(
        train=train,
        val=everything.take(rows["val"]) if "val" in rows else None,
        test=everything.take(rows["test"]),
        class_names=tuple(class_names),
        mean=mean[: train.x.shape[1]],
        std=std[: train.x.shape[1]],
        augment=config.augment,
        balanced_sampling=config.balanced_sampling,
        balanced_accuracy=balanced_accuracy,
        object_mask="own" if config.has_masks else "center",
        center_box={"gray": half, "hue": half // 2},
        stamps=(*stamps, *(("balanced accuracy",) if balanced_accuracy else ())),
        fingerprint=fingerprint,
    )


def channel_statistics(x: Bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of ``(N, C, H, W)`` uint8 images, in [0, 1] and rounded."""
    levels = np.arange(256) / 255
    shares = [np.bincount(channel.ravel(), minlength=256) / channel.size for channel in x.swapaxes(0, 1)]
    means = [float(share @ levels) for share in shares]
    spread = [float((share @ (levels - mean) ** 2) ** 0.5) for share, mean in zip(shares, means, strict=True)]
    return tuple(round(m, 4) for m in means), tuple(max(round(s, 4), 1e-4) for s in spread)


def drawn_splits(y: Ints, seed: int, share: float = 0.2) -> dict[str, Ints]:
    """Return a stratified split, ``share`` to validate, as much to test, the rest to train: rows by name.

    Raises:
        UserError: there are so few that none would validate.
    """
    n = round(share * len(y))
    if n == 0:
        raise UserError(
            f"{len(y)} samples are too few to set {100 * share:.0f} % of them aside twice, to validate and to test. "
            "Add some, or say yourself which ones train and which test."
        )
    test = stratified(y, n, seed)
    rest = np.setdiff1d(np.arange(len(y)), test)
    val = rest[stratified(y[rest], n, seed)]
    return {"train": np.setdiff1d(rest, val), "val": val, "test": test}


def share_stamp(part: Part) -> tuple[str, ...]:
    """Return ``("52 % annotated",)`` where some images have annotations and others have none."""
    share = 0.0 if part.annotated is None else float(part.annotated.mean())
    return (f"{100 * share:.0f} % annotated",) if 0 < share < 1 else ()


def first_found(folders: Sequence[Path], holds: Callable[[Path], bool], what: str, how: str) -> Path:
    """Return the first folder that holds a set.

    Raises:
        UserError: none does; ``how`` says where to get it.
    """
    for folder in folders:
        if holds(folder):
            return folder
    raise UserError(f"no {what} in {', '.join(map(str, folders))}. {how}, or set XFEEDBACK_DATA to a folder with it.")
