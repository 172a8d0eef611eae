"""What all loaders share: the order of an epoch, this process's part of it, and going on inside it.

Order and augmentation are functions of the seed, the epoch and the place in it: nothing has to be saved to repeat a
batch, and no global random number generator is touched.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor

from xfeedback.seeding import generator
from xfeedback.types import Batch


@dataclass(frozen=True, kw_only=True)
class Shard:
    """This process's share of every batch: samples ``rank``, ``rank + world``, ..."""

    rank: int = 0
    world: int = 1

    def of(self, n: int) -> slice:
        """Return the rows out of ``n``; a batch smaller than ``world`` gives some processes the same row."""
        start = self.rank if self.rank < n else self.rank % n
        return slice(start, None, self.world)


ALONE = Shard()
"""The share of the only process: all of it."""


@dataclass(kw_only=True)
class Pace:
    """How fast a pass went.

    Attributes:
        began: when it asked for its first batch, by ``time.perf_counter``.
        waited: seconds that it waited for batches.
        served: samples handed out in all processes together.
    """

    began: float = 0.0
    waited: float = 0.0
    served: int = 0


class Loader(ABC):
    """Batches of a split; one pass is one epoch, the last partial batch is kept.

    Args:
        y: labels of all samples ``(N,)``.
        batch_size: samples per step over all processes together.
        seed: the run's seed for order and augmentation; None: the given order and no augmentation.
        balanced: draw every class equally often; an epoch has as many samples as the set.
        shard: this process's share of each batch.

    Attributes:
        pace: of the last pass; None where nothing is waited for.
    """

    batch_sampler = None  # Lightning asks a validation loader for it
    pace: Pace | None = None

    def __init__(
        self, y: Tensor, batch_size: int, *, seed: int | None = None, balanced: bool = False, shard: Shard = ALONE
    ) -> None:
        self.batch_size, self.seed, self.shard = batch_size, seed, shard
        self._count = len(y)
        self._labels = y.cpu() if balanced else None
        self.epoch = 0
        self._order: tuple[int, Tensor] | None = None
        self._rows: Tensor | None = None
        self._start = 0

    @property
    def sampler(self) -> Self:
        """The loader itself: Lightning calls ``loader.sampler.set_epoch`` before each epoch."""
        return self

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the batches are."""

    @property
    def replaced(self) -> set[str]:
        """Files that were found broken so far, in any split."""
        return set()

    @abstractmethod
    def batch(self, epoch: int, step: int) -> Batch:
        """Return this process's part of batch ``step`` of ``epoch``, whichever was made before."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and augmentation the next pass uses."""
        self.epoch = epoch

    def __len__(self) -> int:
        return (self._count + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        for step in self._steps():
            yield self.batch(epoch, step)

    def skip(self, batches: int) -> None:
        """Leave out the first batches of the next pass: the rest of an epoch that was stopped inside."""
        self._start = batches

    def in_order(self, rows: Tensor) -> Self:
        """Return a loader of the rows ``(n,)`` int64 of the same set in this order, where that has a given order."""
        other = copy.copy(self)
        other._rows, other._count, other._order, other._start = rows.cpu(), len(rows), None, 0
        return other

    def _steps(self) -> range:
        """The steps of the pass that begins; the one after it is whole again."""
        start, self._start = self._start, 0
        return range(start, len(self))

    def order(self, epoch: int) -> Tensor:
        """Return the order of an epoch, ``(N,)`` int64: the same on every device and for every number of processes."""
        if self._order is None or self._order[0] != epoch:
            rows = torch.arange(self._count) if self._rows is None else self._rows
            if self.seed is not None:
                numbers = generator("cpu", self.seed, "order", epoch)
                rows = torch.randperm(self._count, generator=numbers)
                rows = rows if self._labels is None else balanced_order(self._labels, numbers)
            self._order = epoch, self._placed(rows)
        return self._order[1]

    def _placed(self, rows: Tensor) -> Tensor:
        """The order of an epoch where batches are made of it."""
        return rows

    def rows(self, epoch: int, step: int) -> Tensor:
        """Return the rows of a whole batch, of all processes together."""
        return self.order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]


def balanced_order(y: Tensor, numbers: Generator) -> Tensor:
    """Return an order of as many images as there are, every class equally often, ``(N,)`` int64.

    The images of a class take turns: none comes again before all others of its class have come. Classes differ by at
    most one image; chance decides which get one more.

    Args:
        y: labels ``(N,)`` on the CPU.
        numbers: source of the draws, on the CPU.
    """
    members = [torch.nonzero(y == label).flatten() for label in y.unique()]
    share, more = divmod(len(y), len(members))
    extra = torch.randperm(len(members), generator=numbers)[:more].tolist()
    rows = []
    for number, own in enumerate(members):
        quota = share + (number in extra)
        turns = [own[torch.randperm(len(own), generator=numbers)] for _ in range(-(-quota // len(own)))]
        rows.append(torch.cat(turns)[:quota] if turns else own[:0])
    drawn = torch.cat(rows)
    return drawn[torch.randperm(len(drawn), generator=numbers)]
