"""Plan the cells of a comparison, run those that are missing, and compare what came out."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xfeedback.engine import console, queue
from xfeedback.engine.folder import RunFolder, unwritable
from xfeedback.engine.progress import Watch
from xfeedback.engine.spec import RunSpec
from xfeedback.tracking import installed

if TYPE_CHECKING:
    from xfeedback.report import Comparison

Launch = Callable[[Sequence[Path]], Exception | None]
"""Runs queued cells and returns what stopped the launcher itself, e.g. a killed worker, or None."""
WAIT = 2.0
"""Seconds between two looks at cells that another process is at work on."""


class NotStarted(Exception):  # noqa: N818 - nothing went wrong with the cell
    """A cell's turn did not come."""

    def __str__(self) -> str:
        return "not started: the sweep ended before its turn"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep will do.

    Attributes:
        specs: all cells, in order, each once.
        pending: those that are not finished.
    """

    specs: tuple[RunSpec, ...]
    pending: tuple[RunSpec, ...]

    @property
    def name(self) -> str:
        """The same cells have the same name."""
        digest = hashlib.sha256("\n".join(spec.run for spec in self.specs).encode()).hexdigest()[:8]
        labels = "+".join(dict.fromkeys(spec.label for spec in self.specs))
        return f"{labels[:60]}-{digest}"

    @property
    def out(self) -> Path:
        """Where the comparison is written."""
        return Path(self.specs[0].paths.outputs) / "comparisons" / self.name

    @property
    def queue(self) -> Path:
        """Where cells wait to be run."""
        return Path(self.specs[0].paths.outputs) / "queue" / self.name


def plan(specs: Sequence[RunSpec]) -> Plan:
    """Put all methods of a data set on the same footing, and find out which cells are missing.

    Where one method switched decoys on because it needs annotations, the others of the sweep get them too: rows of
    one table are trained on the same images. A cell that is asked for twice is run once.

    Raises:
        UserError: a cell's folder can't be written or holds a damaged result, or its logger is not installed.
    """
    planted = {spec.dataset.name for spec in specs if spec.decoys_planted}
    whole: dict[str, RunSpec] = {}
    for asked in specs:
        spec = asked
        if spec.dataset.name in planted and not spec.decoy.on:
            spec = spec.with_decoys(f"another method of the sweep needs annotations on {spec.dataset.name}")
        whole.setdefault(spec.run, spec)
    pending = tuple(spec for spec in whole.values() if spec.force or RunFolder(spec).result() is None)
    for spec in pending:
        RunFolder(spec).check()
        installed.check(spec.logger.name)
    return Plan(specs=tuple(whole.values()), pending=pending)


def enqueue(plan: Plan, *, fail_fast: bool = False) -> list[Path]:
    """Write the files of the pending cells, in order; with ``fail_fast`` none is begun once one has failed.

    Raises:
        UserError: they can't be written.
    """
    folder = plan.queue
    stop = folder / "failed" if fail_fast else None
    try:
        if stop is not None:
            stop.unlink(missing_ok=True)
        return [queue.put(queue.Queued(spec=spec, stop=stop), folder) for spec in plan.pending]
    except OSError as error:
        raise unwritable(folder, error) from error


def run(plan: Plan, launch: Launch, *, one_by_one: bool = False, fail_fast: bool = False) -> Exception | None:
    """Run the pending cells and say how far they are; return what stopped the launcher itself, or None.

    Cells that another process is at work on are waited for when all others are done, and run if it left them.

    Args:
        plan: the cells.
        launch: run queued cells.
        one_by_one: they are run in this process, one after the other.
        fail_fast: begin no further cell once one has failed.
    """
    waiting = list(zip(plan.pending, enqueue(plan, fail_fast=fail_fast), strict=True)) if plan.pending else []
    watch = Watch(plan.pending)
    stopped = None
    while waiting and stopped is None:
        stopped = _launched([cell for _, cell in waiting], launch, watch, one_by_one=one_by_one)
        open_ = [(spec, cell) for spec, cell in waiting if watch.state(spec) not in ("done", "failed")]
        busy = [(spec, cell) for spec, cell in open_ if RunFolder(spec).busy()]
        _wait([spec for spec, _ in busy])
        waiting = [(spec, cell) for spec, cell in busy if watch.state(spec) != "done"]
    return stopped


def _launched(cells: Sequence[Path], launch: Launch, watch: Watch, *, one_by_one: bool) -> Exception | None:
    if not one_by_one:
        with watch.reporting(console.progressed):
            return launch(cells)
    for number, cell in enumerate(cells, 1):
        if (stopped := launch([cell])) is not None:
            return stopped
        if number < len(cells):
            console.progressed(watch.tally())
    return None


def _wait(busy: Sequence[RunSpec]) -> None:
    """Wait until no other process is at work on any of the cells."""
    if busy:
        console.waiting(busy)
    while any(RunFolder(spec).busy() for spec in busy):
        time.sleep(WAIT)


def compare(plan: Plan) -> int:
    """Print the table, write the comparison, and return how many cells are not finished.

    Raises:
        UserError: the comparison can't be written.
    """
    from xfeedback import report

    folders = [RunFolder(spec) for spec in plan.specs]
    if any(folder.begun for folder in folders):
        for folder in folders:
            if not folder.path.exists():
                folder.fail(NotStarted(), str(NotStarted()))
        try:
            comparison = report.compare([folder.path for folder in folders if folder.begun], plan.out)
            report.show(comparison)
            _track(plan, comparison)
        except OSError as error:
            raise unwritable(plan.out, error) from error
    return sum(folder.result() is None for folder in folders)


def _track(plan: Plan, comparison: "Comparison") -> None:
    """Log the comparison in a run of its own at wandb, where the cells log there."""
    options = next((spec.logger for spec in plan.specs if spec.logger.name == "wandb"), None)
    if options is None:
        return
    from xfeedback.tracking.comparison import JOB, log_comparison
    from xfeedback.tracking.wandb_run import About

    about = About(
        name=plan.name,
        id=f"{JOB}-{plan.name.rsplit('-', 1)[1]}",
        project=options.project,
        group=JOB,
        job_type=JOB,
        folder=plan.out,
        mode=options.mode,
        tags=tuple(
            dict.fromkeys([JOB, *(spec.label for spec in plan.specs), *(spec.model.name for spec in plan.specs)])
        ),
        config={"runs": [spec.run for spec in plan.specs], "baseline": comparison.baseline},
    )
    log_comparison(comparison, about, charts_of=options.charts)
