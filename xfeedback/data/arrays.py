"""Files of arrays by name, ``.npz`` or ``.pt``, as the splits of a data set; nothing in them is ever run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xfeedback.config import require
from xfeedback.data.options import DatasetConfig
from xfeedback.dtypes import Array, Bools, Ints
from xfeedback.errors import UserError, suggest

SPLITS = ("train", "val", "test")
ENDINGS = (".npz", ".pt", ".pth")
FORM = "x and y, or x_train, y_train, x_test, y_test (and x_val, y_val); besides mask, wrong and annotated likewise"


@dataclass(frozen=True, kw_only=True)
class ArraysConfig(DatasetConfig):
    """Options of anyone's samples in one file.

    The file holds ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``, ``y_test`` and perhaps ``x_val``,
    ``y_val``: samples ``(N, ...)`` and labels ``(N,)``. Optional, each with the same endings: ``mask`` and ``wrong``,
    right and wrong evidence where they are not 0, and ``annotated`` ``(N,)``; and ``classes``, the names of the labels
    0, 1, ...

    Attributes:
        file: the file.
        split_seed: of the split by class where the file has none; the run's seed does not change it.
    """

    plants_decoys: ClassVar[bool] = False
    file: str | None = None
    split_seed: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.split_seed >= 0, "split_seed", self.split_seed, "0 or more")

    @property
    def has_masks(self) -> bool:
        """Whether the file says where right or wrong evidence lies."""
        return annotates(self.file)

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            UserError: none is given.
        """
        if self.file is None:
            raise UserError(f"dataset={self.name} needs dataset.file=FILE.npz or .pt with {FORM}")
        return Path(self.file)


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """The samples of a file.

    Attributes:
        parts: arrays ``x``, ``y`` (numbers of classes) and perhaps ``mask``, ``wrong``, ``annotated`` by split;
            a single split ``all`` where the file names none.
        class_names: one per class.
    """

    parts: Mapping[str, Mapping[str, Array]]
    class_names: tuple[str, ...]


def read(path: Path) -> Arrays:
    """Return the arrays of a file, with labels as numbers of classes.

    Labels are whole numbers or texts; ``classes`` may name the classes 0, 1, ... of whole numbers.

    Raises:
        UserError: the file can't be read or holds more than plain arrays, one is missing, or they don't fit together.
    """
    found = _raw(path)
    classes = found.pop("classes", None)
    grouped = _grouped(path, found)
    for split, part in grouped.items():
        _refuse_misfits(path, split, part)
    first = "train" if "train" in grouped else "all"
    names, known = _classes(path, grouped[first]["y"], classes)
    parts = {split: {**part, "y": _numbers(path, split, part["y"], known)} for split, part in grouped.items()}
    return Arrays(parts=parts, class_names=names)


def annotates(file: str | None) -> bool:
    """Whether a file says where right or wrong evidence lies; False where there is none.

    Raises:
        UserError: it can't be read.
    """
    path = Path(file or "")
    if not path.is_file():
        return False
    return any(name.split("_")[0] in ("mask", "wrong") for name in _opened(path, _names))


def raw_labels(values: Array) -> list[str]:
    """Return labels as texts, ``1`` and not ``1.0`` for whole numbers."""
    return [str(value) for value in values.tolist()]


def _raw(path: Path) -> dict[str, Array]:
    found = _opened(path, _numpy)
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path} holds a {type(found).__name__}, not arrays by name: {FORM}")
    return {str(name): _plain(path, str(name), value) for name, value in found.items()}


def _opened(path: Path, numpy: Callable[[Path], Any]) -> Any:
    """What a file holds; of an ``.npz`` file what ``numpy`` makes of it."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path} must be a file of arrays: {', '.join(ENDINGS)}")
    if not path.is_file():
        raise UserError(f"cannot read {path}: there is no such file")
    try:
        return numpy(path) if path.suffix.lower() == ".npz" else _torch(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"cannot read {path}: {reason or type(error).__name__}. It must hold plain arrays by name: {FORM}."
        ) from error


def _names(path: Path) -> list[str]:
    with np.load(path, allow_pickle=False) as file:
        return list(file.files)


def _numpy(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _torch(path: Path) -> Any:
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict):
        return found
    return {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in found.items()}


def _plain(path: Path, name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UserError(f"{path}: '{name}' is no array: its rows differ in length") from error
    if array.dtype.kind not in "biufU":
        raise UserError(f"{path}: '{name}' is {array.dtype}; expected numbers, or texts for labels")
    return array


def _grouped(path: Path, found: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    fields = ("x", "y", "mask", "wrong", "annotated")
    known = {f"{field}_{split}": (split, field) for split in SPLITS for field in fields}
    known |= {field: ("all", field) for field in fields}
    grouped: dict[str, dict[str, Array]] = {}
    for name, array in found.items():
        if name not in known:
            raise UserError(f"{path}: '{name}' is not understood.{suggest(name, known)} A file holds {FORM}.")
        split, field = known[name]
        grouped.setdefault(split, {})[field] = array
    wanted = {"all"} if "all" in grouped else {"train", "test"}
    if not wanted <= grouped.keys() or (wanted == {"all"} and len(grouped) > 1):
        raise UserError(f"{path} has {', '.join(found)}; a file holds {FORM}.")
    for split, part in grouped.items():
        for field in ("x", "y"):
            if field not in part:
                name = field if split == "all" else f"{field}_{split}"
                raise UserError(f"{path} has no '{name}'; a file holds {FORM}.")
    return grouped


def _refuse_misfits(path: Path, split: str, part: Mapping[str, Array]) -> None:
    count = len(part["x"]) if part["x"].ndim else 0
    ending = "" if split == "all" else f"_{split}"
    if count == 0:
        raise UserError(f"{path}: 'x{ending}' holds no sample")
    for name, array in part.items():
        if array.ndim == 0 or len(array) != count:
            raise UserError(f"{path}: '{name}{ending}' is {array.shape}, and 'x{ending}' has {count} samples")
    for name in ("y", "annotated"):
        if name in part and part[name].ndim != 1:
            raise UserError(f"{path}: '{name}{ending}' has the shape {part[name].shape}; one value a sample, (N,)")
    if part["y"].dtype.kind not in "biuU":
        raise UserError(f"{path}: 'y{ending}' is {part['y'].dtype}; labels are whole numbers or texts")
    if part["x"].dtype.kind == "U":
        raise UserError(f"{path}: 'x{ending}' holds texts; dataset=text_file reads texts")
    if part["x"].dtype.kind == "f" and np.isinf(part["x"]).any():
        raise UserError(f"{path}: 'x{ending}' has infinite values, the first in sample {_first(part['x'], np.isinf)}")


def _first(x: Array, test: Callable[[Array], Bools]) -> int:
    return int(test(x).reshape(len(x), -1).any(1).argmax())


def _classes(path: Path, y: Array, classes: Array | None) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Names of the classes, and the number of each label."""
    labels = np.unique(y).tolist()
    if classes is not None:
        names = tuple(raw_labels(classes.reshape(-1)))
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"{path}: 'classes' names '{twice}' twice, and each class needs a name of its own")
        if y.dtype.kind not in "biu" or not 0 <= min(labels) <= max(labels) < len(names):
            raise UserError(f"{path}: 'classes' names {len(names)}, so labels must be 0 to {len(names) - 1}")
        return names, {label: label for label in range(len(names))}
    if len(labels) < 2:
        raise UserError(f"{path} has {len(labels)} class in training, and a classifier needs two or more")
    return tuple(map(str, labels)), {label: at for at, label in enumerate(labels)}


def _numbers(path: Path, split: str, y: Array, known: Mapping[Any, int]) -> Ints:
    strange = sorted(set(y.tolist()) - known.keys())
    if strange:
        raise UserError(f"{path}: the {split} samples have the label '{strange[0]}', which no training sample has")
    return np.array([known[label] for label in y.tolist()], dtype=np.int64)


def regions(path: Path, part: Mapping[str, Array], shape: Sequence[int]) -> dict[str, Bools]:
    """Return ``mask``, ``wrong`` and ``annotated`` of a split, as :class:`~xfeedback.data.source.Part` takes them.

    Where only wrong evidence is known, all else is right. A sample without any counts as not annotated, unless
    ``annotated`` says otherwise.

    Args:
        path: for messages.
        part: the arrays.
        shape: of one region: ``(H, W)`` or ``(T, F)``.

    Raises:
        UserError: one has another shape or is not of whole numbers, or there is ``annotated`` alone.
    """
    found: dict[str, Bools] = {}
    for name in ("mask", "wrong"):
        if name in part:
            array = part[name]
            if array.shape[1:] != tuple(shape) or array.dtype.kind not in "biu":
                raise UserError(
                    f"{path}: '{name}' is {array.dtype} {array.shape}; expected whole numbers {(len(array), *shape)}"
                )
            found[name] = array != 0
    if not found and "annotated" in part:
        raise UserError(f"{path}: 'annotated' says whose mask counts, and the file has no 'mask' and no 'wrong'")
    if not found:
        return {}
    if "mask" not in found:
        some = found["wrong"].any(axis=(1, 2), keepdims=True)
        found["mask"] = some & ~found["wrong"]
    own = part["annotated"].astype(bool) if "annotated" in part else None
    marked = np.any([region.any(axis=(1, 2)) for region in found.values()], axis=0)
    return found | {"annotated": marked if own is None else own}
