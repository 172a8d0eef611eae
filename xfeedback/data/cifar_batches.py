"""CIFAR-10 in its official python version: pickled batches of official pixels, whole or shortened."""

from pathlib import Path

import numpy as np

from xfeedback.data import folders, pickles
from xfeedback.data.options import Places
from xfeedback.data.source import Part
from xfeedback.errors import UserError

FOLDER = "cifar-10-batches-py"
OFFICIAL = (50_000, 10_000)
BATCH = 10_000
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST_MD5 = {"test_batch": "40351d587109b95175f43aff81a1287e"}


def searched(places: Places) -> list[Path]:
    """Return the folders the batches may lie in, in order of preference."""
    return folders.candidates(places, FOLDER, f"CIFAR10/{FOLDER}")


def present(folder: Path) -> bool:
    """Whether a folder holds any of the batches."""
    return any((folder / name).exists() for name in (*TRAIN_MD5, *TEST_MD5))


def read(folder: Path, declared: tuple[tuple[int, ...], ...]) -> tuple[Part, Part, bool]:
    """Return (training part, test part, whether this is the whole official set).

    Raises:
        UserError: a batch is missing or damaged, or the set is shortened and its size not declared.
    """
    train, train_damage = _read_files(folder, TRAIN_MD5)
    test, test_damage = _read_files(folder, TEST_MD5)
    complete = folders.check_size("CIFAR-10", (len(train.y), len(test.y)), OFFICIAL, declared, folder)
    if complete and (train_damage or test_damage):
        raise (train_damage + test_damage)[0]
    return train, test, complete


def download(places: Places) -> Path:
    """Download the official files into the root; return their folder.

    Raises:
        UserError: the download failed, or something else is in the way.
    """
    target = places.root / FOLDER
    if present(target):
        raise UserError(
            f"{target} holds a shortened CIFAR-10, and dataset.source=official needs the whole one. Move that folder "
            "away to download it, or take dataset.source=subset."
        )
    return folders.download("CIFAR-10", target, searched(places), _fetch)


def _fetch(into: Path) -> Path:
    from torchvision import datasets

    datasets.CIFAR10(into, download=True)
    return into / FOLDER


def _read_files(folder: Path, md5: dict[str, str]) -> tuple[Part, list[UserError]]:
    """Read the batches that are there; the list holds one error for each that is not the official file."""
    parts, damage = [], []
    for number, name in enumerate(md5):
        path = folder / name
        if not path.exists():
            damage.append(UserError(f"{path} is missing"))
            continue
        content = folders.read_bytes(path)
        parts.append(_part(path, content, start=number * BATCH))
        try:
            folders.verify(path, content, md5[name])
        except UserError as error:
            damage.append(error)
    if not parts:
        raise UserError(f"{folder}: none of {', '.join(md5)} is there. Remove the folder, or restore the files.")
    x, y, index = (np.concatenate([getattr(part, field) for part in parts]) for field in ("x", "y", "index"))
    return Part(x=x, y=y, index=index), damage


def _part(path: Path, content: bytes, start: int) -> Part:
    """Return one batch; ``start`` is the official position of its first image."""
    batch = pickles.load(path, content)
    fields = batch if isinstance(batch, dict) else {}
    pixels, labels = (fields.get(name.encode(), fields.get(name)) for name in ("data", "labels"))
    if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[1:] == (3072,)):
        raise folders.damaged(path, "no array 'data' of N x 3072 bytes")
    fits = isinstance(labels, list) and len(labels) == len(pixels) <= BATCH
    if not fits or not all(type(k) is int and 0 <= k < len(CLASSES) for k in labels or ()):
        raise folders.damaged(path, f"no list 'labels' of {len(pixels)} numbers from 0 to {len(CLASSES) - 1}")
    index = np.arange(start, start + len(pixels))
    return Part(x=pixels.reshape(-1, 3, 32, 32), y=np.array(labels, dtype=np.int64), index=index)
