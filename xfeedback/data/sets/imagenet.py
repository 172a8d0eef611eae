"""ImageNet-1k (ILSVRC 2012) from its folders or from WebDataset shards; images are decoded during training."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from xfeedback.config import require
from xfeedback.data import folders, images, shards
from xfeedback.data.options import DatasetConfig, Places
from xfeedback.data.pictures import Broken, Pictures, Recipe, Shards
from xfeedback.data.source import Part, Source
from xfeedback.dtypes import Bools, Ints
from xfeedback.errors import UserError

PLACES = ("imagenet", "ILSVRC/Data/CLS-LOC", "ILSVRC2012")
OFFICIAL = (1_281_167, 50_000)
CLASSES = 1000
SUFFIXES = (".jpeg", ".jpg")


@dataclass(frozen=True, kw_only=True)
class Config(DatasetConfig):
    """Options of ``dataset=imagenet``.

    Attributes:
        root: folder with ``train/<synset>/*.JPEG`` and ``val/<synset>/*.JPEG``; None: one among the data folders.
        shards: folder with WebDataset shards ``*train*.tar`` and ``*val*.tar`` in place of ``root``, each image as
            ``<key>.jpg`` beside its label ``<key>.cls``; training keys begin with the synset. None: image folders.
        lanes: of shards: a batch reads from so many places at once; a multiple of the number of processes lets each
            read shards of its own. Changes the order of an epoch.
        turns: of shards: batches take turns in so many parts of the epoch; as many as workers lets each worker read
            shards of its own. Changes the order of an epoch.
        boxes: folder with the official boxes, ``train/<synset>/<stem>.xml`` and ``val/<stem>.xml`` (``val/<synset>/``
            too); None: no annotations.
        declared_sizes: sizes (training, official validation) of shortened sets that are accepted and stamped
            ``subset``.
        val_per_class: training images of each class that validate; the official validation set tests.
        size: side of the inputs in pixels.
        short_side: of evaluated images in pixels, before the centre is cut out.
        augment: ``resized_crop_flip``: a random part brought to ``size``, and mirroring, image and boxes together;
            training only.
        min_scale: smallest share of the image's area that such a part has.
        broken: what is done about a file that can't be decoded: ``error`` names it and stops, ``skip`` takes the next
            image of its class in its split and stamps how many.
        workers: processes that decode for each process that trains; None: one for each of its CPU cores, at most 16;
            0: the one that trains does it. Results don't depend on it.
    """

    plants_decoys: ClassVar[bool] = False
    not_identity: ClassVar[tuple[str, ...]] = ("workers",)
    name: Literal["imagenet"] = "imagenet"
    root: str | None = None
    shards: str | None = None
    lanes: int = 8
    turns: int = 4
    boxes: str | None = None
    declared_sizes: tuple[tuple[int, ...], ...] = ()
    val_per_class: int = 10
    size: int = 224
    short_side: int = 256
    augment: Literal["resized_crop_flip", "none"] = "resized_crop_flip"
    min_scale: float = 0.08
    broken: Broken = "error"
    workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = all(len(pair) == 2 for pair in self.declared_sizes)
        require(pairs, "declared_sizes", self.declared_sizes, "a list of pairs [training, validation]")
        one = self.root is None or self.shards is None
        require(one, "shards", self.shards, "left out where root names image folders")
        for name in ("lanes", "turns"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.val_per_class >= 1, "val_per_class", self.val_per_class, "1 or more")
        require(self.size >= 8, "size", self.size, "8 or more")
        require(self.short_side >= self.size, "short_side", self.short_side, f"at least size ({self.size})")
        require(0 < self.min_scale <= 1, "min_scale", self.min_scale, "above 0 and at most 1")
        require(self.workers is None or self.workers >= 0, "workers", self.workers, "0 or more")

    @property
    def has_masks(self) -> bool:
        """Whether boxes are given."""
        return self.boxes is not None


def read(config: Config, places: Places) -> Source:
    """Return the files of the images; none is opened here.

    Test images stand in the order of their number within the class, so that any stretch of them has the classes in
    turn; ``index`` is the position in the order of ``<synset>/<file>`` all the same. The fingerprint is that of the
    names, not of the pixels.

    Raises:
        UserError: there is no such folder, its size is neither official nor declared, the two parts have different
            classes, a class has too few images, or there are no boxes where they should be.
    """
    root, synsets, train, val = _shards(config, places) if config.shards is not None else _folders(config, places)
    sizes = len(train.files), len(val.files)
    complete = folders.check_size("ImageNet", sizes, OFFICIAL, config.declared_sizes, root)
    if complete and len(synsets) != CLASSES:
        raise UserError(f"{root} has {len(synsets)} classes of ImageNet, expected {CLASSES}. Restore the folders.")
    replaced: set[str] = set()
    parts = {name: _part(config, root, found, replaced) for name, found in (("train", train), ("val", val))}
    held = _held_out(train.files, train.labels, synsets, config.val_per_class)
    mean, std = images.IMAGENET
    half = config.size // 2
    return Source(
        train=parts["train"].take(np.flatnonzero(~held)),
        val=parts["train"].take(_in_turn(train.labels, np.flatnonzero(held))),
        test=parts["val"].take(_in_turn(val.labels, np.arange(len(val.labels)))),
        class_names=_names(synsets),
        mean=mean,
        std=std,
        object_mask="own" if config.has_masks else "center",
        center_box={"gray": half, "hue": half // 2},
        stamps=(*(() if complete else ("subset",)), *images.share_stamp(parts["train"])),
        fingerprint=hashlib.sha256(b"\n".join([*train.files.tolist(), *val.files.tolist()])).hexdigest(),
    )


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """The images of one part in the order of class and name.

    Attributes:
        files: paths below the root ``(N,)`` bytes; of shards as they would be in the official folders.
        labels: ``(N,)``.
        shards, places: see :class:`xfeedback.data.pictures.Pictures`.
    """

    files: NDArray[np.bytes_]
    labels: Ints
    shards: Shards | None = None
    places: Ints | None = None


def _folders(config: Config, places: Places) -> tuple[Path, list[str], _Listed, _Listed]:
    root = _root(config, places)
    synsets = _synsets(root / "train")
    if _synsets(root / "val") != synsets:
        raise UserError(f"{root}/train and {root}/val must have the same class folders; {_differing(root)} does not")
    return root, synsets, _listed(root, "train", synsets), _listed(root, "val", synsets)


def _shards(config: Config, places: Places) -> tuple[Path, list[str], _Listed, _Listed]:
    """Index the shards; labels are numbers of synsets in their order, as in the official lists."""
    root = Path(config.shards or "")
    found = shards.found(root)
    held = {part: shards.indexed(paths, places.cache, f"{part} shards") for part, paths in found.items()}
    synsets = _named(root, held["train"])
    parts = {}
    for part, paths in found.items():
        own = held[part]
        if sorted(set(own.labels.tolist())) != list(range(len(synsets))):
            raise UserError(f"{root}: the {part} shards have not each label from 0 to {len(synsets) - 1}")
        stems = [Path(key.decode()).name for key in own.keys.tolist()]
        names = [f"{part}/{synsets[at]}/{stem}.JPEG" for at, stem in zip(own.labels.tolist(), stems, strict=True)]
        tar = Shards(paths=tuple(paths), reader=shards.Reader(), lanes=config.lanes, turns=config.turns)
        parts[part] = _Listed(
            files=np.array([n.encode() for n in names]), labels=own.labels, shards=tar, places=own.places
        )
    return root, synsets, parts["train"], parts["val"]


def _named(root: Path, train: shards.Members) -> list[str]:
    """The synset of each label, which the keys of the training images begin with."""
    names: dict[int, str] = {}
    for key, label in zip(train.keys.tolist(), train.labels.tolist(), strict=True):
        synset = Path(key.decode()).name.partition("_")[0]
        if names.setdefault(label, synset) != synset:
            raise UserError(
                f"{root}: training keys must begin with their synset (n01440764_10026), and label {label} has "
                f"{names[label]} and {synset}"
            )
    ordered = [names[label] for label in sorted(names)]
    if len(ordered) < 2 or ordered != sorted(set(ordered)):
        raise UserError(f"{root}: labels must number two or more synsets in their order")
    return ordered


def _root(config: Config, places: Places) -> Path:
    tried = [Path(config.root)] if config.root is not None else folders.candidates(places, *PLACES)
    how = (
        "ImageNet is not downloaded: get ILSVRC 2012 from image-net.org, put train/<synset>/*.JPEG and "
        "val/<synset>/*.JPEG there, or give dataset.root=FOLDER"
    )
    return images.first_found(
        tried, lambda place: (place / "train").is_dir() and (place / "val").is_dir(), "ImageNet", how
    )


def _synsets(folder: Path) -> list[str]:
    found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if len(found) < 2:
        raise UserError(f"{folder} has {len(found)} class folder(s); expected <synset>/*.JPEG for each class")
    return found


def _differing(root: Path) -> str:
    return min(set(_synsets(root / "train")) ^ set(_synsets(root / "val")))


def _listed(root: Path, part: str, synsets: list[str]) -> _Listed:
    files, labels = [], []
    for label, synset in enumerate(synsets):
        names = sorted(e.name for e in os.scandir(root / part / synset) if e.name.lower().endswith(SUFFIXES))
        if not names:
            raise UserError(f"{root / part / synset} has no images (*.JPEG)")
        files += [f"{part}/{synset}/{name}".encode() for name in names]
        labels += [label] * len(names)
    return _Listed(files=np.array(files), labels=np.array(labels, dtype=np.int64))


def _part(config: Config, root: Path, found: _Listed, replaced: set[str]) -> Part:
    files, labels = found.files, found.labels
    boxes = np.full(len(files), b"") if config.boxes is None else _boxes(Path(config.boxes), files)
    pictures = Pictures(
        root=root,
        files=files,
        box_root=Path(config.boxes or "."),
        boxes=boxes,
        recipe=_recipe(config),
        replaced=replaced,
        shards=found.shards,
        places=found.places,
    )
    annotated = None if config.boxes is None else boxes != b""
    return Part(x=pictures, y=labels, index=np.arange(len(labels)), annotated=annotated)


def _recipe(config: Config) -> Recipe:
    return Recipe(
        size=config.size,
        short_side=config.short_side,
        augment=config.augment != "none",
        min_scale=config.min_scale,
        broken=config.broken,
        workers=config.workers,
    )


def _boxes(folder: Path, files: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """The path below ``folder`` of each image's boxes, empty where there are none."""
    part = files[0].decode().split("/")[0]
    if not (folder / part).is_dir():
        raise UserError(f"dataset.boxes={folder} has no folder {part}/; expected that of Annotations/CLS-LOC")
    there = {path.relative_to(folder).as_posix() for path in (folder / part).rglob("*.xml")}
    found = []
    for file in files.tolist():
        _, synset, name = file.decode().split("/")
        stem = name.rpartition(".")[0]
        ways = (f"{part}/{synset}/{stem}.xml", f"{part}/{stem}.xml")
        found.append(next((way.encode() for way in ways if way in there), b""))
    return np.array(found)


def _held_out(files: NDArray[np.bytes_], labels: Ints, synsets: list[str], n: int) -> Bools:
    """Which training images validate ``(N,)`` bool: of each class the ``n`` whose file names have the least SHA-256.

    So an image's place does not depend on which other classes are there, and on no random number generator.

    Raises:
        UserError: a class has no more images than that.
    """
    keys = np.array([hashlib.sha256(file.rpartition(b"/")[2]).digest() for file in files.tolist()])
    held = np.zeros(len(labels), dtype=bool)
    for label, synset in enumerate(synsets):
        own = np.flatnonzero(labels == label)
        if len(own) <= n:
            raise UserError(
                f"dataset.val_per_class={n}: class {synset} has {len(own)} training images, and some must be left"
            )
        held[own[np.argsort(keys[own], kind="stable")[:n]]] = True
    return held


def _in_turn(labels: Ints, rows: Ints) -> Ints:
    """Order rows that are sorted by class so that the classes take turns."""
    own = labels[rows]
    rank = np.arange(len(own)) - np.searchsorted(own, own)
    return rows[np.lexsort((own, rank))]


def _names(synsets: list[str]) -> tuple[str, ...]:
    """The words of the 1,000 classes in torchvision's list, which is in the synsets' order; of others the synsets."""
    if len(synsets) != CLASSES:
        return tuple(synsets)
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
