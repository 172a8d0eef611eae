"""Run queued cells that differ in the seed alone as one program, and the others as they are run otherwise."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from xfeedback.engine import console, queue
from xfeedback.engine.queue import Queued
from xfeedback.engine.run import Outcome, refused
from xfeedback.engine.stacked.layers import CannotStackError
from xfeedback.engine.stacked.run import run_stack

Start = Callable[[Sequence[Path]], Exception | None]


def as_one(cells: Sequence[Path], otherwise: Start) -> Exception | None:
    """Run queued cells, the seeds of each as one program; return what stopped a launcher.

    Args:
        cells: files of the queue.
        otherwise: runs the cells whose seeds can't be trained as one, of which a line says why, and those alone.
    """
    rest: list[Path] = []
    for group in _groups(cells):
        rest += group if len(group) < 2 else _stacked(group)
    return otherwise(rest) if rest else None


def _groups(cells: Sequence[Path]) -> list[list[Path]]:
    found: dict[str, list[Path]] = {}
    for cell in cells:
        found.setdefault(queue.take(cell).spec.cell, []).append(cell)
    return list(found.values())


def _stacked(cells: Sequence[Path]) -> list[Path]:
    """Run the seeds of a cell, and return the cells that could not be run in this way."""
    queued = [queue.take(cell) for cell in cells]
    if queued[0].stopped:
        for one in queued:
            console.left_out(one.spec)
        return []
    try:
        outcomes = run_stack([one.spec for one in queued])
    except CannotStackError as reason:
        note = f"execution=vmap fell back to processes: {reason}"
        console.notes([f"{queued[0].spec.title} on {queued[0].spec.label}: {note}"])
        return [_noted(one, cell, note) for one, cell in zip(queued, cells, strict=True)]
    except Exception as error:  # noqa: BLE001 - the other cells go on
        outcomes = [refused(one.spec, error) for one in queued]
    _say(queued, outcomes)
    return []


def _say(queued: Sequence[Queued], outcomes: Sequence[Outcome]) -> None:
    for one, outcome in zip(queued, outcomes, strict=True):
        if outcome.status == "failed" and one.stop is not None:
            one.stop.touch()
        console.ended(one.spec, outcome)


def _noted(queued: Queued, cell: Path, note: str) -> Path:
    spec = replace(queued.spec, notices=(*queued.spec.notices, note))
    return queue.put(replace(queued, spec=spec), cell.parent)
