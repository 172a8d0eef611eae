"""Magnetic-tile defects (Huang et al. 2018): grey photographs of tiles, five kinds of defect with pixel masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xfeedback.data import cache, folders, images, regions
from xfeedback.data.options import Places
from xfeedback.data.source import Source

CLASSES = ("Blowhole", "Break", "Crack", "Fray", "Free", "Uneven")
FOLDERS = ("MagneticTile", "Magnetic-tile-defect-datasets.", "Magnetic-tile-defect-datasets")
OFFICIAL = 1344


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=magnetic_tile``; see :class:`xfeedback.data.images.ImagesConfig`."""

    name: Literal["magnetic_tile"] = "magnetic_tile"
    balanced_sampling: bool = True


def read(config: Config, places: Places) -> Source:
    """Return the tiles, split 60/20/20 by class; sound tiles and empty masks are not annotated.

    The masks have soft edges and count from grey 128 on. Fewer tiles than the official 1,344 are stamped ``subset``.

    Raises:
        UserError: there are none, a file can't be read, or a mask does not fit.
    """
    folder = images.first_found(
        folders.candidates(places, *FOLDERS),
        lambda place: all((place / f"MT_{name}").is_dir() for name in CLASSES),
        "magnetic tiles",
        "Put github.com/abin24/Magnetic-tile-defect-datasets. there (MT_Blowhole/Imgs/*.jpg and *.png ...)",
    )
    items = [
        images.Item(picture=picture, label=label, mask=_mask(picture))
        for label, name in enumerate(CLASSES)
        for picture in sorted((folder / f"MT_{name}" / "Imgs").glob("*.jpg"))
    ]
    files = [path for item in items for path in (item.picture, item.picture.with_suffix(".png")) if path.exists()]
    store = places.cache / f"magnetic_tile-{cache.key(files, config.size)}.pt"
    everything, digest = images.decoded(items, config.size, store, "magnetic tiles")
    rows = images.drawn_splits(everything.y, config.split_seed)
    stamps = () if len(items) == OFFICIAL else ("subset",)
    return images.source(
        config, everything, rows, fingerprint=digest, class_names=CLASSES, balanced_accuracy=True, stamps=stamps
    )


def _mask(picture: Path) -> regions.Region:
    return regions.png(picture.with_suffix(".png"), picture, grey=True)
