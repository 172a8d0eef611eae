"""Give queued cells to whoever runs them: this process, others on this machine, or a cluster."""

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

Launch = Callable[[Sequence[Sequence[str]]], Sequence[Any]]
"""Runs jobs, given their overrides, and returns what became of each (Hydra's ``JobReturn``)."""
QUEUED = "queued"
"""The option that tells a job which queued cell to run; set by the sweeper alone."""
SLURM = "submitit_slurm"
ON_CLUSTER = "SUBMITIT_EXECUTOR"
"""Set in the jobs of a cluster."""
LOOK = 20.0
"""Seconds between two looks at the queue."""


class LostJob(Exception):  # noqa: N818 - the name of a state, in error.json
    """A job of a cluster ended without a word."""


def jobs_of(cells: Sequence[Path], launcher: Sequence[str] = ()) -> list[list[str]]:
    """The overrides that make a job run a queued cell: whatever else is in ``conf/`` by then does not matter.

    Args:
        cells: files of the queue.
        launcher: the override that chooses the launcher, where an experiment chose it and not the command line.
    """
    return [[*launcher, f"+{QUEUED}='{str(cell).replace(chr(39), chr(92) + chr(39))}'"] for cell in cells]


def starter(launch: Launch, name: str, launcher: Sequence[str]) -> Callable[[Sequence[Path]], Exception | None]:
    """Run queued cells, which record their own failures; return what stopped the launcher, e.g. a killed worker.

    Args:
        launch: runs jobs.
        name: of the launcher.
        launcher: as in :func:`jobs_of`.
    """

    def start(cells: Sequence[Path]) -> Exception | None:
        jobs = jobs_of(cells, launcher)
        try:
            if name.startswith("submitit"):
                _wait(submitted(launch, jobs), cells, slurm=name == SLURM)
            else:
                for job in launch(jobs):
                    _ = job.return_value
        except Exception as error:  # noqa: BLE001 - what is finished is compared first
            return error
        return None

    return start


def _wait(jobs: Sequence[Any], cells: Sequence[Path], *, slurm: bool) -> None:
    """Wait until each job of a cluster has ended or was lost; one that was lost does not hide the others.

    submitit asks Slurm's accounting, which knows nothing of a task that was cancelled before its turn, and which some
    clusters don't have; what is in the queue no more at two looks in succession is lost too.
    """
    waiting, missing, looked = list(zip(jobs, cells, strict=True)), set[str](), time.monotonic()
    while waiting:
        lost: set[str] = set()
        if slurm and time.monotonic() - looked > LOOK:
            absent, looked = _not_queued([job.job_id for job, _ in waiting]), time.monotonic()
            lost, missing = missing & absent, absent
        ended = [(job, cell) for job, cell in waiting if job.done() or job.job_id in lost]
        for job, cell in ended:
            _record_lost(job, cell)
        waiting = [pair for pair in waiting if pair not in ended]
        time.sleep(1 if waiting else 0)


def _not_queued(ids: Sequence[str]) -> set[str]:
    """Those of some jobs that Slurm's queue does not have; none where it does not answer."""
    arrays = ",".join(sorted({number.partition("_")[0] for number in ids}))
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={arrays}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode and "Invalid job id" not in answer.stderr:  # which says that all of them ended long ago
        return set()
    return set(ids) - set(answer.stdout.split())


def _record_lost(job: Any, cell: Path) -> None:
    """Write why a run has no end, where it could not do so itself: killed, out of memory, cancelled before its turn."""
    from xfeedback.engine import queue
    from xfeedback.engine.folder import RunFolder

    folder = RunFolder(queue.take(cell).spec)
    if folder.result() is None and not (folder.path / "error.json").exists() and not folder.busy():
        state = "no longer in the queue" if job.state == "UNKNOWN" else job.state
        folder.fail(LostJob(), f"job {job.job_id} was lost ({state}); its logs: {job.paths.folder}")


def submitted(launch: Launch, jobs: Sequence[Sequence[str]]) -> list[Any]:
    """Submit jobs and return submitit's handles; the launcher itself would wait, and stop at the first lost job."""
    from submitit import AutoExecutor

    class _Left(Exception):  # noqa: N818 - no error: the launcher is left before it waits
        pass

    handles: list[Any] = []
    original = AutoExecutor.map_array

    def leave(self: Any, *arguments: Any) -> Any:
        handles.extend(original(self, *arguments))
        raise _Left

    AutoExecutor.map_array = leave  # type: ignore[method-assign]
    try:
        with suppress(_Left):
            launch(jobs)
    finally:
        AutoExecutor.map_array = original
    return handles
