"""What a person reads while runs go on."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from xfeedback.engine import rewritten
from xfeedback.engine.estimate import estimate
from xfeedback.engine.spec import RunSpec

if TYPE_CHECKING:
    from xfeedback.engine.progress import Tally
    from xfeedback.engine.run import Outcome
    from xfeedback.engine.sweep import Plan

_OUT = Console(highlight=False, soft_wrap=True)


def notices(spec: RunSpec) -> None:
    """Say what was decided on the user's behalf."""
    notes(spec.notices)


def notes(lines: Iterable[str]) -> None:
    """Say what a person should know, a line each."""
    for line in lines:
        _OUT.print(f"note: {line}", markup=False)


def planned(plan: "Plan") -> None:
    """Say what a sweep will do."""
    notes(dict.fromkeys(notice for spec in plan.specs for notice in spec.notices))
    pending = {spec.run for spec in plan.pending}
    notes(rewritten.notes(spec for spec in plan.specs if spec.run not in pending))
    count = len({spec.cell for spec in plan.specs})
    rows = f"{count} row{'s' if count > 1 else ''}"
    done = len(plan.specs) - len(plan.pending)
    finished = f", {done} finished before" if done else ""
    time = f": {estimate(plan.pending)}" if plan.pending and done else ""
    _OUT.print(f"{len(plan.specs)} cells ({rows}){finished}, {len(plan.pending)} to run{time}")


def dry(plan: "Plan") -> None:
    """List the cells of a sweep and say what they will take."""
    pending = {spec.run for spec in plan.pending}
    for spec in plan.specs:
        _OUT.print(f"{'to run' if spec.run in pending else 'done  '}  {_name(spec)}  {spec.folder}", markup=False)
    _OUT.print(f"time: {estimate(plan.pending)}" if plan.pending else "nothing to run")


def progressed(tally: "Tally") -> None:
    """Say how far a sweep is."""
    _OUT.print(f"{tally}", style="dim")


def waiting(specs: Sequence[RunSpec]) -> None:
    """Say which cells another process is at work on."""
    named = ", ".join(_name(spec) for spec in specs[:3]) + (f" and {len(specs) - 3} more" if len(specs) > 3 else "")
    _OUT.print(f"waiting for another process that is at work on {named}", markup=False)


def left_out(spec: RunSpec) -> None:
    """Say that a cell is not begun because another one failed."""
    _OUT.print(f"left out {_name(spec)}: an earlier cell failed (sweep.fail_fast)", markup=False)


def submitted(ids: Sequence[str], plan: "Plan") -> None:
    """Say under which numbers the cells were submitted, and how to see the comparison later."""
    _OUT.print(f"submitted {len(ids)} jobs: {', '.join(ids)}")
    _OUT.print(f"later: python -m xfeedback.report {plan.specs[0].paths.outputs} (or the same command again)")


def ended(spec: RunSpec, outcome: "Outcome") -> None:
    """Say in one line how a run ended, and where it is."""
    from xfeedback.report.metrics import INSIDE, describe  # the report is imported where it is needed

    record = outcome.record
    if outcome.status == "busy":
        _OUT.print(f"busy {_name(spec)}: another process is at work on it", markup=False)
    elif outcome.status == "failed":
        _OUT.print("failed ", style="red", end="")
        _OUT.print(failure(spec, outcome), markup=False)
    elif record:
        shown = {k: v for k, v in record["metrics"].items() if k == INSIDE or describe(k.removeprefix("val/")).is_view}
        figures = ", ".join(f"{k} {v:.1f}" for k, v in shown.items())
        word = "done" if outcome.status == "done" else "finished before (force=true runs it anew)"
        _OUT.print(f"{word} ", style="green", end="")
        _OUT.print(f"{_name(spec)}: {figures} ({record['seconds']:.0f} s)\n  {outcome.folder}", markup=False)
        notes(rewritten.notes([spec]) if outcome.status == "skipped" else ())
        if record["stamps"]:
            _OUT.print(f"  stamped: {', '.join(record['stamps'])}", markup=False)
        for note in record["notes"] if outcome.status == "done" else ():
            if note not in (*spec.notices, *outcome.said):
                _OUT.print(f"  note: {note}", markup=False)


def failure(spec: RunSpec, outcome: "Outcome") -> str:
    """Return in one line which run failed and why."""
    return f"{_name(spec)}: {outcome.record['error']}"


def _name(spec: RunSpec) -> str:
    return f"{spec.title} on {spec.label}, seed {spec.seed}"
