"""Whether the files that finished runs read have been written since."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from xfeedback.data import eraser, lists
from xfeedback.data.sets import audio_folder, image_folder
from xfeedback.engine.spec import RunSpec

OPTIONS = ("file", "train", "val", "test", "root")
"""Of data sets: a person's own file or folder each."""
INSIDE = ("images", *image_folder.RIGHT, "wrong", lists.FOLDER, *eraser.FILES, "docs", "docs.jsonl")
"""What is read in a folder."""


def notes(finished: Iterable[RunSpec]) -> tuple[str, ...]:
    """Return a line for each own file or folder that was written after a run on it: a run's name has its path alone.

    Of folders the lists and tables count, and which files there are; not when each image, clip or document was written.

    Args:
        finished: runs that are skipped.
    """
    named = dict.fromkeys(path for spec in finished for path in _since(spec))
    return tuple(
        f"{path} was written after a run on it that is skipped; if its content has changed, force=true trains anew"
        for path in named
    )


def _since(spec: RunSpec) -> list[Path]:
    begun = _written(spec.folder / "provenance.json")
    options = [getattr(spec.dataset, name, None) for name in OPTIONS]
    given = [Path(path) for path in (*options, spec.dataset.annotation.file) if isinstance(path, str)]
    return [path for path in given if begun and max(map(_written, _read(path)), default=0.0) > begun]


def _read(path: Path) -> Iterator[Path]:
    """A file; of a folder what is read in it, and the folders and lists in that."""
    if not path.is_dir():
        yield path
        return
    with suppress(OSError):
        known = [name for name in INSIDE if (path / name).exists()]
        words = audio_folder.word_folders(path) if set(known) <= {lists.FOLDER} else []
        for part in (path / name for name in (*known, *words)):
            yield part
            inside = list(part.iterdir()) if part.is_dir() else []
            yield from (entry for entry in inside if entry.is_dir() or part.name == lists.FOLDER)


def _written(path: Path) -> float:
    """When a file or the list of a folder's files was last written, in seconds of the epoch; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
