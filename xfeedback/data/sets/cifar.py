"""CIFAR-10 (Krizhevsky 2009): 32x32 colour photographs of 10 classes, from whichever copy is at hand."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data import cifar_batches, cifar_jpeg
from xfeedback.data.options import DatasetConfig, Places, Scale, normalisation
from xfeedback.data.source import Part, Source, fingerprint, split_off
from xfeedback.errors import UserError

VALIDATION = 5_000
JPEG_VALIDATION = 4_000
SUBSET_TRAIN = 6_000


@dataclass(frozen=True, kw_only=True)
class Config(DatasetConfig):
    """Options of ``dataset=cifar``.

    Attributes:
        source: ``official``: 50,000/10,000, 5,000 of them to validate (downloaded if need be); ``jpeg``: a lossy copy,
            40,000/5,000, the last 4,000 validate; ``subset``: official pixels, 7,051/1,017, all after the first 6,000
            validate; ``auto``: the first of these that is there, else a download.
        augment: ``crop_flip``: shifts by up to 4 pixels and mirroring; training only.
        scale: of the pixels, as ``standard`` (mean 0, deviation 1), ``half`` ([-1, 1]) or ``unit`` ([0, 1]).
        declared_sizes: sizes (training, test) of incomplete copies that are accepted and stamped.
    """

    younger: ClassVar[tuple[str, ...]] = ("scale",)

    name: Literal["cifar"] = "cifar"
    source: Literal["auto", "official", "jpeg", "subset"] = "auto"
    augment: Literal["crop_flip", "none"] = "crop_flip"
    scale: Scale = "standard"
    declared_sizes: tuple[tuple[int, ...], ...] = ((7051, 1017), (40000, 5000))

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = all(len(pair) == 2 for pair in self.declared_sizes)
        require(pairs, "declared_sizes", self.declared_sizes, "a list of pairs [training, test]")


def read(config: Config, places: Places) -> Source:
    """Return CIFAR-10 from the chosen copy, with its validation set and stamp.

    Raises:
        UserError: the copy is missing or damaged, or downloading failed.
    """
    found = _read(config, places)
    mean, std = normalisation(config.scale, found.mean, found.std)
    return replace(found, augment=config.augment, mean=mean, std=std)


def _read(config: Config, places: Places) -> Source:
    if config.source == "jpeg":
        return _jpeg(config, places) or _nowhere("jpeg", cifar_jpeg.searched(places))
    shortened = None
    for folder in filter(cifar_batches.present, cifar_batches.searched(places)):
        train, test, complete = cifar_batches.read(folder, config.declared_sizes)
        if complete and config.source != "subset":
            return _source(*split_off(train, VALIDATION), test, fingerprint(train.x, train.y, test.x, test.y))
        if not complete and shortened is None:
            shortened = train, test
    if config.source == "auto" and (source := _jpeg(config, places)) is not None:
        return source
    if config.source != "official" and shortened is not None:
        return _subset(*shortened)
    if config.source == "subset":
        _nowhere("subset", cifar_batches.searched(places))
    cifar_batches.download(places)
    return _read(config, places)


def _jpeg(config: Config, places: Places) -> Source | None:
    for folder in filter(cifar_jpeg.present, cifar_jpeg.searched(places)):
        train, test, digest = cifar_jpeg.read(folder, places.cache, config.declared_sizes)
        return _source(*_last(train, len(train.y) - JPEG_VALIDATION), test, digest, "jpeg")
    return None


def _subset(train: Part, test: Part) -> Source:
    digest = fingerprint(train.x, train.y, test.x, test.y)
    return _source(*_last(train, SUBSET_TRAIN), test, digest, "subset")


def _last(part: Part, n: int) -> tuple[Part, Part]:
    """Split into the first ``n`` and the rest."""
    rows = np.arange(len(part.y))
    if not 0 < n < len(rows):
        raise UserError(f"dataset=cifar: {len(rows)} training images leave none to train on, or none to validate on")
    return part.take(rows[:n]), part.take(rows[n:])


def _nowhere(source: str, searched: Iterable[object]) -> Source:
    raise UserError(
        f"dataset.source={source}: nothing in {', '.join(map(str, searched))}. Put the files there, or take "
        "dataset.source=auto."
    )


def _source(train: Part, val: Part, test: Part, digest: str, *stamps: str) -> Source:
    return Source(
        train=train,
        val=val,
        test=test,
        class_names=cifar_batches.CLASSES,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        augment="crop_flip",
        object_mask="center",
        center_box={"gray": 16, "hue": 8},
        stamps=stamps,
        fingerprint=digest,
    )
