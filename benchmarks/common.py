"""What all benchmarks share: work timed in turns, ratios with their interval, peak memory, the machine, the fragment.

A benchmark is a function that returns a :class:`Part`; :func:`main` runs it, prints it, and leaves it as a fragment in
``build/bench/`` (``build/bench/quick/`` with ``--quick``), of which ``benchmarks/all.py`` makes `docs/performance.md`.
"""

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's lines on the absence of a GPU
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import numpy as np
import torch

from xfeedback import files
from xfeedback.engine.memory import keep_freed_memory
from xfeedback.engine.provenance import git_state
from xfeedback.errors import FeedbackWarning, UserError

ROOT = Path(__file__).parents[1]
FRAGMENTS = ROOT / "build" / "bench"
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times longer one piece of work takes than another.

    Attributes:
        value: median over the pairs.
        low, high: 95 % bootstrap interval of that median.
        pairs: how many there are.
    """

    value: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A number that must not be passed.

    Attributes:
        what: was measured.
        bar: the most it may be; None: it is reported only.
        limit: what counting, or nothing but the unavoidable, would give, in words.
        found, low, high: the number and its interval; None where it was not measured.
        unit: of the numbers; a ratio has none.
    """

    what: str
    bar: float | None
    limit: str
    found: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @classmethod
    def of(cls, what: str, ratio: Ratio, *, bar: float, limit: str) -> "Bar":
        """Return the bar of a ratio."""
        return cls(what=what, bar=bar, limit=limit, found=ratio.value, low=ratio.low, high=ratio.high)

    @property
    def passed(self) -> bool:
        """Whether the number is too large."""
        return self.found is not None and self.bar is not None and self.found > self.bar


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under a title."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> list[str]:
        """Return the lines of a Markdown table."""
        head = [f"| {' | '.join(self.columns)} |", "|---" * len(self.columns) + "|"]
        return [f"**{self.title}**", "", *head, *(f"| {' | '.join(row)} |" for row in self.rows), ""]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a benchmark found.

    Attributes:
        title: of its section.
        said: paragraphs before the tables: what was run, and what counts.
        tables, bars: the numbers.
        numbers: what other benchmarks read of it.
    """

    title: str
    said: Sequence[str]
    tables: Sequence[Table] = ()
    bars: Sequence[Bar] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)


def in_turns(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm: int = 2,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Return the seconds of each work in each round; the works take turns, so that a busy machine slows all alike.

    Args:
        works: by name.
        rounds: that count.
        warm: rounds before them, which don't.
        clock: CPU time, which other programs change little, unless the work sleeps, waits or starts processes.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(warm + rounds):
        for name, work in works.items():
            started = clock()
            work()
            if number >= warm:
                times[name].append(clock() - started)
    return times


def ratio(these: Sequence[float], those: Sequence[float]) -> Ratio:
    """Return the median of the pairs' ratios with a percentile bootstrap interval over the pairs."""
    each = np.divide(these, those)
    draws = np.random.default_rng(0).integers(len(each), size=(RESAMPLES, len(each)))
    low, high = np.quantile(np.median(each[draws], axis=1), [0.025, 0.975])
    return Ratio(value=float(np.median(each)), low=float(low), high=float(high), pairs=len(each))


def milliseconds(times: Sequence[float]) -> str:
    """Return the median in words."""
    return f"{1000 * median(times):.2f} ms"


def peak_bytes(work: Callable[[], object]) -> int:
    """Return how much memory tensors on the CPU take at most while ``work`` runs, beyond what they took before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.profiler.profile(profile_memory=True) as seen:
            work()
        events: list[Any] = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
    steps = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = np.cumsum([size for _, size in steps] or [0])
    return int(max(held.max(), 0))


def machine() -> dict[str, Any]:
    """Return what the numbers depend on beside the code."""
    state = git_state(ROOT)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": cores,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": (state["commit"] or "unknown")[:12] + (" with changes" if state["dirty"] else ""),
    }


def _cpu() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    widest = next((name for name in ("avx512f", "avx2") if name in flags), "")
    return " ".join(filter(None, [models[0] if models else platform.processor() or "unknown", widest]))


def load() -> float:
    """Return how many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def main(name: str, measure: Callable[[bool], Part], doc: str | None) -> int:
    """Run a benchmark by itself.

    Args:
        name: of its fragment.
        measure: the benchmark, told whether to be quick.
        doc: for ``--help``.

    Returns:
        1 where a bar is passed, 2 where it can't run here, else 0.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="whether it runs at all: the numbers mean nothing")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.filterwarnings("ignore", category=FeedbackWarning)
    begun, before = time.perf_counter(), load()
    try:
        part = measure(quick)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = round(time.perf_counter() - begun, 1)
    when = datetime.now(UTC).isoformat(timespec="minutes")
    told = {"seconds": seconds, "load": [before, load()], "when": when, "machine": machine()}
    files.write_json(folder(quick=quick) / f"{name}.json", {**asdict(part), **told})
    show(part)
    print(f"{name}: {seconds:.0f} s, load {before} to {load()}")
    return int(any(bar.passed for bar in part.bars) and not quick)


def folder(*, quick: bool) -> Path:
    """Return where fragments are."""
    return FRAGMENTS / "quick" if quick else FRAGMENTS


def show(part: Part) -> None:
    """Print the tables and how the bars stand."""
    for table in part.tables:
        print("\n".join(table.markdown()))
    for bar in part.bars:
        found = "not measured" if bar.found is None else f"{bar.found:.3g}{bar.unit}"
        print(f"{'PASSED THE BAR' if bar.passed else 'ok'}: {bar.what}: {found} (bar {bar.bar})")


def progress(text: str) -> None:
    """Say what is being done, at once."""
    print(f"  {text}", flush=True)
