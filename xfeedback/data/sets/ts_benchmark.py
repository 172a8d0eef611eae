"""The synthetic time series of Ismail et al. 2020 (benchmark of saliency for series): a box of cells carries the class.

Ten layouts times seven processes, generated; `docs/data.md`, section "Series", has every constant.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.random import Generator

from xfeedback.config import require
from xfeedback.data.options import DatasetConfig, Places
from xfeedback.data.processes import PROCESSES, Process, sampled_times, seeded_narma
from xfeedback.data.source import Part, Source, fingerprint
from xfeedback.dtypes import Floats
from xfeedback.kinds import Kind

STEPS = FEATURES = 50
NOISE = 0.3
Layout = Literal[
    "Middle", "SmallMiddle", "Moving_Middle", "Moving_SmallMiddle", "RareTime", "Moving_RareTime", "RareFeature",
    "Moving_RareFeature", "PostionalTime", "PostionalFeature",
]  # fmt: skip
LAYOUTS = get_args(Layout)
BOXES: dict[str, tuple[int, int, int | None, int | None]] = {
    "Middle": (30, 30, 10, 10),
    "SmallMiddle": (14, 14, 18, 18),
    "Moving_Middle": (30, 30, None, None),
    "Moving_SmallMiddle": (15, 15, None, None),
    "RareTime": (6, 40, 22, 5),
    "Moving_RareTime": (6, 40, None, None),
    "RareFeature": (40, 6, 5, 22),
    "Moving_RareFeature": (40, 6, None, None),
    "PostionalTime": (20, 20, None, None),
    "PostionalFeature": (20, 20, None, None),
}
"""Steps and features of the box, and where it starts in time and in the features; None: drawn, or by the class."""
STARTS = (29, 1)
"""Where the box of a positional layout starts in class 0 and 1: its features for PostionalTime, else its time."""
SPLITS = {"train": 0, "val": 1, "test": 2}
BLANK = 3
"""Which draws are those of the series without a box; the splits have the others."""


@dataclass(frozen=True, kw_only=True)
class Config(DatasetConfig):
    """Options of ``dataset=ts_benchmark``.

    Attributes:
        layout: where the box lies, in the benchmark's spelling. The two positional layouts carry the class in the
            box's place, the others in the sign of what is added.
        process: what the series are without the box.
        label: its name in tables; None: layout and process.
        n_train, n_val, n_test: how many series.
        data_seed: of the draws; the run's seed does not change them.
        scaling: ``cells``: minimum and maximum of each (step, feature) cell in training become 0 and 1; or ``none``.
        narma_seed: ``fixed``: all features and samples share one NARMA series, drawn from seed 42, as in the benchmark;
            ``per_feature``: each feature has its own.
    """

    kind: ClassVar[Kind] = "series"
    plants_decoys: ClassVar[bool] = False
    name: Literal["ts_benchmark"] = "ts_benchmark"
    layout: Layout = "Middle"
    process: Literal["Box", "Harmonic", "PseudoPeriodic", "GaussianProcess", "AutoRegressive", "CAR", "NARMA"] = (
        "GaussianProcess"
    )
    n_train: int = 1000
    n_val: int = 100
    n_test: int = 100
    data_seed: int = 0
    scaling: Literal["cells", "none"] = "cells"
    narma_seed: Literal["fixed", "per_feature"] = "fixed"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("n_train", "n_test"):
            require(getattr(self, option) >= 2, option, getattr(self, option), "2 or more")
        require(self.n_val >= 0, "n_val", self.n_val, "0 or more")
        require(self.data_seed >= 0, "data_seed", self.data_seed, "0 or more")
        if self.label is None:
            object.__setattr__(self, "label", f"{self.layout}_{self.process}")

    @property
    def has_masks(self) -> bool:
        """The box is known."""
        return True


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Return the series with their boxes as masks; made anew from ``data_seed`` each time."""
    sizes = {"train": config.n_train, "val": config.n_val, "test": config.n_test}
    parts = {name: drawn(config, name, size) for name, size in sizes.items() if size}
    if config.scaling == "cells":
        low, high = parts["train"].x.min(0), parts["train"].x.max(0)
        width = np.where(high > low, high - low, 1)
    else:
        low, width = 0.0, 1.0
    scaled = {name: _scaled(part, low, width) for name, part in parts.items()}
    return Source(
        kind="series",
        train=scaled["train"],
        val=scaled.get("val"),
        test=scaled["test"],
        class_names=("negative", "positive"),
        mean=(0.0,) * FEATURES,
        std=(1.0,) * FEATURES,
        object_mask="own",
        blank=((without_box(config) - low) / width).astype(np.float32),
        stamps=("synthetic",),
        fingerprint=fingerprint(*(part.x for part in scaled.values())),
    )


def _scaled(part: Part, low: Floats | float, width: Floats | float) -> Part:
    x = ((part.x - low) / width).astype(np.float32)
    return Part(x=x, y=part.y, index=part.index, mask=part.mask, annotated=part.annotated)


def drawn(config: Config, split: str, n: int) -> Part:
    """Return ``n`` series of a split before scaling, float64; splits have generators of their own."""
    rng = _draws(config, SPLITS[split])
    y = rng.integers(0, 2, n)
    x, mask = np.empty((n, STEPS, FEATURES)), np.zeros((n, STEPS, FEATURES), dtype=bool)
    for row, label in enumerate(y.tolist()):
        box = _box(config.layout, label, rng)
        mask[row][box] = True
        x[row] = _sample(config, label, box, rng)
    start = config.n_train if split == "val" else 0
    return Part(x=x, y=y.astype(np.int64), index=start + np.arange(n), mask=mask, annotated=np.ones(n, dtype=bool))


def without_box(config: Config) -> Floats:
    """Return one more series ``(T, F)`` before scaling, float64: its process and the noise of cells, and no box."""
    return _sample(config, 1, (slice(0, 0), slice(0, 0)), _draws(config, BLANK))


def _draws(config: Config, which: int) -> Generator:
    number = 100 * LAYOUTS.index(config.layout) + list(PROCESSES).index(config.process)
    return np.random.default_rng([10_000 * config.data_seed + number, which])


def _box(layout: str, label: int, rng: Generator) -> tuple[slice, slice]:
    """Return the box of a sample, steps and features; drawn starts are uniform on 0 to 49 - side."""
    steps, features, t0, f0 = BOXES[layout]
    if layout == "PostionalTime":
        f0 = STARTS[label]
    elif layout == "PostionalFeature":
        t0 = STARTS[label]
    t0 = int(rng.integers(STEPS - steps)) if t0 is None else t0
    f0 = int(rng.integers(FEATURES - features)) if f0 is None else f0
    return slice(t0, t0 + steps), slice(f0, f0 + features)


def _process(config: Config) -> Process | None:
    fixed = config.process == "NARMA" and config.narma_seed == "fixed"
    return seeded_narma(42) if fixed else PROCESSES[config.process]


def _sample(config: Config, label: int, box: tuple[slice, slice], rng: Generator) -> Floats:
    added = 1 if config.layout.startswith("Postional") else 2 * label - 1
    process = _process(config)
    if process is None:
        x = rng.normal(size=(STEPS, FEATURES))
        x[box] = rng.normal(added, 1, x[box].shape)
        return x
    x = process(sampled_times(rng, STEPS), FEATURES, rng) + rng.normal(0, NOISE, (STEPS, FEATURES))
    x[box] += added
    return x
