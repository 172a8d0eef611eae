"""Batches of image files that are decoded when they are needed, by processes beside the one that trains."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xfeedback.data.decode import BrokenError, read_boxes, read_image, transformed, transforms
from xfeedback.data.loader import ALONE, Loader, Pace, Shard
from xfeedback.data.pictures import Pictures
from xfeedback.data.shards import in_lanes
from xfeedback.errors import UserError
from xfeedback.types import Batch

MOST_WORKERS = 16
Key = tuple[int, list[int]]
"""Epoch and rows of one batch."""
Decoded = dict[str, Any]
"""``x`` ``(B, 3, S, S)`` uint8, ``mask`` ``(B, S, S)`` bool or None, and ``replaced``, names of broken files."""


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """A split whose images are files.

    Attributes:
        pictures: the files.
        y, index: ``(N,)`` int64, on the CPU.
        annotated: ``(N,)`` bool, or None without annotations.
        frame: right evidence of all images ``(S, S)`` bool, fixed in the frame; or None: the boxes.
        mean, std: ``(3, 1, 1)`` float32, for inputs in [0, 1].
    """

    pictures: Pictures
    y: Tensor
    index: Tensor
    annotated: Tensor | None
    frame: Tensor | None
    mean: Tensor
    std: Tensor


class Decoder(Dataset[Decoded | UserError]):
    """Decodes whole batches; lives in the worker processes.

    Args:
        data: the split.
        seed: of the augmentation; None: images are evaluated.
    """

    def __init__(self, data: Streamed, seed: int | None) -> None:
        self._data = data
        self._seed = seed if data.pictures.recipe.augment else None
        self._change = transforms(data.pictures.recipe, training=self._seed is not None)
        self._boxed = data.annotated is not None and data.frame is None

    def __getitem__(self, key: Key) -> Decoded | UserError:
        """Return a batch; an error is returned as well, since one that is raised in a worker loses its line."""
        epoch, rows = key
        replaced: list[str] = []
        try:
            samples = [self._sample(row, epoch, replaced) for row in rows]
        except UserError as error:
            return error
        mask = torch.stack([mask for _, mask in samples]) if self._boxed else None
        return {"x": torch.stack([x for x, _ in samples]), "mask": mask, "replaced": replaced}

    def _sample(self, row: int, epoch: int, replaced: list[str]) -> tuple[Tensor, Tensor]:
        """A row's input and region; where its file is broken, those of the next image of its class in the split."""
        pictures, first = self._data.pictures, ""
        draws = () if self._seed is None else (self._seed, epoch, int(self._data.index[row]))
        for other in self._turns(row):
            try:
                image = read_image(pictures.content(other))
            except BrokenError as error:
                first = first or f"cannot decode the image {pictures.file(other)}: {error}."
                if pictures.recipe.broken == "error":
                    break
                replaced.append(str(pictures.file(other)))
                continue
            path = pictures.box_file(other) if self._boxed else None
            return transformed(
                self._change, image, None if path is None else read_boxes(path, *image.shape[1:]), *draws
            )
        ways = "Restore the file, or replace such images with dataset.broken=skip"
        raise UserError(f"{first} {ways if pictures.recipe.broken == 'error' else 'No other one of its class can be'}.")

    def _turns(self, row: int) -> Iterator[int]:
        """Yield a row, then those of its class that follow it in the split, then those from the start."""
        yield row
        own = torch.nonzero(self._data.y == self._data.y[row]).flatten().tolist()
        at = own.index(row)
        yield from (*own[at + 1 :], *own[:at])


@dataclass(frozen=True, kw_only=True)
class _Keys:
    """The batches of a pass."""

    make: Callable[[int], Key]
    steps: range

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Key]:
        return map(self.make, self.steps)


class StreamingLoader(Loader):
    """Batches of files, on the device; one pass is one epoch, the last partial batch is kept.

    The draws of an image's augmentation depend on the seed, the epoch and its position in the official set alone,
    neither on its batch nor on the process that decodes it.

    Args:
        data: all of the split.
        batch_size: samples per step over all processes together.
        device: where batches go.
        seed: the run's seed for order and augmentation; None: the given order and no augmentation.
        shard: this process's share of each batch.
    """

    def __init__(
        self,
        data: Streamed,
        batch_size: int,
        *,
        device: torch.device | str,
        seed: int | None = None,
        shard: Shard = ALONE,
    ) -> None:
        super().__init__(data.y, batch_size, seed=seed, shard=shard)
        self.data, self.pace = data, Pace()
        self._device = torch.device(device)
        self._mean, self._std = data.mean.to(self._device), data.std.to(self._device)
        self._decoder = Decoder(data, seed)

    @property
    def device(self) -> torch.device:
        """Where the batches are."""
        return self._device

    @property
    def replaced(self) -> set[str]:
        """Files that were found broken so far, in any split."""
        return self.data.pictures.replaced

    def __iter__(self) -> Iterator[Batch]:
        epoch, steps = self.epoch, self._steps()
        self.pace = pace = Pace(began=time.perf_counter())
        asked = pace.began
        for step, decoded in zip(steps, self._workers(epoch, steps), strict=True):
            batch = self._finished(decoded, epoch, step)
            pace.waited += time.perf_counter() - asked
            pace.served += len(self.rows(epoch, step))
            yield batch
            asked = time.perf_counter()

    def batch(self, epoch: int, step: int) -> Batch:
        """Return this process's part of batch ``step`` of ``epoch``, decoded here and now."""
        return self._finished(self._decoder[self._key(epoch, step)], epoch, step)

    def _placed(self, rows: Tensor) -> Tensor:
        """An epoch of training on shards reads them in stretches."""
        shards, places = self.data.pictures.shards, self.data.pictures.places
        if shards is None or places is None or self.seed is None:
            return rows
        return in_lanes(rows, places[:, 0], self.batch_size, shards.lanes, shards.turns)

    def _workers(self, epoch: int, steps: range) -> DataLoader[Any]:
        keys = _Keys(make=lambda step: self._key(epoch, step), steps=steps)
        return DataLoader(
            self._decoder,
            sampler=keys,
            batch_size=None,
            num_workers=self._worker_count(),
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            pin_memory=self._device.type == "cuda",
            worker_init_fn=_deaf,
            generator=torch.Generator(),  # else it would draw from the global one
        )

    def _worker_count(self) -> int:
        wanted = self.data.pictures.recipe.workers
        return max(1, min(MOST_WORKERS, _cores() // self.shard.world)) if wanted is None else wanted

    def _mine(self, epoch: int, step: int) -> Tensor:
        rows = self.rows(epoch, step)
        return rows[self.shard.of(len(rows))]

    def _key(self, epoch: int, step: int) -> Key:
        return epoch, self._mine(epoch, step).tolist()

    def _finished(self, decoded: Decoded | UserError, epoch: int, step: int) -> Batch:
        if isinstance(decoded, UserError):
            raise decoded
        self.replaced.update(decoded["replaced"])
        rows = self._mine(epoch, step)
        mask = decoded["mask"] if self.data.frame is None else self.data.frame.expand(len(rows), -1, -1)
        annotated = None if self.data.annotated is None else self.data.annotated[rows]
        if mask is not None and annotated is not None:
            annotated = annotated & mask.flatten(1).any(1)
        batch = Batch(x=decoded["x"], y=self.data.y[rows], index=self.data.index[rows], mask=mask, annotated=annotated)
        batch = batch.to(self._device, non_blocking=True)
        return replace(batch, x=(batch.x.float().div_(255) - self._mean) / self._std)


def _as_it_is(decoded: Decoded | UserError) -> Decoded | UserError:
    return decoded


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _deaf(_number: int) -> None:
    """What a cluster sends to stop a job is for the process that trains, which first saves its state."""
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
