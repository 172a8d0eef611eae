"""A JPEG copy of CIFAR-10 (lossy, about 30 dB): one archive of single files and an index; decoded once, then cached."""

import csv
import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import numpy as np

from xfeedback.data import cache, folders
from xfeedback.data.cifar_batches import BATCH, CLASSES, OFFICIAL, TRAIN_MD5
from xfeedback.data.options import Places
from xfeedback.data.source import Part
from xfeedback.dtypes import Bools, Bytes, Ints

FOLDER = "CIFAR10-jpeg"
ARCHIVE, INDEX = "cifar10_jpg.tar.xz", "index.csv"


def searched(places: Places) -> list[Path]:
    """Return the folders the copy may lie in, in order of preference."""
    return folders.candidates(places, FOLDER)


def present(folder: Path) -> bool:
    """Whether a folder holds the copy or a part of it."""
    return any((folder / name).exists() for name in (ARCHIVE, INDEX))


def read(folder: Path, store: Path, declared: tuple[tuple[int, ...], ...]) -> tuple[Part, Part, str]:
    """Return (training part, test part, fingerprint of the decoded images and labels), each part in official order.

    Raises:
        UserError: files are missing or damaged, the size is not declared, or the cache can't be written.
    """
    archive, table = folders.read_bytes(folder / ARCHIVE), folders.read_bytes(folder / INDEX)
    names, test, index, y = _read_index(folder / INDEX, table)
    sizes = int((~test).sum()), int(test.sum())
    folders.check_size("CIFAR-10 as JPEG", sizes, OFFICIAL, declared, folder)
    cached = store / f"cifar10-jpeg-{hashlib.sha256(archive + table).hexdigest()[:16]}.pt"
    found, digest = cache.arrays(cached, lambda: {"x": _decode(folder / ARCHIVE, archive, names), "y": y})
    everything = Part(x=found["x"], y=found["y"], index=index)
    return everything.take(np.flatnonzero(~test)), everything.take(np.flatnonzero(test)), digest


def _read_index(path: Path, content: bytes) -> tuple[list[str], Bools, Ints, Ints]:
    """Return (file names, whether each is a test image, official position, label), training first, official order."""
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        numbers = {name: start * BATCH for start, name in enumerate(TRAIN_MD5)} | {"test_batch": 0}
        entries = [
            (
                row["official_batch"] == "test_batch",
                numbers[row["official_batch"]] + int(row["index_in_batch"]),
                int(row["label"]),
                row["file"],
            )
            for row in rows
        ]
    except (KeyError, ValueError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise folders.damaged(path, f"no table with file, official_batch, index_in_batch, label ({error!r})") from error
    entries.sort()
    if not entries or not all(0 <= label < len(CLASSES) for _, _, label, _ in entries):
        raise folders.damaged(path, f"no labels from 0 to {len(CLASSES) - 1}")
    if len({entry[:2] for entry in entries}) != len(entries):
        raise folders.damaged(path, "the same official position twice")
    test, index, y, names = zip(*entries, strict=True)
    return list(names), np.array(test), np.array(index, dtype=np.int64), np.array(y, dtype=np.int64)


def _decode(path: Path, archive: bytes, names: list[str]) -> Bytes:
    """Return the images of ``names``, ``(N, 3, 32, 32)`` uint8, with a progress bar."""
    rows = {name: row for row, name in enumerate(names)}
    x = np.empty((len(names), 3, 32, 32), dtype=np.uint8)
    left = set(rows)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:xz") as tar:
            for member in cache.progress(tar, len(names), "CIFAR-10"):
                if member.name in left and (file := tar.extractfile(member)) is not None:
                    x[rows[member.name]] = _image(path, member.name, file.read())
                    left.discard(member.name)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise folders.damaged(path, error) from error
    if left:
        raise folders.damaged(path, f"{len(left)} of {len(names)} images are not in it, e.g. {min(left)}")
    return x


def _image(path: Path, name: str, content: bytes) -> Bytes:
    from PIL import Image, UnidentifiedImageError

    try:
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise folders.damaged(path, f"{name} is no readable image ({error})") from error
    if pixels.shape != (32, 32, 3):
        raise folders.damaged(path, f"{name} is not 32x32")
    return pixels.transpose(2, 0, 1)
