"""Give queued cells to whoever runs them: this process, others on this machine, or a cluster."""

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
                _wait(submitted(launch, jobs), cells)
            else:
                for job in launch(jobs):
                    _ = job.return_value
        except Exception as error:  # noqa: BLE001 - what is finished is compared first
            return error
        return None

    return start


def _wait(jobs: Sequence[Any], cells: Sequence[Path]) -> None:
    """Wait for each job of a cluster; one that was lost does not hide the others."""
    for job, cell in zip(jobs, cells, strict=True):
        try:
            job.results()
        except Exception as error:  # noqa: BLE001 - also those of a job that failed and recorded why
            _record_lost(job, cell, error)


def _record_lost(job: Any, cell: Path, error: Exception) -> None:
    """Write why a run has no end, where it could not do so itself: killed, out of memory, cancelled before its turn."""
    from xfeedback.engine import queue
    from xfeedback.engine.folder import RunFolder

    folder = RunFolder(queue.take(cell).spec)
    if folder.result() is None and not (folder.path / "error.json").exists() and not folder.busy():
        folder.fail(error, f"job {job.job_id} was lost ({job.state}); its logs: {job.paths.folder}")


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
        AutoExecutor.map_array = original  # type: ignore[method-assign]
    return handles
