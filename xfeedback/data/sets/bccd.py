"""BCCD: are there platelets in a picture of blood cells? Boxes of the platelets (Shenggan 2017, MIT licence)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.data import cache, folders, images, regions
from xfeedback.data.options import Places
from xfeedback.data.source import Source

CLASSES = ("no platelets", "platelets")
FOLDERS = ("BCCD_Dataset/BCCD", "BCCD")


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=bccd``; see :class:`xfeedback.data.images.ImagesConfig`."""

    name: Literal["bccd"] = "bccd"
    size: int = 96


def read(config: Config, places: Places) -> Source:
    """Return the pictures with the official lists; right evidence is what lies in a box of a platelet.

    Raises:
        UserError: there are none, a file can't be read, or a box does not fit.
    """
    folder = images.first_found(
        folders.candidates(places, *FOLDERS),
        lambda place: (place / "ImageSets" / "Main" / "train.txt").is_file(),
        "BCCD",
        "Put github.com/Shenggan/BCCD_Dataset there (BCCD/JPEGImages, Annotations, ImageSets)",
    )
    lists = {name: folder / "ImageSets" / "Main" / f"{name}.txt" for name in ("train", "val", "test")}
    stems = {name: folders.read_bytes(path).decode().split() for name, path in lists.items()}
    names = sorted(stem for listed in stems.values() for stem in listed)
    items = [_item(folder, name) for name in names]
    files = [folder / "Annotations" / f"{name}.xml" for name in names] + [item.picture for item in items]
    store = places.cache / f"bccd-{cache.key([path for path in files if path.exists()], config.size)}.pt"
    everything, digest = images.decoded(items, config.size, store, "BCCD")
    rows = {name: np.searchsorted(names, sorted(listed)) for name, listed in stems.items()}
    return images.source(config, everything, rows, fingerprint=digest, class_names=CLASSES, balanced_accuracy=True)


def _item(folder: Path, name: str) -> images.Item:
    path = folder / "Annotations" / f"{name}.xml"
    region = regions.read_voc(path, ["Platelets"])
    positive = "<name>Platelets</name>" in path.read_text()
    picture = folder / "JPEGImages" / f"{name}.jpg"
    return images.Item(picture=picture, label=int(positive), mask=region if positive else None)
