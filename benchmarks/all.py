"""Run the benchmarks, each in a process of its own, and write `docs/performance.md` of what they found.

    python benchmarks/all.py [part ...] [--quick]      or: make bench ARGS="steps runner"

Without a part all are run. Parts that are not run, or fail, keep their last fragment in ``build/bench/``, so the page
can be put together bit by bit; it says of which commit each part is. ``--page`` runs nothing. With ``--quick`` the page
goes to ``build/bench/quick/``, since its numbers mean nothing.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import ROOT, Bar, Table, folder, load, machine

from xfeedback import files

PARTS = {
    "steps": 300,
    "lap": 30,
    "runner": 120,
    "explainers": 90,
    "loaders": 30,
    "startup": 75,
    "sweeps": 60,
    "reports": 20,
    "phases": 180,
    "gap": 30,
    "gpu": 5,
}
"""Scripts in the order in which they are run, and about how many seconds each takes on one free core."""
LONGEST = 3600
"""Seconds after which a part is stopped."""
ON_GPU = (
    ("time to 94 % on CIFAR-10, plain and each method", "seconds for plain, in published records on one A100"),
    ("K = 1, 8, 32, 128 seeds as one program", ""),
    ("images a second", ""),
)


def run(part: str, *, quick: bool) -> str:
    """Run a part and return how it ended, in words; empty where all went well."""
    command = [sys.executable, str(Path(__file__).with_name(f"{part}.py")), *(["--quick"] if quick else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command, env=environment, stderr=subprocess.PIPE, text=True, check=False, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return f"failed: stopped after {LONGEST} s"
    if ended.returncode == 2 and ended.stderr.startswith("error: "):
        return ended.stderr.removeprefix("error: ").splitlines()[0]
    if ended.returncode not in (0, 1) or "Traceback" in ended.stderr:
        sys.stderr.write(ended.stderr)
        return f"failed: {(ended.stderr.strip().splitlines() or ['no word'])[-1]}"
    return ""


def bars_table(fragments: Mapping[str, Any]) -> Table:
    """Return what must be shown: the number, its interval, the bar, the limit and whether it holds."""
    rows = []
    for bar in (Bar(**values) for fragment in fragments.values() for values in fragment["bars"]):
        found = "not measured" if bar.found is None else f"{bar.found:.{0 if bar.unit == ' MiB' else 2}f}{bar.unit}"
        if bar.low is not None and bar.high is not None:
            found += f" ({bar.low:.2f} to {bar.high:.2f})"
        verdict = "" if bar.bar is None or bar.found is None else "no" if bar.passed else "yes"
        rows.append([bar.what, found, "reported" if bar.bar is None else f"{bar.bar}{bar.unit}", bar.limit, verdict])
    rows += [] if "gpu" in fragments else [[what, "not measured", "", limit, ""] for what, limit in ON_GPU]
    return Table(title="What must hold", columns=["what", "found", "at most", "limit by counting", "holds"], rows=rows)


def page(fragments: Mapping[str, Any], loads: Sequence[float], notes: Mapping[str, str]) -> str:
    """Return the Markdown page."""
    here = machine()
    lines = ["# Performance", "", *INTRODUCTION, ""]
    lines += [f"- {key}: {value}" for key, value in here.items()]
    lines += [f"- load average: {loads[0]} at the start, {loads[1]} at the end"]
    lines += [f"- written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by `make bench`", ""]
    lines += bars_table(fragments).markdown()
    for name, fragment in fragments.items():
        lines += [f"## {fragment['title']}", "", *_paragraphs(fragment["said"])]
        for table in fragment["tables"]:
            lines += Table(**table).markdown()
        own, load_then = fragment["machine"], fragment["load"]
        other = (
            "" if own == here else f", on {own['cpu']}, {own['gpu']} GPU, torch {own['torch']}, commit {own['commit']}"
        )
        took = f"{fragment['seconds']:.0f} s, load {load_then[0]} to {load_then[1]}, {fragment['when']}"
        lines += [f"`python benchmarks/{name}.py`: {took}{other}.", ""]
    lines += [f"- `{name}`: {words}" for name, words in notes.items()]
    return "\n".join(lines).rstrip() + "\n"


def _paragraphs(said: Sequence[str]) -> list[str]:
    return [line for paragraph in said for line in (paragraph, "")]


INTRODUCTION = (
    "Ratios are medians over pairs of steps that were timed in turns in one process, with a 95 % bootstrap interval;",
    "the limit by counting is what forward and backward passes alone would give. `make bench` writes this page;",
    '`make bench ARGS="steps runner"` renews these parts of it, and `python benchmarks/steps.py` shows one alone.',
)


def main() -> int:
    """Run the parts that were asked for and write the page; 1 where one failed or passed a bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="whether all runs: the numbers mean nothing")
    parser.add_argument("--page", action="store_true", help="run nothing, put the page together")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    chosen = [] if asked.page else [part for part in PARTS if part in (asked.parts or PARTS)]
    notes, before = {}, load()
    for number, part in enumerate(chosen, 1):
        began = time.perf_counter()
        print(f"[{number}/{len(chosen)}] {part}, about {PARTS[part]} s", flush=True)
        if words := run(part, quick=asked.quick):
            notes[part] = words
            print(f"  {part}: {words}", flush=True)
        print(f"  took {time.perf_counter() - began:.0f} s", flush=True)
    where = folder(quick=asked.quick)
    fragments = {part: files.read_json(where / f"{part}.json") for part in PARTS if (where / f"{part}.json").exists()}
    path = where / "performance.md" if asked.quick else ROOT / "docs" / "performance.md"
    files.write_text(path, page(fragments, (before, load()), notes))
    print(f"written: {path}")
    late = [bar for fragment in fragments.values() for bar in fragment["bars"] if Bar(**bar).passed]
    failed = any(words.startswith("failed") for words in notes.values())
    return int(failed or (bool(late) and not asked.quick))


if __name__ == "__main__":
    sys.exit(main())
