"""Corner decoys that give the class away: which corner and colour each image gets in each view.

A patch of ``size`` pixels stands in one corner; its colour is the code of a class. In training (and in the view
``correlated``) that is the image's own class, elsewhere another one. All views of a split share one set of draws, so
they differ in the patch's colour alone. docs/methods/xbl.md; after Ross et al. 2017 (DecoyMNIST).

``code=released`` is another kind: the patch of the released program of Hagos et al. 2023 (XBL-D) for COCO, whose colour
is drawn for each image and tells nothing about its class; the test set is seen without it first.
"""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data.options import DatasetConfig
from xfeedback.data.source import Part
from xfeedback.dtypes import Bools, Floats, Ints

SPLIT_IDS = {"train": 0, "val": 1, "test": 2, "pool": 3}
"""The ``split_id`` in the key of each image's draws."""

View = Literal["correlated", "random", "conflict", "clean", "inverted"]
Code = Literal["gray", "hue", "released"]

RELEASED_LEVELS = range(50, 256)
"""Levels of red and of blue in the released program's patches; green is 0."""


@dataclass(frozen=True, kw_only=True)
class DecoyConfig:
    """Options of the decoy generator.

    Attributes:
        name: ``corner``: on; ``none``: off; ``auto``: off unless the method needs annotations.
        code: ``gray``: class k of 10 is 255 - 25 k; ``hue``: hue k/N at full saturation (colour images only);
            ``released``: red and blue drawn for each image, whatever its class, as released for COCO (likewise).
        size: side of the patch in pixels; with ``released`` from the corner pixel to the corner pixel + size, both
            included, as far as that lies in the image: ``size + 1`` at the top and on the left.
        p: chance that a training image's patch shows its own class; otherwise a uniform one.
        train: ``clean``: trains on images without patches and is tested with them: what there is to gain at most.
        inverted: adds the test view ``inverted`` of Rieger et al. 2020 (CDEP): colour 25 k instead of 255 - 25 k.
    """

    name: Literal["auto", "none", "corner"] = "auto"
    code: Code = "gray"
    size: int = 4
    p: float = 1.0
    train: Literal["correlated", "clean"] = "correlated"
    inverted: bool = False

    def __post_init__(self) -> None:
        require(self.size > 0, "size", self.size, "a positive integer")
        require(0.0 <= self.p <= 1.0, "p", self.p, "between 0 and 1")
        require(not self.inverted or self.code == "gray", "inverted", self.inverted, "false unless code=gray")
        require(self.p == 1 or self.code != "released", "p", self.p, "1 with code=released, which shows no class")

    @property
    def on(self) -> bool:
        """Whether images get decoys."""
        return self.name == "corner"

    @property
    def test_views(self) -> tuple[View, ...]:
        """The views of the test set, the headline view first."""
        if self.code == "released":
            return ("clean", "correlated")
        views: tuple[View, ...] = ("random", "clean", "conflict", "correlated")
        return (*views, "inverted") if self.inverted else views

    @property
    def val_views(self) -> tuple[View, ...]:
        """The views of the validation set, the one that weights are selected on first."""
        return ("clean", "correlated") if self.code == "released" else ("random", "correlated")

    @property
    def stamps(self) -> tuple[str, ...]:
        """What must stand beside a result."""
        stamps = {
            "decoys independent of class": self.code == "released",
            "trained without decoys": self.train == "clean",
        }
        return tuple(stamp for stamp, there in stamps.items() if self.on and there)


def task_name(config: DatasetConfig, decoys: DecoyConfig) -> str:
    """Return the name in tables: the label, with ``decoy_`` in front when decoys are on."""
    label = config.label or config.name
    return f"decoy_{label}" if decoys.on and not label.startswith("decoy_") else label


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The random numbers of ``N`` images, each ``(N,)``.

    Attributes:
        corner: 2 r + s with row side r (0 top, 1 bottom) and column side s (0 left, 1 right).
        u: a class, uniform on 0..n_classes-1.
        o: an offset to another class, uniform on 1..n_classes-1.
        t: uniform on [0, 1).
    """

    corner: Ints
    u: Ints
    o: Ints
    t: Floats


def draw(seed: int, split: str, index: Ints, n_classes: int) -> Draws:
    """Draw for each image from its own generator, keyed by (seed, split, position in the official set)."""
    split_id = SPLIT_IDS[split]
    integers = np.empty((len(index), 4), dtype=np.int64)
    t = np.empty(len(index))
    for row, position in enumerate(index.tolist()):
        rng = np.random.default_rng([seed, split_id, position])
        pick = rng.integers
        integers[row] = pick(2), pick(2), pick(n_classes), pick(1, n_classes)
        t[row] = rng.random()
    r, s, u, o = integers.T
    return Draws(corner=2 * r + s, u=u, o=o, t=t)


def shown(view: View, y: Ints, draws: Draws, n_classes: int, p: float) -> Ints:
    """Return which class's code each image's patch shows in a view, ``(N,)`` int64."""
    if view == "random":
        return draws.u
    if view == "conflict":
        return (y + draws.o) % n_classes
    if view == "correlated":
        return np.where(draws.t >= p, draws.u, y)
    return y


@dataclass(frozen=True, kw_only=True)
class Painted:
    """What is painted on the images of a split.

    Attributes:
        corner: which patch each has ``(N,)`` int64.
        shown: by view, which row of :func:`codes` it has, each ``(N,)`` int64; ``clean`` has none.
    """

    corner: Ints
    shown: Mapping[str, Ints]


def plan(config: DecoyConfig, seed: int, split: str, part: Part, n_classes: int) -> Painted:
    """Return which corner and colour each image of a split gets in each view that the split is seen in."""
    draws = draw(seed, split, part.index, n_classes)
    views: tuple[View, ...] = config.test_views if split == "test" else config.val_views
    painted: list[View] = ["correlated"] if split == "train" else [view for view in views if view != "clean"]
    if config.code == "released":
        return Painted(corner=draws.corner, shown=dict.fromkeys(painted, drawn_colours(seed, split, part.index)))
    colours = {view: shown(view, part.y, draws, n_classes, config.p) for view in painted}
    return Painted(corner=draws.corner, shown=colours)


def drawn_colours(seed: int, split: str, index: Ints) -> Ints:
    """Return which row of ``codes("released", ...)`` each image's patch has in every view, ``(N,)`` int64.

    Red and blue are uniform integers, from a generator of their own beside that of :func:`draw`.
    """
    low, count = RELEASED_LEVELS.start, len(RELEASED_LEVELS)
    keys = ([seed, SPLIT_IDS[split], position, 1] for position in index.tolist())
    levels = [np.random.default_rng(key).integers(low, low + count, 2) - low for key in keys]
    return np.array([count * red + blue for red, blue in levels], dtype=np.int64)


def codes(code: Code, n_classes: int, channels: int) -> Floats:
    """Return the colour of each class in [0, 1], ``(n_classes, channels)`` float32; of ``released`` all there are.

    Raises:
        ValueError: colours on grey images.
    """
    k = np.arange(n_classes)
    if code == "gray":
        level = (255 - 225 * k / max(n_classes - 1, 1)) / 255
        return np.repeat(level[:, None], channels, axis=1).astype(np.float32)
    require(channels == 3, "code", code, "gray on images without colour")
    if code == "released":
        levels = np.array(RELEASED_LEVELS, dtype=np.float32) / 255
        red, blue = np.meshgrid(levels, levels, indexing="ij")
        return np.stack([red.ravel(), np.zeros_like(red.ravel()), blue.ravel()], axis=1)
    return np.array([colorsys.hsv_to_rgb(i / n_classes, 1, 1) for i in k], dtype=np.float32)


def patches(size: int, height: int, width: int, *, both_ends: bool = False) -> Bools:
    """Return the four patches as masks ``(4, H, W)`` bool, in the order of :attr:`Draws.corner`.

    ``both_ends``: rectangles from pixel 0 or side - ``size`` to that pixel + ``size``, both included, cut at the edge.

    Raises:
        ValueError: a patch would cover more than a quarter of the image.
    """
    require(2 * size <= min(height, width), "size", size, f"at most half of the image's {min(height, width)} pixels")
    masks = np.zeros((4, height, width), dtype=bool)
    for corner in range(4):
        r, s = divmod(corner, 2)
        rows = slice(height - size, None) if r else slice(size + both_ends)
        columns = slice(width - size, None) if s else slice(size + both_ends)
        masks[corner, rows, columns] = True
    return masks
