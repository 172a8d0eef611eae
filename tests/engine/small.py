"""Specs of runs that take a fraction of a second."""

from pathlib import Path
from typing import Any

from xfeedback.engine.spec import RunSpec


def plain_values(outputs: Path, **parts: Any) -> dict[str, Any]:
    """Return nested plain values of a small run; ``parts`` replace whole parts or add options to them."""
    values: dict[str, Any] = {
        "dataset": {"name": "digits", "limit_train": 60, "limit_test": 40},
        "decoy": {"name": "corner"},
        "model": {"name": "gapnet", "width": 2},
        "method": {"plain": {}},
        "trainer": {"max_epochs": 2, "batch_size": 32, "threads": 1, "progress": False},
        "evaluation": {"explained": 20, "pictures": 3},
        "paths": {"outputs": str(outputs), "cache": str(outputs / "cache")},
    }
    for name, part in parts.items():
        merged = isinstance(part, dict) and name in values and name not in ("method", "model")
        values[name] = {**values[name], **part} if merged else part
    return values


def small_spec(outputs: Path, **parts: Any) -> RunSpec:
    """Return the spec of a small run."""
    return RunSpec.from_plain(plain_values(outputs, **parts))
