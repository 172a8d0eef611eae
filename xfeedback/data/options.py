"""Options that every data set has. Light: importing this module imports neither torch nor numpy."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from xfeedback.config import require
from xfeedback.kinds import Kind

Scale = Literal["standard", "half", "unit"]
"""Pixels have mean 0 and deviation 1 over the training images, or lie in [-1, 1] or [0, 1]."""


def normalisation(
    scale: Scale, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what pixels in [0, 1] are shifted and divided by, a number a channel.

    Args:
        scale: what they shall be.
        mean: of the training images, a number a channel.
        std: likewise.
    """
    shift, unit = {"standard": (mean, std), "half": ((0.5,), (0.5,)), "unit": ((0.0,), (1.0,))}[scale]
    return (shift, unit) if scale == "standard" else (shift * len(mean), unit * len(mean))


@dataclass(frozen=True, kw_only=True)
class AnnotationConfig:
    """Which pixels count as right evidence (Hagos et al. 2023, XBL-D: the object mask O), and what training is told.

    ``fraction``, ``noise`` and ``control`` act in this order on the training images' annotations alone, on right and
    wrong evidence alike (:mod:`xfeedback.data.controls`); they depend on the seed, never on the method. Evaluation
    always uses the true annotations.

    Attributes:
        object_mask: ``own``: the data set's own masks; ``foreground``: pixels above 0 of the clean image; ``center``: a
            box in the middle of the frame, which stays there when the image is cropped; ``complement``: everything but
            the decoy; ``file``: masks from ``file``. ``auto``: the data set's own masks where it has some, else its
            own choice when it has decoys, else no annotation.
        center_box: side of the box in pixels; None: the data set's own choice.
        file: an ``.npz`` with arrays ``train`` and ``test`` ``(N, H, W)``, for series ``(N, T, F)`` and texts
            ``(N, L)``, one mask per sample in official order, nonzero = object; an empty mask means "not annotated".
        fraction: share of the annotated training images that keep their annotation.
        noise: ``box``: the bounding box of each mask; ``half``: the first half of it in reading order; ``wrong``: moved
            by half the image.
        control: ``shuffled``: each image gets another image's annotation; ``shuffled_in_class``: of its own class;
            ``torus``: moved round the edges by whole cells, each offset alike; ``random_cells``: its cells permuted.
        control_cell: side of a cell of the controls in pixels: how far apart the explained map's cells are.
    """

    object_mask: Literal["auto", "own", "foreground", "center", "complement", "file"] = "auto"
    center_box: int | None = None
    file: str | None = None
    fraction: float = 1.0
    noise: Literal["none", "box", "half", "wrong"] = "none"
    control: Literal["none", "shuffled", "shuffled_in_class", "torus", "random_cells"] = "none"
    control_cell: int = 4

    def __post_init__(self) -> None:
        require(self.center_box is None or self.center_box > 0, "center_box", self.center_box, "a positive integer")
        wanted = self.object_mask == "file"
        require(wanted == (self.file is not None), "file", self.file, "given exactly when object_mask=file")
        require(0 < self.fraction <= 1, "fraction", self.fraction, "above 0 and at most 1")
        require(self.control_cell > 0, "control_cell", self.control_cell, "a positive integer")

    @property
    def stamps(self) -> tuple[str, ...]:
        """What must stand beside a result: how training's annotations differ from the true ones."""
        true = AnnotationConfig()
        changed = (name for name in TOLD if getattr(self, name) != getattr(true, name))
        return tuple(f"annotation.{name}={getattr(self, name)}" for name in changed)

    def untouched(self) -> Self:
        """Return the options with the true annotations in training."""
        true = AnnotationConfig()
        return replace(self, control_cell=true.control_cell, **{name: getattr(true, name) for name in TOLD})


TOLD = ("fraction", "noise", "control")
"""Options that change what training is told, and nothing else."""


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Options common to all data sets.

    Attributes:
        name: which data set.
        label: its name in tables; None: ``name`` (with ``decoy_`` in front when decoys are on).
        samples_per_class: train on so many samples of each class, drawn by the run's seed alone: the same for every
            method, fewer within more.
        limit_train: train on at most this many images, a stratified choice that is the same for every seed.
        limit_test: validate and test on at most this many images each, chosen likewise.
        annotation: which pixels count as right evidence.
        kind: what the inputs are, as in the :class:`~xfeedback.data.source.Source` that its reader returns.
        not_identity: options that decide how a run goes and not what comes out.
        plants_decoys: whether ``decoy=auto`` may plant decoys when a method needs annotations and there are none.
    """

    kind: ClassVar[Kind] = "image"
    not_identity: ClassVar[tuple[str, ...]] = ()
    plants_decoys: ClassVar[bool] = True
    name: str
    label: str | None = None
    samples_per_class: int | None = None
    limit_train: int | None = None
    limit_test: int | None = None
    annotation: AnnotationConfig = field(default_factory=AnnotationConfig)

    def __post_init__(self) -> None:
        plain = self.label is None or (self.label.strip() and "/" not in self.label and len(self.label) <= 100)
        require(bool(plain), "label", self.label, "a name of at most 100 characters without a slash")
        for option in ("samples_per_class", "limit_train", "limit_test"):
            value = getattr(self, option)
            require(value is None or value > 0, option, value, "a positive integer")

    @property
    def has_masks(self) -> bool:
        """Whether the data set says itself where the right evidence lies; may look at file names, reads no data."""
        return False


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
