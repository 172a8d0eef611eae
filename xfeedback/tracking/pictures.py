"""What of a finished run's folder is sent to trackers beside its figures."""

import json
from pathlib import Path

PICTURES = {"explanations": "explanations.png", "confusion": "confusion.png"}
"""File of each picture by the name it has in trackers."""
CONFUSION = "confusion.json"


def confusion_rows(folder: Path) -> list[tuple[str, str, int]]:
    """Return (actual class, predicted class, how often) of the headline test view; empty when a run has none."""
    path = folder / CONFUSION
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    names, counts = found["classes"], found["counts"][found["views"][0]]
    return [(names[i], names[j], count) for i, row in enumerate(counts) for j, count in enumerate(row)]
