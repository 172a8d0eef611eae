"""Imagenette and Imagewoof: ten easy, or ten alike classes of ImageNet, as fast.ai's archives unpack."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import numpy as np

from xfeedback.config import require
from xfeedback.data import cache, folders, images, regions
from xfeedback.data.options import Places
from xfeedback.data.source import Source, stratified
from xfeedback.dtypes import Bools
from xfeedback.errors import UserError

CLASSES = {
    "imagenette": {
        "n01440764": "tench",
        "n02102040": "English springer",
        "n02979186": "cassette player",
        "n03000684": "chain saw",
        "n03028079": "church",
        "n03394916": "French horn",
        "n03417042": "garbage truck",
        "n03425413": "gas pump",
        "n03445777": "golf ball",
        "n03888257": "parachute",
    },
    "imagewoof": {
        "n02086240": "Shih-Tzu",
        "n02087394": "Rhodesian ridgeback",
        "n02088364": "beagle",
        "n02089973": "English foxhound",
        "n02093754": "Border terrier",
        "n02096294": "Australian terrier",
        "n02099601": "golden retriever",
        "n02105641": "Old English sheepdog",
        "n02111889": "Samoyed",
        "n02115641": "dingo",
    },
}
OFFICIAL = {"imagenette": (9469, 3925), "imagewoof": (9025, 3929)}
"""Training and test images of the archives since December 2019."""
ENDINGS = {"160px": "2-160", "320px": "2-320", "full": "2"}


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=imagenette``; see :class:`xfeedback.data.images.ImagesConfig`.

    Attributes:
        which: the set.
        archive: which of its archives.
        boxes: folder with ImageNet's own boxes, ``<synset>/<stem>.xml``; None: no annotations.
        val_share: share of the training images that validates, drawn by class.
    """

    name: Literal["imagenette"] = "imagenette"
    size: int = 128
    which: Literal["imagenette", "imagewoof"] = "imagenette"
    archive: Literal["160px", "320px", "full"] = "160px"
    boxes: str | None = None
    val_share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.val_share < 1, "val_share", self.val_share, "between 0 and 1")

    @property
    def has_masks(self) -> bool:
        """Whether boxes are given."""
        return self.boxes is not None


def read(config: Config, places: Places) -> Source:
    """Return the images, the archive's ``val`` as the test set; another number of them is stamped ``subset``.

    Raises:
        UserError: there are none, a class is missing, a file can't be read, or a box does not fit.
    """
    inside = f"{config.which}{ENDINGS[config.archive]}"
    folder = images.first_found(
        folders.candidates(places, inside),
        lambda place: (place / "train").is_dir() and (place / "val").is_dir(),
        config.which,
        f"Unpack https://s3.amazonaws.com/fast-ai-imageclas/{inside}.tgz there",
    )
    found = {part: _pictures(folder / part, list(CLASSES[config.which])) for part in ("train", "val")}
    items = [_item(path, label, config) for part in found.values() for path, label in part]
    files = [item.picture for item in items] + _box_files(config, items)
    store = places.cache / f"{inside}-{cache.key(files, config.size)}.pt"
    everything, digest = images.decoded(items, config.size, store, config.which)
    n_train = len(found["train"])
    val = stratified(everything.y[:n_train], round(config.val_share * n_train), config.split_seed)
    rows = {"train": np.setdiff1d(np.arange(n_train), val), "val": val, "test": np.arange(n_train, len(items))}
    complete = (n_train, len(found["val"])) == OFFICIAL[config.which]
    return images.source(
        config,
        everything,
        rows,
        fingerprint=digest,
        class_names=list(CLASSES[config.which].values()),
        balanced_accuracy=False,
        stamps=(*(() if complete else ("subset",)), *images.share_stamp(everything)),
        normalisation=images.IMAGENET,
    )


def _pictures(folder: Path, synsets: list[str]) -> list[tuple[Path, int]]:
    pictures = [(path, label) for label, name in enumerate(synsets) for path in sorted((folder / name).glob("*.JPEG"))]
    missing = set(range(len(synsets))) - {label for _, label in pictures}
    if missing:
        raise UserError(f"{folder} has no images of {', '.join(synsets[label] for label in sorted(missing))}")
    return pictures


def _box(path: Path, config: Config) -> Path | None:
    file = None if config.boxes is None else Path(config.boxes) / path.parent.name / f"{path.stem}.xml"
    return file if file is not None and file.exists() else None


def _box_files(config: Config, items: list[images.Item]) -> list[Path]:
    return [box for item in items if (box := _box(item.picture, config)) is not None]


def _item(path: Path, label: int, config: Config) -> images.Item:
    box = _box(path, config)
    return images.Item(picture=path, label=label, mask=None if box is None else _scaled(box))


def _scaled(path: Path) -> regions.Region:
    """Boxes count in the pixels of ImageNet's original; the archives' images are smaller."""

    def region(height: int, width: int) -> Bools:
        size = ET.parse(path).getroot().find("size")  # noqa: S314 - the user's own annotations; nothing is fetched
        if size is None:
            raise UserError(f"{path} does not say how large its image is")
        tall, wide = (int(size.findtext(side, "0")) for side in ("height", "width"))
        original = regions.read_voc(path)(tall, wide)
        return original[np.arange(height) * tall // height][:, np.arange(width) * wide // width]

    return region
