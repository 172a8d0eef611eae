"""Coloured patches among grey ones: the class is a colour, its place is known to the pixel; drawn, never downloaded."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data.options import DatasetConfig, Places
from xfeedback.data.source import Part, Source, fingerprint, stratified
from xfeedback.dtypes import Bools, Bytes, Ints

SIDE, PATCH, CELL, EDGE = 64, 8, 12, 8
"""Pixels: of an image, of a patch, of the cell that a patch moves in, and of the margin without patches."""
CLASSES = ("red", "green", "blue", "yellow")
COLOURS = np.array([[0.9, 0.3, 0.3], [0.3, 0.9, 0.3], [0.3, 0.3, 0.9], [0.7, 0.7, 0.1]])
"""All with a mean of 0.5 over the channels, like the grey patches."""
GREY, BACKGROUND = 0.5, 0.25


@dataclass(frozen=True, kw_only=True)
class Config(DatasetConfig):
    """Options of ``dataset=lap_synthetic``.

    One patch of 8x8 pixels has its class's colour; the others are grey and as bright. Corner markers that give the
    class away come with ``decoy=corner`` and ``decoy.p=0.95``: they stand in the margin, where no patch is.

    Attributes:
        train, val, test: how many images.
        distractors: grey patches.
        noise: standard deviation of each pixel's noise.
        draw_seed: of the images; the run's seed does not change them.
    """

    name: Literal["lap_synthetic"] = "lap_synthetic"
    train: int = 2000
    val: int = 400
    test: int = 1000
    distractors: int = 3
    noise: float = 0.05
    draw_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train", "val", "test"):
            require(getattr(self, name) >= len(CLASSES), name, getattr(self, name), f"{len(CLASSES)} or more")
        require(0 <= self.distractors <= 15, "distractors", self.distractors, "between 0 and 15")
        require(self.noise >= 0, "noise", self.noise, "0 or more")
        require(self.draw_seed >= 0, "draw_seed", self.draw_seed, "0 or more")

    @property
    def has_masks(self) -> bool:
        """The coloured patch is the right evidence."""
        return True


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Draw the images: uint8, classes in turn, the coloured patch as the mask."""
    rng = np.random.default_rng(config.draw_seed)
    n = config.train + config.val + config.test
    y = np.arange(n) % len(CLASSES)
    x, mask = draw(y, rng, distractors=config.distractors, noise=config.noise)
    everything = Part(x=x, y=y.astype(np.int64), index=np.arange(n), mask=mask, annotated=np.ones(n, dtype=bool))
    rows = np.arange(n)
    test = stratified(y, config.test, config.draw_seed)
    rest = np.setdiff1d(rows, test)
    val = rest[stratified(y[rest], config.val, config.draw_seed)]
    return Source(
        train=everything.take(np.setdiff1d(rest, val)),
        val=everything.take(val),
        test=everything.take(test),
        class_names=CLASSES,
        mean=(0.3, 0.3, 0.3),
        std=(0.15, 0.15, 0.15),
        object_mask="own",
        center_box={"gray": SIDE // 2, "hue": SIDE // 2},
        fingerprint=fingerprint(x, everything.y, mask),
    )


def draw(y: Ints, rng: np.random.Generator, *, distractors: int, noise: float) -> tuple[Bytes, Bools]:
    """Return images ``(N, 3, 64, 64)`` uint8 and the coloured patch ``(N, 64, 64)`` bool of labels ``(N,)``.

    Patches stand in different cells of a 4x4 grid, each at a place of its own in its cell, so they never touch.
    """
    n, per_side = len(y), (SIDE - 2 * EDGE) // CELL
    x = np.full((n, SIDE, SIDE, 3), BACKGROUND)
    mask = np.zeros((n, SIDE, SIDE), dtype=bool)
    cells = rng.permuted(np.tile(np.arange(per_side**2), (n, 1)), axis=1)[:, : distractors + 1]
    shifts = rng.integers(0, CELL - PATCH + 1, (n, distractors + 1, 2))
    for image in range(n):
        for number, cell in enumerate(cells[image]):
            top, left = EDGE + CELL * np.array(divmod(int(cell), per_side)) + shifts[image, number]
            place = (image, slice(top, top + PATCH), slice(left, left + PATCH))
            x[place] = GREY if number else COLOURS[y[image]]
            mask[place] |= number == 0
    x += noise * rng.standard_normal(x.shape)
    return np.rint(255 * x.clip(0, 1)).astype(np.uint8).transpose(0, 3, 1, 2).copy(), mask
