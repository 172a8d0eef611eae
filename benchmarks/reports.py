"""Time the comparison of 200 finished runs: tables, figures, page.

    python benchmarks/reports.py [--quick]

The run folders are those of the report's tests: invented numbers, handwritten digits as maps.
"""

import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, Part, Table, main, progress

from xfeedback.report import compare

METHODS = ("plain", "rrr", "xbl", "saliency_guided")


def measure(quick: bool) -> Part:
    """Return what reports take by their number of runs."""
    rows = []
    for runs in (8,) if quick else (20, 200):
        with tempfile.TemporaryDirectory() as name:
            folders = written(Path(name) / "runs", runs // len(METHODS))
            wall, cpu = time.perf_counter(), time.process_time()
            compare(folders, Path(name) / "out")
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            size = sum(path.stat().st_size for path in (Path(name) / "out").rglob("*") if path.is_file())
        rows.append([str(runs), f"{wall:.2f} s", f"{cpu:.2f} s", f"{size / 2**20:.1f} MiB"])
        progress(f"{runs} runs: {wall:.1f} s")
    columns = ["runs", "wall time", "CPU time", "all that is written"]
    table = Table(title="A comparison of finished runs", columns=columns, rows=rows)
    return Part(
        title="Reports", said=("Tables, figures and page of four methods' run folders with maps.",), tables=[table]
    )


def written(folder: Path, seeds: int) -> list[Path]:
    """Write run folders of each method and return them."""
    sys.path.insert(0, str(ROOT))
    from tests.report.runfolders import Cell, write_run

    return [write_run(folder, Cell(method), seed) for method in METHODS for seed in range(seeds)]


if __name__ == "__main__":
    sys.exit(main("reports", measure, __doc__))
