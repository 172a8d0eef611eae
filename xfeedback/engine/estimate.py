"""How long cells will take, by what finished runs took."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from xfeedback import files
from xfeedback.engine.equal_time import lengthened
from xfeedback.engine.spec import RunSpec


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is known of the time that cells will take one after the other.

    Attributes:
        seconds: of the cells that can be judged.
        judged: how many these are.
        cells: how many there are.
    """

    seconds: float
    judged: int
    cells: int

    def __str__(self) -> str:
        if not self.judged:
            return "nothing finished yet to judge their time by"
        unknown = self.cells - self.judged
        others = f", {unknown} more not known" if unknown else ""
        return f"about {duration(self.seconds)} one after the other{others}"


def estimate(specs: Sequence[RunSpec]) -> Estimate:
    """Judge each cell by runs of the same cell, else by an epoch of the same data set, network and method."""
    finished = list(_finished({Path(spec.paths.outputs) / "runs" for spec in specs}))
    known = [seconds for spec in specs if (seconds := _judged(spec, finished)) is not None]
    return Estimate(seconds=sum(known), judged=len(known), cells=len(specs))


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``.

    >>> duration(44.6), duration(700), duration(12600)
    ('45 s', '12 min', '3.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _finished(folders: Iterable[Path]) -> Iterable[Mapping[str, Any]]:
    for folder in folders:
        for path in sorted(folder.glob("*/result.json")):
            yield files.read_json(path)


def _judged(spec: RunSpec, finished: Sequence[Mapping[str, Any]]) -> float | None:
    same = [run["seconds"] for run in finished if run["cell"] == spec.cell and not run["resumed"]]
    if same:
        return median(same)
    who = (spec.label, spec.model.name, spec.method)
    alike = [run for run in finished if (run["dataset"], run["model"], run["method"]) == who and not run["resumed"]]
    per_epoch = [run["seconds"] / run["epochs"] for run in alike]
    return median(per_epoch) * lengthened(spec).trainer.max_epochs if per_epoch else None
