"""Gates, controls and correlations of runs with decoys: ``python scripts/shortcuts.py RUNS...``, Markdown on stdout."""

import sys
from collections.abc import Sequence

from xfeedback.errors import UserError
from xfeedback.report.collect import collect
from xfeedback.report.rows import build
from xfeedback.report.shortcuts import markdown
from xfeedback.report.tables import warned


def main(arguments: Sequence[str]) -> int:
    """Print the tables of run folders, or folders that hold some; returns the exit code (2 for a mistake)."""
    try:
        found = collect(arguments or ["outputs/runs"])
        print(markdown(warned(build(found.runs, warnings=found.warnings))))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
