"""``python -m xfeedback.report RUNS...``: compare run folders, from this machine or others."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from xfeedback.errors import UserError
from xfeedback.report.compare import compare
from xfeedback.report.rows import PLAIN
from xfeedback.report.tables import show


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print the table and the paths written; returns the exit code (2 for a mistake in the request)."""
    parser = argparse.ArgumentParser(prog="python -m xfeedback.report", description="Compare run folders.")
    parser.add_argument("runs", nargs="+", help="run folders, folders that hold some, or glob patterns")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/report"), help="where to write (default: %(default)s)"
    )
    parser.add_argument("--baseline", default=PLAIN, help="method to compare with (default: %(default)s)")
    asked = parser.parse_args(arguments)
    try:
        comparison = compare(asked.runs, asked.out, baseline=asked.baseline)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(comparison)
    return 0


if __name__ == "__main__":
    sys.exit(main())
