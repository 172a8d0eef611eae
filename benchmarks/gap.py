"""Where the time between a method's step and its limit by counting goes: a profile by kind of operation.

    python benchmarks/gap.py [--quick]

Of the two methods that ``steps.py`` found furthest from their limit, on the network where they are. The time of a plain
step in each kind of operation, times the limit, is what the method would take if it did nothing but more passes.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from common import Part, Table, folder, main, progress
from steps import batch_for, host, one_step, title

from xfeedback import files

KINDS = (
    ("convolutions", r"conv"),
    ("matrix products", r"mm$|linear|matmul|dot"),
    ("pooling", r"pool"),
    ("sorting and choosing", r"sort|topk|kthvalue|gather|scatter|index|where|masked|unique|max$|min$"),
    ("random numbers", r"uniform|bernoulli|rand|normal|dropout|multinomial|exponential"),
    ("copies and layouts", r"copy|clone|contiguous|cat$|stack|to_mkldnn|to_dense|fill|zero|empty|new_|resize|set_"),
    ("elementwise and sums", r""),
)
"""Kind of operation and the pattern of its names; the first that fits."""
TWO: tuple[dict[str, Any], ...] = (
    {"network": "mnist_cnn", "method": "challenger", "options": {"site": "input"}, "ratio": 0.0, "limit": 8 / 3},
    {"network": "mnist_cnn", "method": "saliency_guided", "options": {}, "ratio": 0.0, "limit": 8 / 3},
)
"""Where ``steps.py`` has not been run."""


def furthest(*, quick: bool) -> list[dict[str, Any]]:
    """Return the two rows of ``steps.py`` with the largest ratio of time to limit, of different methods."""
    path = folder(quick=quick) / "steps.json"
    known: Mapping[str, Any] = files.read_json(path)["numbers"] if path.exists() else {}
    rows: list[dict[str, Any]] = [{**values, "network": name.split()[0]} for name, values in known.items()] or list(TWO)
    best: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=_beyond, reverse=True):
        best.setdefault(row["method"], row)
    return list(best.values())[:2]


def _beyond(row: Mapping[str, Any]) -> float:
    return row["ratio"] / row["limit"]


def profiled(work: Callable[[], object], steps: int) -> Counter[str]:
    """Return the milliseconds of a step by kind of operation, and outside of operations."""
    work()
    with torch.profiler.profile() as seen:
        for _ in range(steps):
            work()
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        if "::" in event.key:
            kind = next(kind for kind, pattern in KINDS if re.search(pattern, event.key))
            spent[kind] += event.self_cpu_time_total / 1000 / steps
    return spent


def table_of(row: Mapping[str, Any], steps: int) -> Table:
    """Return milliseconds a step by kind: plain, method, and what is beyond the limit."""
    network, method, options, limit = (row[key] for key in ("network", "method", "options", "limit"))
    module, batch = host(network, method, options), batch_for(network, 4 if steps == 1 else None)
    plain, own = (profiled(one_step(module, batch, plain=plain), steps) for plain in (True, False))
    kinds = [*(kind for kind, _ in KINDS)]
    beyond = {kind: own[kind] - limit * plain[kind] for kind in kinds}
    lines = [[kind, *_cells(plain[kind], own[kind], beyond[kind])] for kind in kinds]
    lines.append(["all", *_cells(plain.total(), own.total(), own.total() - limit * plain.total())])
    columns = ["kind of operation", "plain", "method", f"method - {limit:.2f} x plain"]
    progress(f"{network} {title(method, options)}: {lines[-1][-1]} ms beyond the limit")
    return Table(title=f"{title(method, options)} on {network}, milliseconds a step", columns=columns, rows=lines)


def _cells(*values: float) -> list[str]:
    return [f"{value:.2f}" for value in values]


def measure(quick: bool) -> Part:
    """Return a table for each of the two."""
    tables = [table_of(row, 1 if quick else 20) for row in furthest(quick=quick)]
    return Part(title="Where the gap to the limit goes", said=(SAID,), tables=tables)


SAID = (
    "PyTorch's profiler, one thread: time inside operations, without what Python does between them. The two methods of "
    "the tables of steps whose time is furthest from the limit by counting. A negative number: the method does less of "
    "it than the limit's share of plain training."
)

if __name__ == "__main__":
    sys.exit(main("gap", measure, __doc__))
