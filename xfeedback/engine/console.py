"""What a person reads while runs go on."""

from collections import Counter

from rich.console import Console

from xfeedback.engine.run import Outcome
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.sweep import Plan

_OUT = Console(highlight=False, soft_wrap=True)


def notices(spec: RunSpec) -> None:
    """Say what was decided on the user's behalf."""
    for notice in spec.notices:
        _OUT.print(f"note: {notice}")


def planned(plan: Plan) -> None:
    """Say what a sweep will do."""
    for notice in dict.fromkeys(notice for spec in plan.specs for notice in spec.notices):
        _OUT.print(f"note: {notice}")
    counts = Counter((spec.method, spec.label) for spec in plan.specs)
    done = len(plan.specs) - len(plan.pending)
    finished = f", {done} finished before" if done else ""
    _OUT.print(f"{len(plan.specs)} cells ({len(counts)} rows){finished}, {len(plan.pending)} to run")


def ended(spec: RunSpec, outcome: Outcome) -> None:
    """Say in one line how a run ended and where it is."""
    name = f"{spec.method} on {spec.label}, seed {spec.seed}"
    record = outcome.record
    if outcome.status == "failed":
        _OUT.print(f"[red]failed[/red] {name}: {record['error']}")
    elif record:
        figures = ", ".join(f"{k} {v:.1f}" for k, v in record["metrics"].items() if not k.startswith("cost/"))
        word = "done" if outcome.status == "done" else "finished before (force=true runs it anew)"
        _OUT.print(f"[green]{word}[/green] {name}: {figures} ({record['seconds']:.0f} s)")
        _OUT.print(f"  {outcome.folder}")
