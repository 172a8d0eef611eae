"""COCO's zebras and trains (Lin et al. 2014) with the outlines of all of them as right evidence.

``dataset=decoy_coco`` is this set with class-coded patches, as in the third task of Hagos et al. 2023 (XBL-D).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data import cache, coco, folders, images, regions
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.errors import UserError

FOLDERS = ("coco", "COCO", ".")
SPLITS = ("train", "val", "test")
OFFICIAL = (850, 150, 300)


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=coco``.

    The folder ``coco/`` has COCO's own layout: ``annotations/instances_train2014.json`` and ``train2014/``.

    Attributes:
        year: of the files.
        classes: two or more categories; images that show several of them are left out.
        per_class: images of each class to train, validate and test on: the first ones by COCO's number, in this order.
    """

    name: Literal["coco"] = "coco"
    year: Literal[2014, 2017] = 2014
    classes: tuple[str, ...] = ("zebra", "train")
    per_class: tuple[int, ...] = OFFICIAL

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(set(self.classes)) == len(self.classes) >= 2, "classes", list(self.classes), "two or more")
        good = len(self.per_class) == len(SPLITS) and min(self.per_class, default=0) > 0
        require(good, "per_class", list(self.per_class), "three positive integers: train, val, test")


def read(config: Config, places: Places) -> Source:
    """Return the images in colour, normalised as ImageNet's; right evidence is any object of the image's class.

    Raises:
        UserError: the files are missing or damaged, or there are too few images of a class.
    """
    table = f"annotations/instances_train{config.year}.json"
    folder = images.first_found(
        folders.candidates(places, *FOLDERS),
        lambda place: (place / table).is_file(),
        f"COCO ({table})",
        f"Put annotations/ and train{config.year}/ of cocodataset.org there",
    )
    annotations = coco.read(folder / table)
    labels = range(len(config.classes))
    chosen = [(label, split, at) for label in labels for split, at in _of_class(annotations, config, label)]
    pictures = folder / f"train{config.year}"
    items = [
        images.Item(picture=pictures / at.file, label=label, mask=_outlines(annotations, at, config.classes[label]))
        for label, _, at in chosen
    ]
    _refuse_missing([item.picture for item in items])
    files = [folder / table, *(item.picture for item in items)]
    store = places.cache / f"coco-{cache.key(files, config.size, config.classes, config.per_class)}.pt"
    everything, digest = images.decoded(items, config.size, store, "COCO")
    of = np.array([split for _, split, _ in chosen])
    own = [f"per_class={list(config.per_class)}"] if config.per_class != OFFICIAL else []
    return images.source(
        config,
        everything,
        {split: np.flatnonzero(of == split) for split in SPLITS},
        fingerprint=digest,
        class_names=config.classes,
        balanced_accuracy=False,
        stamps=own + ([f"coco {config.year}"] if config.year != Config().year else []),
        normalisation=images.IMAGENET,
    )


def _of_class(annotations: coco.Annotations, config: Config, label: int) -> list[tuple[str, coco.Picture]]:
    """The pictures of a class with their splits: those that show no other class, by number."""
    ids = {name: annotations.categories[name] for name in config.classes if annotations.ids([name])}
    others = set(ids.values()) - {ids[config.classes[label]]}
    alone = []
    for at in sorted(annotations.pictures.values(), key=lambda picture: picture.id):
        shown = {entry["category_id"] for entry in at.objects}
        if ids[config.classes[label]] in shown and not shown & others:
            alone.append(at)
    needed = sum(config.per_class)
    if len(alone) < needed:
        raise UserError(
            f"{annotations.path} has {len(alone)} images of '{config.classes[label]}' alone, and dataset.per_class="
            f"{list(config.per_class)} needs {needed}. Choose fewer."
        )
    splits = np.repeat(SPLITS, config.per_class)
    return [(str(split), at) for split, at in zip(splits, alone[:needed], strict=True)]


def _outlines(annotations: coco.Annotations, at: coco.Picture, name: str) -> regions.Region:
    where = f"{annotations.path}, {at.file}"
    objects = [entry for entry in at.objects if entry["category_id"] == annotations.categories[name]]
    return regions.union([coco.region(entry, where, at.size) for entry in objects])


def _refuse_missing(pictures: Sequence[Path]) -> None:
    missing = [path for path in pictures if not path.is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(pictures)} images are missing, e.g. {missing[0]}")
