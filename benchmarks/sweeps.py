"""What a sweep costs beside training: cells of one step each, through the command line, in one process.

    python benchmarks/sweeps.py [--quick]

Overhead is the command's time, start and comparison included, less the time of the epochs in ``metrics.jsonl``, by the
number of cells. One thread, digits, the smallest evaluation. CPU time, which other programs change little; the wall
time beside it has the waiting for the disk in it.
"""

import json
import sys
import tempfile
from pathlib import Path

from commands import run
from common import Bar, Part, Table, main

BAR = 0.5
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


def trained(folder: Path) -> list[float]:
    """Return the seconds that each cell's epochs took."""
    histories = [path.read_text().splitlines() for path in folder.glob("outputs/runs/*/metrics.jsonl")]
    return [sum(json.loads(line)["seconds"] for line in lines) for lines in histories]


def measure(quick: bool) -> Part:
    """Return the overhead a cell.

    Raises:
        RuntimeError: a cell was not trained.
    """
    cells = 2 if quick else 100
    with tempfile.TemporaryDirectory() as name:
        ended = run("-m", *TINY, f"seed=range({cells})", folder=Path(name))
        seconds = trained(Path(name))
    if len(seconds) != cells:
        raise RuntimeError(f"{len(seconds)} of {cells} cells were trained")
    inside = sum(seconds)
    cpu, wall = ((whole - inside) / cells for whole in (ended.cpu, ended.wall))
    row = [str(cells), f"{ended.wall:.1f} s", f"{ended.cpu:.1f} s", f"{inside:.1f} s", f"{wall:.3f} s", f"{cpu:.3f} s"]
    columns = ["cells", "wall time", "CPU time", "of it epochs", "wall time a cell beside them", "CPU time"]
    table = Table(title="A sweep of cells of one step each, start and comparison included", columns=columns, rows=[row])
    bar = Bar(what="CPU time of a sweep beside training, a cell", bar=BAR, limit="", found=cpu, unit=" s")
    return Part(title="Sweeps", said=(), tables=[table], bars=[bar])


if __name__ == "__main__":
    sys.exit(main("sweeps", measure, __doc__))
