"""What a data set's reader returns, as numpy arrays, and how it is split."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import numpy as np

from xfeedback.data.pictures import Inputs
from xfeedback.dtypes import Array, Bools, Floats, Ints
from xfeedback.kinds import Kind

SPLIT_SEED = 0
"""Validation sets and subsets are the same for every run: their draws never depend on the run's seed."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some samples of one official set.

    Attributes:
        x: images ``(N, C, H, W)``, uint8 or float32 in [0, 1]; series ``(N, T, F)`` float32, not yet normalised, any
            number where they are padded; texts ``(N, L)`` int64, ids of tokens with 0 for padding. Or image files that
            are decoded when they are needed; their boxes are the masks, and ``mask`` is None.
        y: labels ``(N,)``, int64.
        index: position in the official set ``(N,)``, int64.
        mask: the data set's own right evidence, bool: ``(N, H, W)``, series ``(N, T, F)``, texts ``(N, L)``; or None.
        wrong: its own wrong evidence, likewise, or None.
        annotated: whether a sample has any ``(N,)`` bool; None without masks or boxes.
        valid: which steps of series are real ``(N, T)`` bool; None: all. Texts need none.
        group: samples that belong together, e.g. of one speaker ``(N,)`` int64, or None.
    """

    x: Inputs
    y: Ints
    index: Ints
    mask: Bools | None = None
    wrong: Bools | None = None
    annotated: Bools | None = None
    valid: Bools | None = None
    group: Ints | None = None

    def take(self, rows: Array) -> "Part":
        """Return the part with only ``rows``."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: array[rows] for name, array in arrays.items() if array is not None})


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as read, before decoys and annotations.

    Attributes:
        train, val, test: its splits; ``val`` and ``train`` both index the official training set.
        pool: further samples that phases of training may draw on; indexes the official training set too, or None.
        class_names: one per class.
        kind: what the inputs are.
        mean, std: for the normalisation: per channel of images in [0, 1], per feature of series; empty for texts.
        vocabulary: of texts: the token of each id; id 0 is padding.
        augment: what training does to images.
        balanced_sampling: whether training draws every class equally often.
        balanced_accuracy: whether accuracy is the mean over the classes.
        object_mask, center_box: the default annotation, ``own`` always and others when decoys are on; the box per
            decoy code in pixels, images only.
        blank: of generated series: one more without any evidence, of the same scale ``(T, F)``; or None.
        stamps: what must stand beside every result, e.g. ``subset``.
        fingerprint: SHA-256 of the content.
    """

    train: Part
    val: Part | None
    test: Part
    pool: Part | None = None
    class_names: tuple[str, ...]
    kind: Kind = "image"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    vocabulary: tuple[str, ...] = ()
    augment: Literal["none", "crop_flip"] = "none"
    balanced_sampling: bool = False
    balanced_accuracy: bool = False
    object_mask: Literal["own", "foreground", "center", "none"] = "none"
    center_box: Mapping[str, int] = field(default_factory=dict)
    blank: Floats | None = None
    stamps: tuple[str, ...] = ()
    fingerprint: str


def whole(x: Array, y: Ints) -> Part:
    """Return a part whose positions count from 0."""
    return Part(x=x, y=y.astype(np.int64), index=np.arange(len(y)))


def fingerprint(*arrays: Array) -> str:
    """Return the SHA-256 of the arrays' types, shapes and bytes, in this order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def stratified(y: Ints, n: int, seed: int = SPLIT_SEED) -> Ints:
    """Choose ``n`` positions so that each class keeps its share to within one image.

    Args:
        y: labels ``(N,)``.
        n: how many, at most N.
        seed: of the draw.

    Returns:
        Sorted positions ``(n,)``, int64; none of nothing.
    """
    if not len(y):
        return np.zeros(0, dtype=np.int64)
    classes, counts = np.unique(y, return_counts=True)
    exact = counts * (n / len(y))
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: n - quota.sum()]] += 1
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(y == c))[:q] for c, q in zip(classes, quota, strict=True)]
    return np.sort(np.concatenate(chosen))


def split_off(part: Part, n: int) -> tuple[Part, Part]:
    """Split a stratified validation set of ``n`` images off: return (training, validation)."""
    chosen = np.zeros(len(part.y), dtype=bool)
    chosen[stratified(part.y, n)] = True
    return part.take(np.flatnonzero(~chosen)), part.take(np.flatnonzero(chosen))
