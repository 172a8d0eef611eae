"""What the report knows about metric names: titles, units, order, and which direction is better.

A name it has never seen is shown as it stands, without a unit and without a best row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

STEP_TIME = "cost/step_ms"
STEP_RATIO = "cost/step_ratio"

_TITLES = {
    "acc/random": "Random decoys",
    "acc/conflict": "Conflicting decoys",
    "acc/clean": "No decoys",
    "acc/correlated": "Decoys as in training",
    "acc/test": "Test",
    "explanation/inside": "Inside annotation",
    "explanation/inside_gradient": "Inside annotation, gradient",
    "explanation/inside_grad_cam": "Inside annotation, Grad-CAM",
    STEP_RATIO: "Relative step time",
    STEP_TIME: "Step time",
}
_SHORT = {
    "acc/random": "random",
    "acc/conflict": "conflict",
    "acc/clean": "clean",
    "acc/correlated": "correlated",
    "acc/test": "test",
    "explanation/inside": "inside",
    STEP_RATIO: "cost",
}
_ORDER = [
    "acc/test",
    "acc/random",
    "acc/conflict",
    "acc/clean",
    "acc/correlated",
    "acc/",
    "explanation/inside",
    "explanation/",
    "cost/step_ratio",
    "cost/step_ms",
    "cost/",
]
_HIGHER = ("acc/", "explanation/inside")
_LOWER = ("cost/", "ece", "nll", "brier", "mce", "calibration/", "forgetting")


@dataclass(frozen=True, slots=True)
class Metric:
    """How one metric is shown.

    Attributes:
        name: as in ``result.json``.
        title: heading for people.
        short: heading for narrow tables.
        unit: ``%``, ``ms``, ``x`` or an empty string.
        better: which direction is good; None when it is not known.
    """

    name: str
    title: str
    short: str
    unit: str
    better: Literal["higher", "lower"] | None

    @property
    def digits(self) -> int:
        """Decimals shown in tables for people."""
        return 1 if self.unit == "%" else 2

    @property
    def is_accuracy(self) -> bool:
        """Whether it is an accuracy on some test view."""
        return self.name.startswith("acc/")


def describe(name: str) -> Metric:
    """Return how to show the metric called ``name``."""
    better = "higher" if name.startswith(_HIGHER) else "lower" if name.startswith(_LOWER) else None
    return Metric(name, _TITLES.get(name, name), _SHORT.get(name, name), _unit(name), better)


def ordered(names: Iterable[str]) -> list[str]:
    """Sort metric names: accuracies, explanations, costs, then the rest by name."""
    return sorted(set(names), key=lambda name: (_rank(name), name))


def headline(names: Iterable[str]) -> str | None:
    """The accuracy that decides a comparison: the random-decoy view if there is one, else plain test accuracy."""
    accuracies = [name for name in ordered(names) if name.startswith("acc/")]
    return next(
        (name for name in ("acc/random", "acc/test") if name in accuracies), accuracies[0] if accuracies else None
    )


def _rank(name: str) -> int:
    matches = [
        position for position, key in enumerate(_ORDER) if name == key or (key[-1] == "/" and name.startswith(key))
    ]
    return min(matches, default=len(_ORDER))


def _unit(name: str) -> str:
    if name == STEP_RATIO:
        return "×"
    if name.endswith("_ms"):
        return "ms"
    return "%" if name.startswith(("acc/", "explanation/inside")) else ""
