"""Plan the cells of a comparison and compare what came out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xfeedback.engine.folder import RunFolder, unwritable
from xfeedback.engine.spec import RunSpec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep will do.

    Attributes:
        specs: all cells, in order, each once.
        jobs: which of the jobs asked for makes a run, by the run's name.
        pending: those that are not finished.
        decoys_added: runs whose data set gets decoys because another method of the sweep needs annotations.
    """

    specs: tuple[RunSpec, ...]
    jobs: Mapping[str, int]
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
    one table are trained on the same images. A cell that is asked for twice is run once.

    Raises:
        UserError: a cell's folder can't be written, or holds a damaged result.
    """
    planted = {spec.dataset.name for spec in specs if spec.decoys_planted}
    whole: dict[str, RunSpec] = {}
    jobs: dict[str, int] = {}
    added = set()
    for position, asked in enumerate(specs):
        spec = asked
        if spec.dataset.name in planted and not spec.decoy.on:
            spec = spec.with_decoys(f"another method of the sweep needs annotations on {spec.dataset.name}")
        if spec.run not in whole:
            whole[spec.run], jobs[spec.run] = spec, position
            added |= {spec.run} if spec is not asked else set()
    pending = tuple(spec for spec in whole.values() if spec.force or RunFolder(spec).result() is None)
    for spec in pending:
        RunFolder(spec).check()
    return Plan(specs=tuple(whole.values()), jobs=jobs, pending=pending, decoys_added=frozenset(added))


def compare(plan: Plan) -> int:
    """Print the table, write the comparison, and return how many cells are not finished.

    Raises:
        UserError: the comparison can't be written.
    """
    from xfeedback import report

    folders = [spec.folder for spec in plan.specs if RunFolder(spec).begun]
    if folders:
        try:
            report.show(report.compare(folders, plan.out))
        except OSError as error:
            raise unwritable(plan.out, error) from error
    return sum(RunFolder(spec).result() is None for spec in plan.specs)
