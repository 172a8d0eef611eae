"""Data sets: found as files in ``data/sets``, loaded by name, served as batches from the device.

A data set is one file there with a dataclass ``Config`` and a function ``read(config, places) -> Source``.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from xfeedback.errors import UserError, unknown

if TYPE_CHECKING:
    from xfeedback.data.decoy import DecoyConfig
    from xfeedback.data.options import DatasetConfig, Places
    from xfeedback.data.source import Source
    from xfeedback.data.task import Task


def names() -> list[str]:
    """Return the names of all data sets, without importing them."""
    folder = Path(__file__).parent / "sets"
    return sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))


def config_class(name: str) -> "type[DatasetConfig]":
    """Return the dataclass with a data set's options.

    Raises:
        UserError: there is no such data set.
    """
    return _module(name).Config


def annotates(dataset: "DatasetConfig", decoy: "DecoyConfig") -> bool:
    """Whether batches will say where the right evidence lies; reads no data."""
    from xfeedback.data.annotation import resolve

    return resolve(dataset.annotation, decoy.on, "own" if dataset.has_masks else "center") != "none"


def load(
    dataset: "DatasetConfig",
    decoy: "DecoyConfig",
    *,
    seed: int,
    root: Path,
    extra_roots: Sequence[Path] = (),
    cache: Path,
    arrange: "Callable[[Source], Source] | None" = None,
) -> "Task":
    """Read a data set and put decoys and annotations on it.

    Args:
        dataset: options of the class that :func:`config_class` names.
        decoy: options of the decoys; ``auto`` counts as off.
        seed: the run's seed, for the decoys' corners and colours.
        root: the user's data folder in torchvision's layout; what is missing everywhere is downloaded into it.
        extra_roots: further folders to look in, never written to.
        cache: where decoded copies are kept.
        arrange: changes which samples belong to which split; None: as the reader gave them.

    Raises:
        UserError: files that are missing or damaged, or options that don't fit the images.
    """
    from xfeedback.data.build import build
    from xfeedback.data.options import Places

    places = Places(root=Path(root), extra=tuple(Path(e) for e in extra_roots), cache=Path(cache))
    return build(dataset, read(dataset, places), decoy, seed, arrange)


def read(dataset: "DatasetConfig", places: "Places") -> "Source":
    """Read a data set as it is, without decoys and annotations of training.

    Raises:
        UserError: files are missing or damaged, or may not be read.
    """
    try:
        return _module(dataset.name).read(dataset, places)
    except OSError as error:
        what = error.filename or "its files"
        raise UserError(f"dataset={dataset.name}: cannot read {what}: {error.strerror or error}.") from error


def _module(name: str) -> ModuleType:
    if name not in names():
        raise unknown("dataset", name, names())
    return import_module(f"xfeedback.data.sets.{name}")
