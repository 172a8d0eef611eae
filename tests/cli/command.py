"""Run the real command line in a process of its own, and look at what it left behind."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SMALL = (
    "dataset.limit_train=200",
    "dataset.limit_test=100",
    "evaluation.explained=50",
    "evaluation.pictures=4",
    "trainer.threads=1",
)
DIGITS = ("dataset=digits", "decoy=corner", "model.width=4", "trainer.max_epochs=3", *SMALL)
"""A run of about a second beyond its imports."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def line(self) -> str:
        """The one line on stderr; fails when there is more, or less."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, f"expected one line on stderr, got:\n{self.err}"
        return lines[0]

    @property
    def last(self) -> str:
        """The last line on stderr, after the progress bar."""
        return self.err.strip().splitlines()[-1].split("\r")[-1]


def command(*arguments: str) -> list[str]:
    """Return the command that a person would type."""
    return [sys.executable, str(ROOT / "run.py"), *arguments]


def environment(**extra: str) -> dict[str, str]:
    """Return a person's environment: one thread, nobody logged in to wandb, no data set folder of the test run."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "XFEEDBACK_", "HYDRA_", "PYTEST_"))}
    return {**keep, "OMP_NUM_THREADS": "1", "NETRC": os.devnull, **extra}


def run(*arguments: str, cwd: Path, limit_bytes: int | None = None, timeout: float = 120, **extra: str) -> Ended:
    """Run the command line to its end; ``limit_bytes`` is the size of file at which the disk counts as full."""
    started, used = time.perf_counter(), cpu_seconds()
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        preexec_fn=None if limit_bytes is None else lambda: _limit(limit_bytes),
    )
    seconds, of_cpu = time.perf_counter() - started, cpu_seconds() - used
    return Ended(done.returncode, done.stdout, done.stderr, seconds, of_cpu)


def cpu_seconds() -> float:
    """Seconds of CPU of all commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _limit(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command line; it is killed at the end of the block if it still runs."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - the tests start no threads
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _heed_interrupts() -> None:
    """A shell starts background jobs with SIGINT ignored, and children inherit that; a person's terminal does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(found: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 60) -> Any:
    """Wait until ``found()`` is true and return it; fail when the process ends before that."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert process.poll() is None, f"ended too early:\n{process.communicate()[1]}"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)
    return value


def stop_after(epochs: int, signal_number: int, *arguments: str, cwd: Path) -> Ended:
    """Run until the checkpoint of so many epochs is there, and send the signal."""
    with started(*arguments, cwd=cwd) as process:
        wait_for(lambda: list(cwd.glob(f"outputs/runs/*/checkpoints/epoch-{epochs:06d}-*.ckpt")), process)
        process.send_signal(signal_number)
        out, err = process.communicate(timeout=30)
        return Ended(process.returncode, out, err)


def only_run(cwd: Path) -> Path:
    """Return the one run folder."""
    (folder,) = (cwd / "outputs" / "runs").iterdir()
    return folder


def read(folder: Path, name: str = "result.json") -> dict[str, Any]:
    """Return the content of a JSON file of a run."""
    return json.loads((folder / name).read_text())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def measured(folder: Path) -> Mapping[str, Any]:
    """Return everything a run measured but the time it took: results, bits of the weights, and the history."""
    result = read(folder)
    return {
        "weights": result["weights_sha256"],
        "metrics": {k: v for k, v in result["metrics"].items() if not k.startswith("cost/")},
        "selected": (result["select_on"], result["selected_epoch"], result["steps"]),
        "history": [{k: v for k, v in line.items() if k != "seconds"} for line in read_lines(folder / "metrics.jsonl")],
    }


def listing(folder: Path) -> dict[str, tuple[int, int] | None]:
    """Return size and time of every file below ``folder``, and None for every folder."""
    paths = sorted(folder.rglob("*"))
    stats = {path: path.stat() for path in paths if path.is_file()}
    return {
        str(path.relative_to(folder)): (stats[path].st_size, stats[path].st_mtime_ns) if path in stats else None
        for path in paths
    }
