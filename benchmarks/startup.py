"""What a user waits for: help, the composed options, the first training step; and the memory of a run.

    python benchmarks/startup.py [--quick]

Wall time of whole commands, each in a process of its own, with CPU time beside it. The first step is one of a training
set of a single batch: what is measured is the time from the command to the line that the epoch's end leaves in
``metrics.jsonl``, so it holds the step, the validation and the writing as well.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median

from commands import Ended, run
from common import Bar, Part, Table, main, progress

SMALL = ("dataset=digits", "dataset.limit_train=32", "trainer=cpu", "trainer.batch_size=32", "trainer.max_epochs=1")
QUIET = ("trainer.progress=false", "trainer.threads=1")
SHOWN = {"run.py --help": ("--help",), "run.py --cfg job": ("--cfg", "job")}
HELP, STEP = 1.5, 8.0
"""Seconds that help and the first step may take."""


def shown(name: str, options: tuple[str, ...], rounds: int) -> tuple[list[str], Bar]:
    """Return how long a command takes that trains nothing."""
    with tempfile.TemporaryDirectory() as folder:
        ended = [run(*options, folder=Path(folder)) for _ in range(rounds + 1)][1:]  # the first one fills caches
    wall = median(one.wall for one in ended)
    progress(f"{name}: {wall:.2f} s")
    bar = Bar(what=f"`{name}`", bar=HELP, limit="Python and Hydra", found=wall, unit=" s", **_range(ended))
    return _cells(name, ended), bar


def _range(ended: list[Ended]) -> dict[str, float]:
    return {"low": min(one.wall for one in ended), "high": max(one.wall for one in ended)}


def _cells(name: str, ended: list[Ended], wall: float | None = None) -> list[str]:
    wall = median(one.wall for one in ended) if wall is None else wall
    cpu, peak = median(one.cpu for one in ended), max(one.peak for one in ended)
    return [name, f"{wall:.2f} s", f"{cpu:.2f} s", f"{peak / 2**20:.0f} MiB"]


def first_step(rounds: int) -> tuple[list[str], Bar]:
    """Return the time from the command to the end of an epoch of one step."""
    waited, ended = [], []
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            one = run(*SMALL, *QUIET, f"seed={seed}", "evaluation.explained=0", folder=Path(folder))
            (history,) = Path(folder).glob("outputs/runs/*/metrics.jsonl")
            waited.append(history.stat().st_mtime - one.began)
            ended.append(one)
    progress(f"first step: {median(waited):.2f} s")
    what = "first training step after the command, embedded set"
    limit = "import of torch and Lightning"
    bar = Bar(what=what, bar=STEP, limit=limit, found=median(waited), low=min(waited), high=max(waited), unit=" s")
    return _cells("first training step (CPU time: the whole command)", ended, median(waited)), bar


def whole_runs(names: tuple[str, ...]) -> tuple[list[list[str]], Bar]:
    """Return what runs of one epoch with the default evaluation take, and the largest memory."""
    rows, peak = [], 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            ended = run(f"method={name}", "trainer=cpu", "trainer.max_epochs=1", *QUIET, folder=Path(folder))
        rows.append(_cells(f"method={name}, one epoch, default evaluation", [ended]))
        peak = max(peak, ended.peak)
        progress(f"{rows[-1][0]}: {rows[-1][-1]}")
    found = round(peak / 2**20) or None
    return rows, Bar(what="memory of a run, embedded set", bar=None, limit="", found=found, unit=" MiB")


def measure(quick: bool) -> Part:
    """Return the table and the bars."""
    rounds = 1 if quick else 5
    seen = [shown(name, options, rounds) for name, options in SHOWN.items()]
    seen.append(first_step(1 if quick else 3))
    runs, memory = whole_runs(() if quick else ("plain", "xbl", "saliency_guided"))
    rows = [*(cells for cells, _ in seen), *runs]
    columns = ["command", "wall time", "CPU time", "peak memory"]
    table = Table(title="Medians of whole commands, on the embedded set", columns=columns, rows=rows)
    return Part(title="Start and memory", said=(), tables=[table], bars=[*(bar for _, bar in seen), memory])


if __name__ == "__main__":
    sys.exit(main("startup", measure, __doc__))
