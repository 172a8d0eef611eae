"""Ways to run queued cells: in this process, side by side, several seeds as one program, or by Hydra's launcher."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from xfeedback.engine import console, launch, queue
from xfeedback.engine.launch import ON_CLUSTER, Launch
from xfeedback.engine.orphan import end_with_sweep
from xfeedback.engine.seeds import Seeds, cores
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import TrainingError

Start = Callable[[Sequence[Path]], Exception | None]
"""Runs queued cells and returns what stopped it, or None."""
LAUNCHER = "launcher"
"""The way of cells that Hydra's launcher runs."""


def chosen(asked: Seeds, launcher: str, pending: Sequence[RunSpec]) -> str:
    """Return how cells are run: ``serial`` in this process, ``processes``, ``vmap``, or as the launcher does it.

    Args:
        asked: what the command line says.
        launcher: Hydra's; ``basic`` where none was chosen.
        pending: the cells.
    """
    if launcher != "basic":
        if asked.execution != "auto":
            console.notes([f"execution={asked.execution}: hydra/launcher={launcher} makes each seed a job of its own"])
        return LAUNCHER
    if asked.execution != "auto":
        return asked.execution
    if asked.count is None or len(pending) < 2:
        return "serial"
    import torch

    gpu = torch.cuda.is_available() and any(spec.trainer.accelerator != "cpu" for spec in pending)
    return "vmap" if gpu else "processes"


def starter(
    way: str, launch: Launch, side_by_side: Callable[[int], Launch], launcher: str, overrides: Sequence[str]
) -> Start:
    """Return what runs queued cells.

    Args:
        way: as :func:`chosen` says.
        launch: runs jobs by Hydra's launcher.
        side_by_side: likewise, in so many processes at a time on this machine.
        launcher: its name.
        overrides: those that jobs need to have it.
    """
    if way in ("serial", LAUNCHER):
        return by_launcher(launch, launcher, overrides)
    processes = partial(_in_processes, launch_in=side_by_side)
    if way == "processes":
        return processes
    from xfeedback.engine.stacked.launch import as_one  # imports Lightning

    return partial(as_one, otherwise=processes)


def by_launcher(launch_jobs: Launch, launcher: str, overrides: Sequence[str]) -> Start:
    """Return what runs queued cells: in this process at once, or as jobs of Hydra's launcher."""
    return _here if launcher == "basic" else launch.starter(launch_jobs, launcher, overrides)


def _here(cells: Sequence[Path]) -> Exception | None:
    try:
        for cell in cells:
            run_queued(cell)
    except Exception as error:  # noqa: BLE001 - what is finished is compared first
        return error
    return None


def _in_processes(cells: Sequence[Path], launch_in: Callable[[int], Launch]) -> Exception | None:
    """Run queued cells in processes of their own, as many at a time as there are cores, with one thread each."""
    for cell in cells:
        queue.with_one_thread(cell)
    jobs = launch_in(min(cores(), len(cells)))
    return launch.starter(jobs, "joblib", ["hydra/launcher=joblib"])(cells)


def run_queued(path: Path) -> int:
    """Run a queued cell, record and say how it ended, and return the exit code."""
    from xfeedback.engine.run import refused, run_experiment  # imports Lightning

    end_with_sweep()
    queued = queue.take(path)
    if queued.stopped:
        console.left_out(queued.spec)
        return 0
    try:
        outcome = run_experiment(queued.spec)
    except Exception as error:  # noqa: BLE001 - the other cells go on
        outcome = refused(queued.spec, error)
    failed = outcome.status == "failed"
    if failed and queued.stop is not None:
        queued.stop.touch()
    console.ended(queued.spec, outcome)
    if failed and ON_CLUSTER in os.environ:
        raise SystemExit(TrainingError.exit_code)  # else the queue would list the job as completed
    return int(failed)
