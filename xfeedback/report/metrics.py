"""What the report knows about metric names: titles, units, order, and which direction is better.

A name it has never seen is shown as it stands, without a unit and without a best row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from xfeedback.report.labels import (
    AFTER_PHASE,
    AVERAGE,
    EXPLAINERS,
    FORGETTING,
    HIGHER,
    INSIDE,
    LABELS,
    LOWER,
    ORDER,
    SHARES,
    STEP_RATIO,
    STEP_TIME,
    VALIDATION,
    Label,
)

__all__ = [
    "AFTER_PHASE",
    "AVERAGE",
    "FORGETTING",
    "INSIDE",
    "STEP_RATIO",
    "STEP_TIME",
    "Metric",
    "describe",
    "headline",
    "label_of",
    "ordered",
]


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
    def of_test(self) -> str:
        """Its name where it is measured on test data."""
        return self.name.removeprefix(VALIDATION)

    @property
    def digits(self) -> int:
        """Decimals shown in tables for people; good distances are small parts of the diagonal, areas below 1."""
        name = self.of_test
        if name.startswith(("faithfulness/", "calibration/")) and not self.unit:
            return 3
        return 1 if self.unit == "%" and not name.startswith("explanation/mnd") else 2

    @property
    def is_accuracy(self) -> bool:
        """Whether it is an accuracy: on some test view, of the worst group, or the mean over the tests of phases."""
        return self.of_test == AVERAGE or (self.of_test.startswith("acc/") and self.of_test != "acc/reliance")

    @property
    def is_view(self) -> bool:
        """Whether it is the accuracy on a whole test view at the end of training."""
        return self.is_accuracy and self.of_test != "acc/worst_group" and not self.of_test.startswith(AFTER_PHASE)


def describe(name: str) -> Metric:
    """Return how to show the metric called ``name``."""
    plain = name.removeprefix(VALIDATION)
    better = "lower" if plain.startswith(LOWER) else "higher" if plain.startswith(HIGHER) else None
    label = label_of(name) or Label(name, name)
    return Metric(name, label.title, label.short, _unit(plain), better)


def label_of(name: str) -> Label | None:
    """Return what a metric, or another explainer's of the same score, is called; None for a name never seen.

    >>> label_of("explanation/inside_lime").short, label_of("val/acc/test").title, label_of("acc/phase_2").title
    ('inside, LIME', 'Test, validation data', 'Test after phase 2')
    """
    if name.startswith(VALIDATION):
        found = label_of(name.removeprefix(VALIDATION))
        return found and Label(f"{found.title}, validation data", f"val {found.short}")
    if name in LABELS:
        return LABELS[name]
    if name.startswith(AFTER_PHASE):
        words = f"Test after phase {name.removeprefix(AFTER_PHASE)}"
        return Label(words, words)
    for ending, explainer in EXPLAINERS.items():
        score = LABELS.get(name.removesuffix(f"_{ending}"))
        if score is not None:
            return Label(f"{score.title}, {explainer}", f"{score.short}, {explainer}")
    return None


def ordered(names: Iterable[str]) -> list[str]:
    """Sort metric names: accuracies, explanations, costs, then the rest by name; on test data first."""
    return sorted(set(names), key=_place)


def headline(names: Iterable[str]) -> str | None:
    """The accuracy that decides a comparison: over phases their average, else with random decoys, else on the test.

    One on validation data where there is none on test data.
    """
    accuracies = [name for name in ordered(names) if describe(name).is_view]
    own = [name for name in accuracies if not name.startswith(VALIDATION)] or accuracies
    called = {describe(name).of_test: name for name in own}
    decides = next((name for name in (AVERAGE, "acc/random", "acc/test") if name in called), None)
    return called[decides] if decides else next(iter(own), None)


def _place(name: str) -> tuple[int, int, bool, str]:
    plain = name.removeprefix(VALIDATION)
    return _rank(plain), len(name) if plain.startswith(AFTER_PHASE) else 0, plain != name, name


def _rank(name: str) -> int:
    matches = [
        position for position, key in enumerate(ORDER) if name == key or (key[-1] == "/" and name.startswith(key))
    ]
    return min(matches, default=len(ORDER))


def _unit(name: str) -> str:
    if name == STEP_RATIO:
        return "×"
    if name.endswith("_ms"):
        return "ms"
    return "%" if name.startswith(SHARES) else ""
