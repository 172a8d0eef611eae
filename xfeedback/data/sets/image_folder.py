"""Anyone's images: ``images/<class>/<stem>.jpg`` with masks, boxes, or neither; see :class:`Config`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from xfeedback.data import cache, coco, folders, images, lists, regions
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.dtypes import Ints
from xfeedback.errors import UserError, suggest, unknown

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
RIGHT = ("masks", "boxes", "boxes.csv", "boxes.json")
RULES = 2
"""Of reading masks and boxes: what was decoded by others is not taken from the cache."""


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=image_folder``.

    In the folder: ``images/<class>/<stem>.<jpg, png, ...>``. Right evidence as one of ``masks/<class>/<stem>.png``
    (:func:`xfeedback.data.regions.binary` says which pixels count), ``boxes/<class>/<stem>.xml`` (Pascal VOC),
    ``boxes.json`` (COCO; outlines count where there are some) and ``boxes.csv`` (``file,x0,y0,x1,y1``, the file as
    ``<class>/<stem>.<ending>``), or none. Optional: ``wrong/<class>/<stem>.png``, known wrong evidence, and
    ``splits/train.txt``, ``val.txt``, ``test.txt`` with a ``<class>/<stem>`` a line; else 60/20/20 by class.

    A box that reaches over the image's edge is cut off there; one that has no pixel in it is refused. An image without
    mask or box, or with an empty mask, is not annotated; the share of annotated images is stamped.

    Attributes:
        root: the folder.
        box_labels: which objects of ``boxes/`` and ``boxes.json`` count; none named: all.
        balanced_sampling: training draws every class equally often, and accuracy is the mean over the classes.
    """

    plants_decoys: ClassVar[bool] = False
    name: Literal["image_folder"] = "image_folder"
    root: str | None = None
    box_labels: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder.

        Raises:
            UserError: none is given, or it has no ``images/``.
        """
        if self.root is None:
            raise UserError("dataset=image_folder needs dataset.root=FOLDER with images/<class>/<stem>.jpg")
        if not (Path(self.root) / "images").is_dir():
            raise UserError(f"dataset.root={self.root} has no folder images/; expected images/<class>/<stem>.jpg")
        return Path(self.root)

    @property
    def has_masks(self) -> bool:
        """Whether the folder says where right or wrong evidence lies."""
        return any((self.folder / name).exists() for name in (*RIGHT, "wrong"))


def read(config: Config, places: Places) -> Source:
    """Return the images of a folder; channel statistics are those of the training images.

    Raises:
        UserError: something in the folder is not as :class:`Config` says; the message names the file.
    """
    folder, names, items = listed(config)
    rows, left_out = splits(config, names, items)
    key = cache.key(_files(folder), config.size, config.box_labels, RULES)
    store = places.cache / f"image_folder-{key}.pt"
    everything, digest = images.decoded(items, config.size, store, str(folder))
    return images.source(
        config,
        everything,
        rows,
        fingerprint=digest,
        class_names=names,
        balanced_accuracy=config.balanced_sampling,
        stamps=(*images.share_stamp(everything), *left_out),
    )


def _files(folder: Path) -> list[Path]:
    """What is read; a run's own files may lie in the folder too."""
    inside = [folder / name for name in ("images", *RIGHT, "wrong")]
    below = [path for place in inside if place.is_dir() for path in folders.files_below(place)]
    return below + [path for path in inside if path.is_file()]


def listed(config: Config) -> tuple[Path, list[str], list[images.Item]]:
    """Return the folder, its classes, and its images with their regions, none of which is opened yet.

    Raises:
        UserError: a class, image, mask or table is not where :class:`Config` says.
    """
    folder = config.folder
    names = sorted(path.name for path in (folder / "images").iterdir() if path.is_dir() and path.name[0] != ".")
    if len(names) < 2:
        raise UserError(f"{folder}/images has {len(names)} class folder(s), and a classifier needs two or more")
    pictures = _pictures(folder, names)
    right, wrong = _right(folder, pictures, config), _of_files(folder, "wrong", ".png", pictures)
    items = [
        images.Item(
            picture=path,
            label=names.index(key.split("/")[0]),
            mask=right.get(key),
            wrong=regions.png(wrong[key], path) if key in wrong else None,
        )
        for key, path in pictures.items()
    ]
    return folder, names, items


def splits(
    config: Config, names: Sequence[str], items: Sequence[images.Item]
) -> tuple[dict[str, Ints], tuple[str, ...]]:
    """Return the rows of each split, and a stamp when images stand in none.

    Raises:
        UserError: a list is wrong, or a class has no training image.
    """
    keys = [f"{names[item.label]}/{item.picture.stem}" for item in items]
    y = np.array([item.label for item in items])
    rows, left_out = lists.splits(
        config.folder, keys, y, config.split_seed, inside="images/", endings=PICTURES, what="images"
    )
    lists.refuse_absent(y[rows["train"]].tolist(), names, "image")
    return rows, left_out


def _pictures(folder: Path, names: list[str]) -> dict[str, Path]:
    """Images by ``<class>/<stem>``, in order."""
    found: dict[str, Path] = {}
    for name in names:
        for path in sorted((folder / "images" / name).iterdir()):
            if path.suffix.lower() not in PICTURES or path.name.startswith("."):
                continue
            key = f"{name}/{path.stem}"
            if key in found:
                raise UserError(f"{found[key]} and {path} have the same stem, so masks can't tell them apart")
            found[key] = path
    if not found:
        raise UserError(f"{folder}/images has no image in its class folders ({', '.join(PICTURES)})")
    return found


def _right(folder: Path, pictures: Mapping[str, Path], config: Config) -> dict[str, regions.Region]:
    given = [name for name in RIGHT if (folder / name).exists()]
    if len(given) > 1:
        raise UserError(f"{folder} has {' and '.join(given)}: give right evidence in one form")
    if config.box_labels and given not in (["boxes"], ["boxes.json"]):
        raise UserError("dataset.box_labels chooses among the objects of boxes/ or boxes.json, and there are none")
    if given == ["boxes.csv"]:
        return _table(folder / "boxes.csv", pictures)
    if given == ["boxes.json"]:
        return _coco(folder / "boxes.json", pictures, config.box_labels)
    voc = _of_files(folder, "boxes", ".xml", pictures)
    shown = {name for path in voc.values() for name in regions.voc_names(path)} if config.box_labels else set[str]()
    for name in config.box_labels:
        if name not in shown:
            raise unknown(f"object of {folder}/boxes:", name, shown)
    found = {key: regions.read_voc(path, config.box_labels) for key, path in voc.items()}
    masks = _of_files(folder, "masks", ".png", pictures)
    return found | {key: regions.png(path, pictures[key]) for key, path in masks.items()}


def _of_files(folder: Path, kind: str, suffix: str, pictures: Mapping[str, Path]) -> dict[str, Path]:
    """Files ``<kind>/<class>/<stem><suffix>`` by ``<class>/<stem>``; each must belong to an image."""
    found: dict[str, Path] = {}
    classes = {key.split("/")[0] for key in pictures}
    place = folder / kind
    for path in folders.files_below(place) if place.is_dir() else ():
        if path.name.startswith("."):
            continue
        name = path.parent.relative_to(place).as_posix()
        if name not in classes:
            raise unknown(f"class in {place}:", name, classes)
        if path.suffix.lower() != suffix:
            raise UserError(f"{path} must be a {suffix} file")
        key = f"{name}/{path.stem}"
        if key not in pictures:
            raise UserError(f"{path} has no image: there is no images/{key}.*{suggest(key, pictures)}")
        found[key] = path
    return found


def _table(path: Path, pictures: Mapping[str, Path]) -> dict[str, regions.Region]:
    keys = {f"{key.split('/')[0]}/{picture.name}": key for key, picture in pictures.items()}
    found = {}
    for file, listed in regions.read_csv(path).items():
        if file not in keys:
            raise UserError(f"{path} has boxes for '{file}', and there is no images/{file}.{suggest(file, keys)}")
        found[keys[file]] = regions.boxes(listed, f"{path}, {file}")
    return found


def _coco(path: Path, pictures: Mapping[str, Path], labels: tuple[str, ...]) -> dict[str, regions.Region]:
    """Pictures of the file are found by ``<class>/<name>``, or by name where that is unique."""
    keys: dict[str, list[str]] = {}
    for key, picture in pictures.items():
        for name in (f"{key.split('/')[0]}/{picture.name}", picture.name):
            keys.setdefault(name, []).append(key)
    annotations = coco.read(path)
    wanted = annotations.ids(labels)
    found: dict[str, list[regions.Region]] = {}
    for picture in annotations.pictures.values():
        matches = keys.get(picture.file, [])
        if len(matches) != 1:
            many = f"{len(matches)} images have this name" if matches else f"there is no images/{picture.file}"
            raise UserError(f"{path} names '{picture.file}', and {many}; write it as <class>/<file>")
        where = f"{path}, {picture.file}"
        chosen = [entry for entry in picture.objects if not labels or entry["category_id"] in wanted]
        if chosen:
            found.setdefault(matches[0], []).extend(coco.region(entry, where, picture.size) for entry in chosen)
    return {key: regions.union(parts) for key, parts in found.items()}
