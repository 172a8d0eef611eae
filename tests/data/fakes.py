"""Small data sets in the formats of the real ones."""

import csv
import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from xfeedback.data.idx import FILES

rng = np.random.default_rng(0)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, n_train: int = 40, n_test: int = 20, packed: bool = True) -> list[np.ndarray]:
    """Write the four files; return their arrays in the order of FILES."""
    folder.mkdir(parents=True)
    arrays = []
    for n in (n_train, n_test):
        arrays.append(rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        arrays.append((np.arange(n) % 10).astype(np.uint8))
    for name, array in zip(FILES, arrays, strict=True):
        content = idx_bytes(array)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


def write_batches(folder: Path, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """Write pickled CIFAR batches; return the pixels by batch. Image i of a batch has label i mod 10."""
    folder.mkdir(parents=True)
    pixels = {}
    for name, n in counts.items():
        pixels[name] = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        batch = {b"data": pixels[name], b"labels": [i % 10 for i in range(n)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=3))
    return pixels


def write_jpeg(folder: Path, n_train: int = 40, n_test: int = 10) -> list[int]:
    """Write an archive of plain grey images, in reverse order; return their levels, in official order."""
    folder.mkdir(parents=True)
    entries = [("data_batch_1", i) for i in range(n_train)] + [("test_batch", i) for i in range(n_test)]
    levels = [(7 * i) % 256 for i in range(len(entries))]
    with tarfile.open(folder / "cifar10_jpg.tar.xz", "w:xz") as tar, (folder / "index.csv").open("w") as table:
        writer = csv.writer(table)
        writer.writerow(["file", "official_batch", "index_in_batch", "label"])
        for (batch, i), level in reversed(list(zip(entries, levels, strict=True))):
            buffer = io.BytesIO()
            Image.new("RGB", (32, 32), (level, level, level)).save(buffer, "JPEG")
            member = tarfile.TarInfo(f"{batch}/{i}.jpg")
            member.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(member, buffer)
            writer.writerow([member.name, batch, i, i % 10])
    return levels
