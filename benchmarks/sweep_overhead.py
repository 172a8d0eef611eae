"""What a sweep costs beside training: 200 cells of one step each, through the command line, in one process.

    python benchmarks/sweep_overhead.py [cells]

Overhead is the command's time, start and comparison included, less the time of the epochs in ``metrics.jsonl``, by the
number of cells. One thread, digits, the smallest evaluation. The exit code is 1 where it takes more than 0.5 s of CPU
time, which other programs don't change much; the wall time beside it has the waiting for the disk in it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CELLS = 200
LIMIT = 0.5
"""Seconds of overhead a cell."""
TINY = (
    "dataset=digits",
    "dataset.limit_train=32",
    "dataset.limit_test=20",
    "model.width=2",
    "trainer=cpu",
    "trainer.batch_size=32",
    "trainer.max_epochs=1",
    "trainer.progress=false",
    "trainer.threads=1",
    "evaluation.explained=0",
    "evaluation.pictures=0",
)


def sweep(cells: int, folder: Path) -> tuple[float, float]:
    """Run the sweep in ``folder`` and return its wall and CPU time in seconds."""
    command = [sys.executable, str(Path(__file__).parents[1] / "run.py"), "-m", *TINY, f"seed=range({cells})"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def trained(folder: Path) -> list[float]:
    """Return the seconds that each cell's epochs took."""
    histories = [path.read_text().splitlines() for path in folder.glob("outputs/runs/*/metrics.jsonl")]
    return [sum(json.loads(line)["seconds"] for line in lines) for lines in histories]


def main(cells: int) -> int:
    """Print the overhead a cell; return 1 where it is too much."""
    with tempfile.TemporaryDirectory() as name:
        wall, cpu = sweep(cells, Path(name))
        seconds = trained(Path(name))
    if len(seconds) != cells:
        raise SystemExit(f"{len(seconds)} of {cells} cells were trained")
    overhead = (cpu - sum(seconds)) / cells
    print(f"{cells} cells: {wall:.1f} s, {cpu:.1f} s of CPU time, of these {sum(seconds):.1f} s in epochs")
    print(f"overhead a cell: {(wall - sum(seconds)) / cells:.3f} s, {overhead:.3f} s of CPU time (limit {LIMIT})")
    return int(overhead > LIMIT)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else CELLS))
