"""CelebA (Liu et al. 2015): one attribute of a face or not, with boxes by the landmarks of eyes and mouth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from xfeedback.config import require
from xfeedback.data import folders, images, lists, tables
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.dtypes import Floats, Ints

FOLDERS = ("celeba", "CelebA")
PICTURES = "img_align_celeba"
PARTITION, LABELS, LANDMARKS = (
    "list_eval_partition.txt",
    "list_attr_celeba.txt",
    "list_landmarks_align_celeba.txt",
)
SPLITS = ("train", "val", "test")
OFFICIAL = (162_770, 19_867, 19_962)
STATED = (218, 178)
POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
# fmt: off
Attribute = Literal[
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
]
# fmt: on
REGIONS = {"Eyeglasses": "eyes", "Smiling": "mouth", "Wearing_Hat": "above_eyes"}
"""What ``region=auto`` is by attribute; of all others ``none``."""
SIZES = {"eyes": (2.4, 1.0), "mouth": (1.4, 0.8), "above_eyes": (3.0, 2.0)}
"""Width and height of a region in distances between the eyes."""


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=celeba``; see :class:`xfeedback.data.images.ImagesConfig`.

    Attributes:
        label: its name in tables; None: ``celeba_<attribute>``.
        attribute: which of the 40 is told; the task has two classes.
        region: right evidence, a box by the landmarks in each image, whatever its class: ``eyes`` and ``mouth`` have
            their centre between the eyes and between the corners of the mouth, ``above_eyes`` ends ``region_gap`` above
            the eyes. ``auto``: as :data:`REGIONS` says.
        region_size: its width and height in distances between the eyes; None: as :data:`SIZES` says.
        region_gap: of ``above_eyes``, in distances between the eyes.
        declared_sizes: sizes (train, validate, test) of shortened sets that are accepted and stamped ``subset``.
        balanced_sampling: training draws both classes equally often, and accuracy is the mean over them.
    """

    name: Literal["celeba"] = "celeba"
    attribute: Attribute = "Smiling"
    region: Literal["auto", "none", "eyes", "mouth", "above_eyes"] = "auto"
    region_size: tuple[float, ...] | None = None
    region_gap: float = 0.5
    declared_sizes: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.attribute in get_args(Attribute), "attribute", self.attribute, "one of CelebA's 40")
        good = self.region_size is None or (len(self.region_size) == 2 and min(self.region_size) > 0)
        require(good, "region_size", self.region_size, "two positive numbers, width and height")
        triples = all(len(sizes) == 3 and min(sizes) > 0 for sizes in self.declared_sizes)
        require(triples, "declared_sizes", self.declared_sizes, "a list of triples [train, validate, test]")
        if self.label is None:
            object.__setattr__(self, "label", f"{self.name}_{self.attribute}")

    @property
    def place(self) -> str:
        """Where the region lies: a key of :data:`SIZES`, or ``none``."""
        return REGIONS.get(self.attribute, "none") if self.region == "auto" else self.region

    @property
    def has_masks(self) -> bool:
        """Whether the attribute has a region."""
        return self.place != "none"


def read(config: Config, places: Places) -> Source:
    """Return the aligned faces with the official split; images of ``list_eval_partition.txt`` that are there count.

    Raises:
        UserError: there are none, their number is neither official nor declared, a list or an image is damaged, or no
            training image has the attribute, or all have.
    """
    folder = _folder(places)
    split_of = _partition(folder / PARTITION)
    names = tables.present(split_of, folder / PICTURES)
    numbers = np.array([split_of[name] for name in names], dtype=np.int64)
    rows = {split: np.flatnonzero(numbers == number) for number, split in enumerate(SPLITS)}
    found = tuple(len(own) for own in rows.values())
    counted = ("training", "validation", "test images")
    complete = folders.check_size("CelebA", found, OFFICIAL, config.declared_sizes, folder, counted=counted)
    y = _labels(folder / LABELS, names, config.attribute)
    classes = (f"not {config.attribute}", config.attribute)
    lists.refuse_absent(y[rows["train"]].tolist(), classes, "image")
    everything, digest = tables.part(
        [folder / PICTURES / name for name in names],
        y,
        _boxes(config, folder / LANDMARKS, names) if config.has_masks else None,
        stated=STATED,
        size=config.size,
        channels=3,
        store=places.cache / "celeba",
        what="CelebA",
    )
    return images.source(
        config,
        everything,
        rows,
        fingerprint=digest,
        class_names=classes,
        balanced_accuracy=config.balanced_sampling,
        stamps=(*(() if complete else ("subset",)), *images.share_stamp(everything)),
    )


def _folder(places: Places) -> Path:
    return images.first_found(
        folders.candidates(places, *FOLDERS),
        lambda place: (place / PARTITION).is_file() and (place / PICTURES).is_dir(),
        f"CelebA ({PARTITION}, {PICTURES}/)",
        "CelebA is not downloaded: its terms are at mmlab.ie.cuhk.edu.hk/projects/CelebA.html. Put the aligned images "
        f"and the lists there as torchvision does ({FOLDERS[0]}/{PICTURES}/000001.jpg, {LABELS} ...)",
    )


def region_boxes(points: Floats, place: str, size: Sequence[float], gap: float) -> Floats:
    """Return the boxes of a region ``(N, 4)``: left, top, right and bottom edge in pixels, not cut off.

    Args:
        points: x and y of :data:`POINTS` in pixels ``(N, 5, 2)``.
        place: a key of :data:`SIZES`.
        size: width and height in distances between the eyes.
        gap: from the eyes up to the lower edge of ``above_eyes``, likewise.
    """
    unit = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    ends = POINTS.index("leftmouth") if place == "mouth" else POINTS.index("lefteye")
    x, y = (points[:, ends] + points[:, ends + 1]).T / 2
    if place == "above_eyes":
        y = y - (gap + size[1] / 2) * unit
    half_width, half_height = size[0] / 2 * unit, size[1] / 2 * unit
    return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=1)


def _boxes(config: Config, path: Path, names: Sequence[str]) -> tuple[Floats, Ints]:
    header = [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    points = _columns(path, header, header, names).reshape(-1, len(POINTS), 2).astype(np.float64)
    size = config.region_size or SIZES[config.place]
    return region_boxes(points, config.place, size, config.region_gap), np.arange(len(names))


def _partition(path: Path) -> dict[str, int]:
    """The number of each image's split, by its name, in the list's order."""
    found: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        name, _, split = line.partition(" ")
        if split.strip() not in ("0", "1", "2"):
            raise folders.damaged(path, f"line {number} is no image and 0, 1 or 2")
        found[name] = int(split)
    return found


def _labels(path: Path, names: Sequence[str], attribute: str) -> Ints:
    values = _columns(path, get_args(Attribute), [attribute], names)[:, 0]
    strange = np.flatnonzero(abs(values) != 1)
    if strange.size:
        raise folders.damaged(path, f"{attribute} of {names[strange[0]]} is {values[strange[0]]}, neither 1 nor -1")
    return (values > 0).astype(np.int64)


def _columns(path: Path, header: Sequence[str], wanted: Sequence[str], names: Sequence[str]) -> Ints:
    """Columns of some images ``(N, len(wanted))``; the list has their number, the columns' names, a line for each."""
    lines = _lines(path)
    if len(lines) < 2 or lines[1].split() != list(header):
        raise folders.damaged(
            path, f"its second line does not name the {len(header)} columns {header[0]} ... {header[-1]}"
        )
    if lines[0].strip() != str(len(lines) - 2):
        raise folders.damaged(path, f"its first line says {lines[0].strip()} images, and {len(lines) - 2} follow")
    at = [list(header).index(name) + 1 for name in wanted]
    rows = {line.partition(" ")[0]: line for line in lines[2:]}
    found = np.empty((len(names), len(wanted)), dtype=np.int64)
    for row, name in enumerate(names):
        fields = rows.get(name, "").split()
        if len(fields) != len(header) + 1:
            raise folders.damaged(path, f"it has no line with {len(header)} numbers for {name}")
        try:
            found[row] = [int(fields[column]) for column in at]
        except ValueError as error:
            raise folders.damaged(path, f"{name}: {error}") from error
    return found


def _lines(path: Path) -> list[str]:
    return [line for line in folders.read_bytes(path).decode("utf-8", "replace").splitlines() if line.strip()]
