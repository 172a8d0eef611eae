"""Tiny-ImageNet: 200 classes of ImageNet in 64x64 pixels with a box each, as Stanford's archive unpacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data import cache, folders, images, regions
from xfeedback.data.options import Places
from xfeedback.data.source import Source, stratified
from xfeedback.errors import UserError

FOLDER = "tiny-imagenet-200"
OFFICIAL = (100_000, 10_000)


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=tiny_imagenet``; see :class:`xfeedback.data.images.ImagesConfig`.

    Attributes:
        val_share: share of the training images that validates, drawn by class.
    """

    name: Literal["tiny_imagenet"] = "tiny_imagenet"
    val_share: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.val_share < 1, "val_share", self.val_share, "between 0 and 1")


def read(config: Config, places: Places) -> Source:
    """Return the images with their boxes, the archive's ``val`` as the test set; the unlabelled ``test`` is not read.

    Another number of images than the official 100,000 and 10,000 is stamped ``subset``.

    Raises:
        UserError: there are none, a list is damaged, a file can't be read, or a box does not fit.
    """
    folder = images.first_found(
        folders.candidates(places, FOLDER),
        lambda place: (place / "wnids.txt").is_file(),
        "Tiny-ImageNet",
        "Unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there",
    )
    synsets = folders.read_bytes(folder / "wnids.txt").decode().split()
    labels = {name: label for label, name in enumerate(synsets)}
    train = [item for name in synsets for item in _training(folder / "train" / name, labels[name])]
    test = _validation(folder / "val", labels)
    items = [*train, *test]
    lists = [folder / "val" / "val_annotations.txt", *(folder / "train" / s / f"{s}_boxes.txt" for s in synsets)]
    store = places.cache / f"{FOLDER}-{cache.key([*(item.picture for item in items), *lists], config.size)}.pt"
    everything, digest = images.decoded(items, config.size, store, "Tiny-ImageNet")
    val = stratified(everything.y[: len(train)], round(config.val_share * len(train)), config.split_seed)
    rows = {"train": np.setdiff1d(np.arange(len(train)), val), "val": val, "test": np.arange(len(train), len(items))}
    return images.source(
        config,
        everything,
        rows,
        fingerprint=digest,
        class_names=_words(folder, synsets),
        balanced_accuracy=False,
        stamps=() if (len(train), len(test)) == OFFICIAL else ("subset",),
        normalisation=images.IMAGENET,
    )


def _training(folder: Path, label: int) -> list[images.Item]:
    table = folder / f"{folder.name}_boxes.txt"
    lines = [line.split("\t") for line in folders.read_bytes(table).decode().splitlines()]
    if not lines:
        raise folders.damaged(table, "it names no image")
    return [images.Item(picture=folder / "images" / line[0], label=label, mask=_box(line[1:], table)) for line in lines]


def _validation(folder: Path, labels: Mapping[str, int]) -> list[images.Item]:
    table = folder / "val_annotations.txt"
    lines = [line.split("\t") for line in folders.read_bytes(table).decode().splitlines()]
    bad = [line for line in lines if len(line) < 2 or line[1] not in labels]
    if bad or not lines:
        raise folders.damaged(table, f"no class in wnids.txt for {bad[0]}" if bad else "it names no image")
    return [
        images.Item(picture=folder / "images" / line[0], label=labels[line[1]], mask=_box(line[2:], table))
        for line in lines
    ]


def _box(edges: list[str], table: Path) -> regions.Region:
    """Boxes count from 0 and include their last pixel."""
    try:
        left, top, right, bottom = (float(edge) for edge in edges)
    except ValueError as error:
        raise folders.damaged(table, f"{edges} are not the four edges of a box") from error
    return regions.boxes([(left, top, right + 1, bottom + 1)], str(table))


def _words(folder: Path, synsets: list[str]) -> list[str]:
    """The first word of each class; its synset where ``words.txt`` does not know it."""
    try:
        lines = (folder / "words.txt").read_text().splitlines()
    except OSError:
        lines = []
    known = dict(line.split("\t", 1) for line in lines if "\t" in line)
    names = [known.get(name, name).split(",")[0] for name in synsets]
    if len(set(names)) == len(names):
        return names
    if len(set(synsets)) != len(synsets):
        raise UserError(f"{folder}/wnids.txt names a class twice")
    return [f"{word} ({name})" if names.count(word) > 1 else word for word, name in zip(names, synsets, strict=True)]
