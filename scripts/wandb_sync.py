"""Send what runs logged offline to wandb: ``python scripts/wandb_sync.py [outputs ...]``, once logged in.

Parts of a run that was stopped and resumed have one id and go into one curve, the oldest first.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from wandb.cli.cli import cli


def offline_parts(outputs: Sequence[Path]) -> list[Path]:
    """Return the folders of offline parts below some folders with runs, in the order of their start."""
    found = (part for folder in outputs for part in folder.rglob("wandb/offline-run-*"))
    return sorted(found, key=lambda part: part.name)


def main() -> None:
    """Hand what is found to ``wandb sync``, which leaves out what it has sent before."""
    outputs = [Path(argument) for argument in sys.argv[1:]] or [Path("outputs")]
    parts = offline_parts(outputs)
    if not parts:
        sys.exit(f"error: no offline runs of wandb below {', '.join(map(str, outputs))}")
    os.environ.setdefault("WANDB_DIR", str(outputs[0]))  # where the log of the sending goes; else it would lie here
    cli(["sync", "--yes", *map(str, parts)])


if __name__ == "__main__":
    main()
