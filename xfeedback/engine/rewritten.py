"""Whether the files that finished runs read have been written since."""

from collections.abc import Iterable
from pathlib import Path

from xfeedback.engine.spec import RunSpec

OPTIONS = ("file", "train", "val", "test")
"""Of data sets: a person's own file each."""


def notes(finished: Iterable[RunSpec]) -> tuple[str, ...]:
    """Return a line for each own file that was written after a run on it began: a run's name has its path alone.

    Folders are not looked into.

    Args:
        finished: runs that are skipped.
    """
    named = dict.fromkeys(path for spec in finished for path in _since(spec))
    return tuple(
        f"{path} was written after a run on it that is skipped; if its content has changed, force=true trains anew"
        for path in named
    )


def _since(spec: RunSpec) -> list[str]:
    begun = _written(spec.folder / "provenance.json")
    options = [getattr(spec.dataset, name, None) for name in OPTIONS]
    given = [path for path in (*options, spec.dataset.annotation.file) if isinstance(path, str)]
    return [path for path in given if begun and _written(Path(path)) > begun]


def _written(path: Path) -> float:
    """When a file was last written, in seconds of the epoch; 0 where there is none."""
    try:
        return path.stat().st_mtime if path.is_file() else 0.0
    except OSError:
        return 0.0
