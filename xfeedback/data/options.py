"""Options that every data set has. Light: importing this module imports neither torch nor numpy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from xfeedback.config import require


@dataclass(frozen=True, kw_only=True)
class AnnotationConfig:
    """Which pixels count as right evidence (Hagos et al. 2023, XBL-D: the object mask O).

    Attributes:
        object_mask: ``foreground``: pixels above 0 of the clean image; ``center``: a box in the middle of the frame,
            which stays there when the image is cropped; ``complement``: everything but the decoy; ``file``: masks
            from ``file``. ``auto``: the data set's own choice when it has decoys, no annotation otherwise.
        center_box: side of the box in pixels; None: the data set's own choice.
        file: an ``.npz`` with arrays ``train`` and ``test`` ``(N, H, W)``, one mask per image in official order,
            nonzero = object; an empty mask means "not annotated".
    """

    object_mask: Literal["auto", "foreground", "center", "complement", "file"] = "auto"
    center_box: int | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        require(self.center_box is None or self.center_box > 0, "center_box", self.center_box, "a positive integer")
        wanted = self.object_mask == "file"
        require(wanted == (self.file is not None), "file", self.file, "given exactly when object_mask=file")


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Options common to all data sets.

    Attributes:
        name: which data set.
        label: its name in tables; None: ``name`` (with ``decoy_`` in front when decoys are on).
        limit_train: train on at most this many images, a stratified choice that is the same for every seed.
        limit_test: validate and test on at most this many images each, chosen likewise.
        annotation: which pixels count as right evidence.
    """

    name: str
    label: str | None = None
    limit_train: int | None = None
    limit_test: int | None = None
    annotation: AnnotationConfig = field(default_factory=AnnotationConfig)

    def __post_init__(self) -> None:
        for option in ("limit_train", "limit_test"):
            value = getattr(self, option)
            require(value is None or value > 0, option, value, "a positive integer")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where data may lie.

    Attributes:
        root: the user's data folder in torchvision's layout; downloads go here.
        extra: further folders that are only read, searched after ``root`` in this order.
        cache: where decoded copies are kept.
    """

    root: Path
    extra: tuple[Path, ...] = ()
    cache: Path
