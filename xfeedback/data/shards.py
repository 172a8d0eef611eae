"""WebDataset shards: tar files that hold each image as ``<key>.jpg`` beside its label ``<key>.cls``.

Shards are indexed once: where each image's bytes stand. Any image can then be read by itself, so the splits, draws and
resumption are those of a folder; only the order of an epoch differs, :func:`in_lanes`.
"""

import io
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xfeedback.data import cache
from xfeedback.dtypes import Array, Ints
from xfeedback.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = ("jpg", "jpeg", "png", "webp")
MOST_OPEN = 16


@dataclass(frozen=True, kw_only=True)
class Members:
    """The images of some shards, in the order of key within label.

    Attributes:
        keys: of each image ``(N,)`` bytes.
        labels: ``(N,)`` int64.
        places: shard, first byte and number of bytes ``(N, 3)`` int64.
    """

    keys: NDArray[np.bytes_]
    labels: Ints
    places: Ints


def found(folder: Path) -> dict[str, list[Path]]:
    """Return the shards ``*train*.tar`` and ``*val*.tar`` of a folder, sorted by name.

    Raises:
        UserError: one of the kinds is missing.
    """
    shards = {part: sorted(folder.glob(f"*{part}*.tar")) for part in ("train", "val")}
    for part, paths in shards.items():
        if not paths:
            raise UserError(f"dataset.shards={folder} has no *{part}*.tar; expected WebDataset shards of both parts")
    return shards


def indexed(paths: Sequence[Path], folder: Path, what: str) -> Members:
    """Return what shards hold, from a cache in ``folder`` or by reading all of their headers.

    Raises:
        UserError: a shard is damaged or compressed, an image has no label, or a key comes twice.
    """

    def make() -> dict[str, Array]:
        rows = [row for n, path in enumerate(cache.progress(paths, len(paths), what)) for row in _rows(path, n)]
        rows.sort(key=lambda row: (row[1], row[0]))
        keys = [row[0] for row in rows]
        if len(set(keys)) < len(keys):
            twice = next(key for key, after in zip(sorted(keys), sorted(keys)[1:], strict=False) if key == after)
            raise UserError(f"the shards beside {paths[0]} hold {twice.decode()} twice; keys must differ")
        longest = max(map(len, keys))
        letters = np.frombuffer(b"".join(key.ljust(longest, b"\0") for key in keys), dtype=np.uint8)
        numbers = np.array([row[1:] for row in rows], dtype=np.int64)
        return {"keys": letters.reshape(len(keys), longest).copy(), "numbers": numbers}

    made, _ = cache.arrays(folder / f"shards-{cache.key(paths)}.pt", make)
    keys = made["keys"].view(f"S{made['keys'].shape[1]}")[:, 0]
    return Members(keys=keys, labels=made["numbers"][:, 0], places=made["numbers"][:, 1:])


def _rows(path: Path, number: int) -> Iterator[tuple[bytes, int, int, int, int]]:
    """Key, label, shard, first byte and number of bytes of each image of a shard."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                place, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = f"{place}/{stem}" if place not in ("", ".") else stem
                if member.isfile() and ending.lower() in IMAGES:
                    images[key] = (member.offset_data, member.size)
                elif member.isfile() and ending == "cls" and (file := shard.extractfile(member)) is not None:
                    labels[key] = int(file.read())
        with path.open("rb") as raw:  # tarfile takes a header that was cut for the end
            raw.seek(-2 * tarfile.BLOCKSIZE, os.SEEK_END)
            if any(raw.read()):
                raise tarfile.ReadError("it ends too early")
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(f"{path} is no whole, uncompressed WebDataset shard: {error}. Restore it.") from error
    if not images:
        raise UserError(f"{path} holds no images (<key>.jpg, .jpeg, .png or .webp with <key>.cls)")
    for key, (start, size) in images.items():
        if key not in labels:
            raise UserError(f"{path}: {key} has no label; expected {key}.cls with the class's number")
        yield key.encode(), labels[key], number, start, size


class Reader:
    """Reads bytes out of shards; keeps the last few open, in each process its own."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, io.BufferedReader] = OrderedDict()
        self._process = os.getpid()

    def read(self, path: Path, start: int, size: int) -> bytes:
        """Return ``size`` bytes from ``start`` on, or fewer at the end of a file that was cut."""
        if self._process != os.getpid():  # a worker must not move its parent's place in a file
            self.__init__()
        file = self._open.pop(path, None) or path.open("rb")
        self._open[path] = file
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        file.seek(start)
        return file.read(size)

    def __getstate__(self) -> dict[str, object]:
        """Leave open files out when a worker gets a copy."""
        return {}

    def __setstate__(self, _state: dict[str, object]) -> None:
        """Begin without open files."""
        self.__init__()


def in_lanes(rows: "Tensor", shard: Ints, batch_size: int, lanes: int, turns: int) -> "Tensor":
    """Return an epoch's order in which a batch reads from ``lanes`` places of the shards at once.

    The images of a shard stay together, in the drawn order among themselves, shards in the order in which the draw
    first names them. This series is cut into ``turns`` x ``lanes`` stretches; batch s takes its sample j from stretch
    (s mod ``turns``, j mod ``lanes``). So processes whose number divides ``lanes`` read different stretches, as
    sample j belongs to process j mod world, and so do ``turns`` workers of a process, which take batches in turn; only
    a shard that a cut falls into is read by two. The batches depend on neither number.

    Args:
        rows: all rows in a drawn order ``(N,)``.
        shard: of each row ``(N,)``.
        batch_size: of all processes together.
        lanes: stretches that a batch reads from.
        turns: batches after which the same stretches are read from again.

    Returns:
        ``(N,)``, a permutation of ``rows``.

    >>> import torch
    >>> in_lanes(torch.arange(8), np.array([0, 0, 0, 0, 1, 1, 1, 1]), 4, 2, 1)
    tensor([0, 4, 1, 5, 2, 6, 3, 7])
    """
    import torch

    own = torch.from_numpy(shard)[rows]
    first = torch.full((int(own.max()) + 1,), len(rows)).scatter_reduce(0, own, torch.arange(len(rows)), "amin")
    series = rows[first[own].argsort(stable=True)]
    place = torch.arange(len(rows))
    stretch = place // batch_size % turns * lanes + place % batch_size % lanes
    order = torch.empty_like(rows)
    order[stretch.argsort(stable=True)] = series
    return order
