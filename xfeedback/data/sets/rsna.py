"""RSNA pneumonia detection challenge 2018: chest radiographs with boxes of lung opacities, as Kaggle's folder."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data import folders, images, tables
from xfeedback.data.options import Places
from xfeedback.data.regions import Box
from xfeedback.data.source import Source
from xfeedback.dtypes import Floats, Ints
from xfeedback.errors import UserError

WHAT = "RSNA pneumonia 2018"
FOLDERS = ("rsna-pneumonia-detection-challenge", "rsna", "RSNA")
PICTURES, LABELS, DETAILS = "stage_2_train_images", "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
CLASSES = {"Normal": "Normal", "No Lung Opacity / Not Normal": "Not Normal", "Lung Opacity": "Lung Opacity"}
"""The classes of the file with details, and their names here."""
OFFICIAL = (26_684, 9_555)
"""Labelled images, and boxes in them."""
OFFICIAL_CLASSES = (8_851, 11_821, 6_012)
STATED = (1024, 1024)


@dataclass(frozen=True, kw_only=True)
class Config(images.ImagesConfig):
    """Options of ``dataset=rsna``; see :class:`xfeedback.data.images.ImagesConfig`.

    Attributes:
        label: its name in tables; None: ``rsna``, or ``rsna_opacity``.
        labels: ``detailed``: normal, not normal without an opacity, and lung opacity; ``opacity``: one or none. Either
            has the same split.
        declared_sizes: pairs (images, boxes in them) of shortened sets that are accepted and stamped ``subset``.
    """

    name: Literal["rsna"] = "rsna"
    size: int = 512
    labels: Literal["detailed", "opacity"] = "detailed"
    declared_sizes: tuple[tuple[int, ...], ...] = ()
    balanced_sampling: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = all(len(pair) == 2 for pair in self.declared_sizes)
        require(pairs, "declared_sizes", self.declared_sizes, "a list of pairs [images, boxes]")
        if self.label is None:
            object.__setattr__(self, "label", self.name if self.labels == "detailed" else f"{self.name}_{self.labels}")


def read(config: Config, places: Places) -> Source:
    """Return the labelled images by patient's id, split 80/10/10 by detailed class; boxes are the right evidence.

    Images of ``stage_2_train_labels.csv`` that are there count; each has a ``patientId`` of its own.

    Raises:
        UserError: there are none, the numbers of images and boxes are neither official nor declared, a table or an
            image is damaged, or pydicom is missing.
    """
    folder = _folder(places)
    boxes, details = _boxes(folder / LABELS), _details(folder / DETAILS)
    _refuse_contradictions(folder, boxes, details)
    files = tables.present([f"{patient}.dcm" for patient in sorted(boxes)], folder / PICTURES)
    patients = [Path(file).stem for file in files]
    y = np.array([details[patient] for patient in patients], dtype=np.int64)
    chosen = _arrays([boxes[patient] for patient in patients])
    complete = _check_size(config, folder, y, len(chosen[1]))
    rows = images.drawn_splits(y, config.split_seed, share=0.1)
    names = list(CLASSES.values())
    if config.labels == "opacity":
        y, names = (y == names.index("Lung Opacity")).astype(np.int64), ["No Lung Opacity", "Lung Opacity"]
    everything, digest = tables.part(
        [folder / PICTURES / file for file in files],
        y,
        chosen,
        stated=STATED,
        size=config.size,
        channels=1,
        store=places.cache / "rsna",
        what=WHAT,
    )
    return images.source(
        config,
        everything,
        rows,
        fingerprint=digest,
        class_names=names,
        balanced_accuracy=True,
        stamps=() if complete else ("subset",),
    )


def _folder(places: Places) -> Path:
    return images.first_found(
        folders.candidates(places, *FOLDERS),
        lambda place: (place / LABELS).is_file() and (place / PICTURES).is_dir(),
        f"{WHAT} ({LABELS}, {PICTURES}/)",
        "It is not downloaded: unpack kaggle.com/c/rsna-pneumonia-detection-challenge, which has its own terms, there",
    )


def _check_size(config: Config, folder: Path, y: Ints, boxes: int) -> bool:
    found, counted = (len(y), boxes), ("images", "boxes")
    complete = folders.check_size(WHAT, found, OFFICIAL, config.declared_sizes, folder, counted=counted)
    counts = tuple(np.bincount(y, minlength=len(CLASSES)).tolist())
    if complete and counts != OFFICIAL_CLASSES:
        raise folders.damaged(folder / DETAILS, f"its classes have {counts} images, expected {OFFICIAL_CLASSES}")
    if min(counts) < 3:
        rarest = list(CLASSES)[int(np.argmin(counts))]
        raise UserError(f"{folder} has {min(counts)} images of class {rarest}, and the split needs 3 of each")
    return complete


def _table(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a CSV file, each after where it stands."""
    rows = csv.DictReader(folders.read_bytes(path).decode("utf-8-sig", "replace").splitlines())
    missing = [name for name in columns if name not in (rows.fieldnames or ())]
    if missing:
        raise folders.damaged(path, f"it has no column {', '.join(missing)}")
    for row in rows:
        if any(row[name] is None for name in columns):
            raise folders.damaged(path, f"line {rows.line_num} is cut off")
        yield f"line {rows.line_num}", row


def _boxes(path: Path) -> dict[str, list[Box]]:
    """The boxes of each patient, none for one without opacities."""
    found: dict[str, list[Box]] = {}
    for where, row in _table(path, ("patientId", "x", "y", "width", "height", "Target")):
        own = found.setdefault(row["patientId"], [])
        if row["Target"] not in ("0", "1"):
            raise folders.damaged(path, f"{where}: Target is '{row['Target']}', neither 0 nor 1")
        if row["Target"] == "1":
            own.append(_box(path, where, row))
    return found


def _box(path: Path, where: str, row: Mapping[str, str]) -> Box:
    try:
        left, top, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
    except ValueError as error:
        raise folders.damaged(path, f"{where}: {error}") from error
    inside = 0 <= left < STATED[1] and 0 <= top < STATED[0] and width > 0 and height > 0
    if not inside:
        raise folders.damaged(path, f"{where}: the box has no pixel in an image of {STATED[1]}x{STATED[0]}")
    return left, top, left + width, top + height


def _details(path: Path) -> dict[str, int]:
    """The class of each patient."""
    names, found = list(CLASSES), dict[str, int]()
    for where, row in _table(path, ("patientId", "class")):
        if row["class"] not in CLASSES:
            raise folders.damaged(path, f"{where}: the class '{row['class']}' is none of {', '.join(names)}")
        label = names.index(row["class"])
        if found.setdefault(row["patientId"], label) != label:
            raise folders.damaged(path, f"{where}: {row['patientId']} has two classes")
    return found


def _refuse_contradictions(folder: Path, boxes: Mapping[str, list[Box]], details: Mapping[str, int]) -> None:
    """Both tables name the same patients, and those with boxes are those with opacities."""
    strange = boxes.keys() ^ details.keys()
    if strange:
        raise folders.damaged(folder / DETAILS, f"{min(strange)} is not in both this file and {LABELS}")
    opacity = list(CLASSES).index("Lung Opacity")
    for patient, own in boxes.items():
        if bool(own) != (details[patient] == opacity):
            raise folders.damaged(
                folder / DETAILS,
                f"{patient} is {list(CLASSES)[details[patient]]} here and has {len(own)} boxes in {LABELS}",
            )


def _arrays(boxes: Sequence[Sequence[Box]]) -> tuple[Floats, Ints]:
    """Boxes ``(n, 4)`` and whose they are ``(n,)``."""
    edges = np.array([box for own in boxes for box in own], dtype=np.float64).reshape(-1, 4)
    counts = np.array([len(own) for own in boxes], dtype=np.int64)
    return edges, np.repeat(np.arange(len(boxes)), counts)
