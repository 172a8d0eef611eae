"""MNIST and its look-alikes: images and labels in four IDX files."""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xfeedback.config import require
from xfeedback.data import folders
from xfeedback.data.options import DatasetConfig, Places, Scale, normalisation
from xfeedback.data.source import Source, fingerprint, split_off, whole
from xfeedback.dtypes import Bytes
from xfeedback.errors import UserError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
OFFICIAL = (60_000, 10_000)
VALIDATION = 5_000


@dataclass(frozen=True, kw_only=True)
class IdxConfig(DatasetConfig):
    """Options of ``dataset=mnist`` and ``dataset=fashion_mnist``.

    Attributes:
        declared_sizes: sizes (training, test) of shortened sets that are accepted and stamped ``subset``.
        scale: inputs have mean 0 and deviation 1 over the training pixels (``standard``), or lie in [-1, 1] (``half``)
            or [0, 1] (``unit``).
        validation: share of the training images that validates, e.g. 0.1 as CDEP (Rieger et al. 2020) has it; None:
            5,000 images, of shortened sets a tenth.
    """

    declared_sizes: tuple[tuple[int, ...], ...] = ()
    scale: Scale = "standard"
    validation: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        share = self.validation
        require(share is None or 0 < share < 1, "validation", share, "above 0 and below 1")
        pairs = all(len(pair) == 2 for pair in self.declared_sizes)
        require(pairs, "declared_sizes", self.declared_sizes, "a list of pairs [training, test]")


@dataclass(frozen=True, kw_only=True)
class IdxSet:
    """What is particular to one set.

    Attributes:
        folder: its folder in torchvision's layout, which is also torchvision's class.
        md5: published checksums of the four ``.gz`` files, in the order of :data:`FILES`.
        class_names: one per class.
        mean: of the training pixels in [0, 1].
        std: of the training pixels in [0, 1].
    """

    folder: str
    md5: tuple[str, str, str, str]
    class_names: tuple[str, ...]
    mean: float
    std: float


def read(config: IdxConfig, places: Places, spec: IdxSet) -> Source:
    """Return a set with a stratified validation set.

    Raises:
        UserError: files missing or damaged and not to be downloaded, or a shortened set that is not declared.
    """
    folder = locate(places, spec)
    arrays, unpacked, damage = _read_files(folder, spec)
    train, test = whole(arrays[0][:, None], arrays[1]), whole(arrays[2][:, None], arrays[3])
    found = len(train.y), len(test.y)
    complete = folders.check_size(spec.folder, found, OFFICIAL, config.declared_sizes, folder)
    if complete and damage:
        raise damage[0]
    usual = VALIDATION if complete else len(train.y) // 10
    train, val = split_off(train, usual if config.validation is None else round(config.validation * len(train.y)))
    stamps = () if complete and not unpacked else ("unverified",) if complete else ("subset",)
    mean, std = normalisation(config.scale, (spec.mean,), (spec.std,))
    return Source(
        train=train,
        val=val,
        test=test,
        class_names=spec.class_names,
        mean=mean,
        std=std,
        object_mask="foreground",
        center_box={"gray": 20, "hue": 20},
        stamps=stamps,
        fingerprint=fingerprint(*arrays),
    )


def locate(places: Places, spec: IdxSet) -> Path:
    """Return the first folder with any of the four files; without one, download into the root.

    Raises:
        UserError: the download failed.
    """
    searched = folders.candidates(places, f"{spec.folder}/raw")
    for folder in searched:
        if any((folder / (name + end)).exists() for name in FILES for end in ("", ".gz")):
            return folder
    return folders.download(spec.folder, searched[0], searched, lambda into: _fetch(into, spec))


def _fetch(into: Path, spec: IdxSet) -> Path:
    from torchvision import datasets

    return Path(getattr(datasets, spec.folder)(into, download=True).raw_folder)


def _read_files(folder: Path, spec: IdxSet) -> tuple[list[Bytes], bool, list[UserError]]:
    """Return the four arrays, whether one came from an unpacked file, and the checksums that differ."""
    arrays: list[Bytes] = []
    unpacked, damage = False, []
    for name, md5 in zip(FILES, spec.md5, strict=True):
        packed = folder / f"{name}.gz"
        path = packed if packed.exists() else folder / name
        content = folders.read_bytes(path)
        arrays.append(parse(path, _unpack(path, content), 3 if "images" in name else 1))
        if path == packed:
            try:
                folders.verify(path, content, md5)
            except UserError as error:
                damage.append(error)
        unpacked |= path != packed
    for images, labels, name in ((arrays[0], arrays[1], FILES[1]), (arrays[2], arrays[3], FILES[3])):
        _match(folder / name, images, labels, spec.class_names)
    return arrays, unpacked, damage


def _unpack(path: Path, content: bytes) -> bytes:
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise folders.damaged(path, error) from error


def parse(path: Path, content: bytes, dimensions: int) -> Bytes:
    """Return the array of an unpacked IDX file of bytes.

    Raises:
        UserError: it is not one, has other dimensions, or its length differs from what its header says.
    """
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise folders.damaged(path, f"it does not begin like an IDX file of bytes with {dimensions} dimension(s)")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise folders.damaged(path, f"{len(content) - header} bytes where its header promises {math.prod(shape)}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy()


def _match(path: Path, images: Bytes, labels: Bytes, class_names: Sequence[str]) -> None:
    if len(images) != len(labels):
        raise folders.damaged(path, f"{len(labels)} labels for {len(images)} images")
    if len(labels) == 0 or int(labels.max()) >= len(class_names) or images.shape[1:] != (28, 28):
        raise folders.damaged(path, f"not 28x28 images with labels 0 to {len(class_names) - 1}")
