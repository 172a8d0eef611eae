"""Plan the cells of a comparison and compare what came out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xfeedback.engine.folder import RunFolder
from xfeedback.engine.spec import RunSpec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep will do.

    Attributes:
        specs: all cells, in order.
        pending: those that are not finished.
        decoys_added: runs whose data set gets decoys because another method of the sweep needs annotations.
    """

    specs: tuple[RunSpec, ...]
    pending: tuple[RunSpec, ...]
    decoys_added: frozenset[str]

    @property
    def out(self) -> Path:
        """Where the comparison is written: the same sweep has the same folder."""
        digest = hashlib.sha256("\n".join(spec.run for spec in self.specs).encode()).hexdigest()[:8]
        labels = "+".join(dict.fromkeys(spec.label for spec in self.specs))
        return Path(self.specs[0].paths.outputs) / "comparisons" / f"{labels[:60]}-{digest}"


def plan(specs: Sequence[RunSpec]) -> Plan:
    """Put all methods of a data set on the same footing, and find out which cells are missing.

    Where one method switched decoys on because it needs annotations, the others of the sweep get them too: rows of
    one table are trained on the same images.
    """
    planted = {spec.dataset.name for spec in specs if spec.decoys_planted}
    whole, added = [], []
    for spec in specs:
        if spec.dataset.name in planted and not spec.decoy.on:
            spec = spec.with_decoys(f"another method of the sweep needs annotations on {spec.dataset.name}")  # noqa: PLW2901
            added.append(spec.run)
        whole.append(spec)
    pending = tuple(spec for spec in whole if spec.force or RunFolder(spec).result() is None)
    return Plan(specs=tuple(whole), pending=pending, decoys_added=frozenset(added))


def compare(plan: Plan) -> int:
    """Print the table, write the comparison, and return how many cells are not finished."""
    from xfeedback import report

    report.compare([spec.folder for spec in plan.specs], plan.out).show()
    return sum(RunFolder(spec).result() is None for spec in plan.specs)
