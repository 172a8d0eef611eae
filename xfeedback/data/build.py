"""From what a reader returned to a task: limits, decoys, annotations."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from xfeedback.data import annotation, controls, decoy
from xfeedback.data.decoy import DecoyConfig, task_name
from xfeedback.data.options import AnnotationConfig, DatasetConfig
from xfeedback.data.pictures import Pictures
from xfeedback.data.source import Part, Source, stratified
from xfeedback.data.task import Split, Task
from xfeedback.dtypes import Bools
from xfeedback.errors import UserError
from xfeedback.kinds import WORDS
from xfeedback.seeding import derive

Arrange = Callable[[Source], Source]


def build(
    config: DatasetConfig, source: Source, decoys: DecoyConfig, seed: int, arrange: Arrange | None = None
) -> Task:
    """Put decoys and annotations on a data set.

    Args:
        config: the data set's options.
        source: what its reader returned.
        decoys: the decoy's options; ``auto`` counts as off.
        seed: the run's seed, which the decoys' corners and colours depend on.
        arrange: changes which samples belong to which split, after limits and before decoys.

    Raises:
        UserError: options that don't fit the samples.
        TypeError: the data set's options and its reader don't agree on the kind of its inputs.
    """
    if config.kind != source.kind:
        raise TypeError(f"{type(config).__module__}.Config must say: kind: ClassVar[Kind] = '{source.kind}'")
    source = few_per_class(config, limit(config, source), seed)
    source = source if arrange is None else arrange(source)
    kind = annotation.resolve(config.annotation, decoys.on, source.object_mask)
    if isinstance(source.train.x, Pictures):
        _refuse_what_needs_pixels(config, decoys, kind)
    if source.kind != "image":
        _refuse_what_images_need(config, source, decoys, kind)
    file = annotation.read_masks(Path(config.annotation.file), source) if config.annotation.file else {}
    patches, colours = _decoy_tables(source, decoys) if decoys.on else (None, None)

    frame = _frame(config.annotation, source, decoys) if kind == "center" else None

    def split(name: str, part: Part) -> Split:
        painted = decoy.plan(decoys, seed, name, part, len(source.class_names)) if decoys.on else None
        true = _split(part, annotation.masks_of(kind, name, part, file), painted)
        return true if name != "train" else _as_told(config.annotation, seed, true, frame, patches)

    return Task(
        name=task_name(config, decoys),
        class_names=source.class_names,
        kind=source.kind,
        vocabulary=source.vocabulary,
        mean=source.mean,
        std=source.std,
        augment=source.augment,
        balanced_sampling=source.balanced_sampling,
        balanced_accuracy=source.balanced_accuracy,
        stamps=(*source.stamps, *config.annotation.stamps, *decoys.stamps),
        fingerprint=source.fingerprint,
        train=split("train", source.train),
        val=None if source.val is None else split("val", source.val),
        test=split("test", source.test),
        pool=None if source.pool is None else split("pool", source.pool),
        frame=None if frame is None else torch.from_numpy(frame),
        blank=None if source.blank is None else torch.from_numpy(source.blank),
        decoy=decoys if decoys.on else None,
        patches=patches,
        colours=colours,
    )


def _refuse_what_images_need(config: DatasetConfig, source: Source, decoys: DecoyConfig, mask: str) -> None:
    """Refuse options that act on pixels where inputs are no images."""
    given = {
        f"decoy={decoys.name}": decoys.on,
        f"dataset.augment={source.augment}": source.augment != "none",
        f"dataset.annotation.object_mask={mask}": mask in ("center", "foreground", "complement"),
        f"dataset.annotation.noise={config.annotation.noise}": config.annotation.noise in ("box", "wrong"),
        f"dataset.annotation.control={config.annotation.control}": config.annotation.control
        in ("torus", "random_cells"),
    }
    for option, there in given.items():
        if there:
            raise UserError(f"{option} is for images, and {config.name} holds {WORDS[source.kind]}: leave it out.")


def _refuse_what_needs_pixels(config: DatasetConfig, decoys: DecoyConfig, mask: str) -> None:
    """Refuse options that change all images or masks before training where these are decoded during it."""
    told = config.annotation
    given = {
        f"decoy={decoys.name}": decoys.on,
        f"dataset.annotation.object_mask={mask}": mask not in ("none", "own", "center"),
        f"dataset.annotation.noise={told.noise}": told.noise != "none",
        f"dataset.annotation.control={told.control}": told.control != "none",
        f"dataset.annotation.fraction={told.fraction} with object_mask=center": told.fraction < 1 and mask == "center",
    }
    for option, there in given.items():
        if there:
            raise UserError(
                f"{option} needs all images in memory, and {config.name} decodes them during training: leave it out, "
                "or take dataset=imagenette."
            )


def _frame(config: AnnotationConfig, source: Source, decoys: DecoyConfig) -> Bools:
    height, width = source.train.x.shape[2:]
    own = source.center_box["hue" if decoys.code == "hue" else "gray"]
    return annotation.box(config.center_box or own, height, width)


def limit(config: DatasetConfig, source: Source) -> Source:
    """Keep at most ``limit_train`` training and ``limit_test`` validation and test samples, and stamp it."""
    stamps = list(source.stamps)
    train, val, test = source.train, source.val, source.test
    if config.limit_train is not None and config.limit_train < len(train.y):
        train = _fewer(train, config.limit_train)
        stamps.append(f"limit_train={config.limit_train}")
    if config.limit_test is not None:
        if config.limit_test < len(test.y):
            stamps.append(f"limit_test={config.limit_test}")
        val, test = val and _fewer(val, config.limit_test), _fewer(test, config.limit_test)
    return replace(source, train=train, val=val, test=test, stamps=tuple(stamps))


def few_per_class(config: DatasetConfig, source: Source, seed: int) -> Source:
    """Keep ``samples_per_class`` training samples of each class, and stamp it.

    Each class is shuffled under a key of the seed, the data set and the class; the first are taken. So fewer lie within
    more, and every method sees the same ones.

    Raises:
        UserError: a class has fewer.
    """
    n, y = config.samples_per_class, source.train.y
    if n is None:
        return source
    counts = np.bincount(y, minlength=len(source.class_names))
    if counts.min() < n:
        rarest, most = source.class_names[int(counts.argmin())], counts.min()
        raise UserError(
            f"dataset.samples_per_class={n}: class '{rarest}' of {config.name} has {most} training samples. "
            f"Ask for at most {most}."
        )
    drawn = [np.random.default_rng(derive(seed, "samples_per_class", config.name, c)) for c in range(len(counts))]
    chosen = [rng.permutation(np.flatnonzero(y == c))[:n] for c, rng in enumerate(drawn)]
    train = source.train.take(np.sort(np.concatenate(chosen)))
    return replace(source, train=train, stamps=(*source.stamps, f"samples_per_class={n}"))


def _fewer(part: Part, n: int) -> Part:
    return part.take(stratified(part.y, n)) if n < len(part.y) else part


def _decoy_tables(source: Source, decoys: DecoyConfig) -> tuple[torch.Tensor, torch.Tensor]:
    channels, height, width = source.train.x.shape[1:]
    try:
        patches = decoy.patches(decoys.size, height, width, both_ends=decoys.code == "released")
        colours = decoy.codes(decoys.code, len(source.class_names), channels)
    except ValueError as error:
        raise UserError(f"decoy.{error}") from error
    return torch.from_numpy(patches), torch.from_numpy(colours)


def _split(
    part: Part,
    masks: tuple[Bools | None, Bools | None],
    painted: decoy.Painted | None,
) -> Split:
    mask, annotated = masks
    return Split(
        x=part.x if isinstance(part.x, Pictures) else torch.from_numpy(np.ascontiguousarray(part.x)),
        y=torch.from_numpy(part.y),
        index=torch.from_numpy(part.index),
        mask=None if mask is None else torch.from_numpy(mask),
        wrong=None if part.wrong is None or annotated is None else torch.from_numpy(part.wrong),
        annotated=None if annotated is None else torch.from_numpy(annotated),
        valid=None if part.valid is None else torch.from_numpy(part.valid),
        group=None if part.group is None else torch.from_numpy(part.group),
        corner=None if painted is None else torch.from_numpy(painted.corner),
        shown={} if painted is None else {view: torch.from_numpy(code) for view, code in painted.shown.items()},
    )


def _as_told(
    config: AnnotationConfig, seed: int, true: Split, frame: Bools | None, patches: torch.Tensor | None
) -> Split:
    """Return the training set with the annotations that training is told; see :mod:`xfeedback.data.controls`.

    Raises:
        UserError: there are no annotations, or the control would change nothing.
    """
    if not config.stamps:
        return true
    if true.annotated is None:
        raise UserError(f"dataset.{config.stamps[0]} needs annotations: add decoy=corner, or choose an object_mask")
    if frame is not None and config.control in ("shuffled", "shuffled_in_class"):
        raise UserError(
            f"dataset.annotation.control={config.control} changes nothing where all images share the box in the middle "
            "(object_mask=center). Take torus or random_cells."
        )
    masks = {"mask": true.mask, "wrong": true.wrong}
    if frame is not None:
        masks["mask"] = torch.from_numpy(frame).expand(len(true), *frame.shape)
    if patches is not None and true.corner is not None:
        masks["told"] = patches[true.corner]
    given = {name: mask.numpy() for name, mask in masks.items() if mask is not None}
    who = {name: getattr(true, name).numpy() for name in ("y", "index", "annotated")}
    said, annotated = controls.told(config, seed, **who, masks=list(given.values()))
    changed = {name: torch.from_numpy(mask.copy()) for name, mask in zip(given, said, strict=True)}
    return replace(true, **changed, annotated=torch.from_numpy(annotated), fixed=frame is not None)
