"""Which phases a run consists of: what each trains on, and on what it is tested between phases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xfeedback.continual.options import PhasesConfig
from xfeedback.continual.rows import class_chunks, join, portions, slices, take
from xfeedback.data.loader import Loader
from xfeedback.data.task import Split, Task
from xfeedback.errors import UserError
from xfeedback.seeding import derive
from xfeedback.types import Phase


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How batches are made.

    Attributes:
        batch_size: samples a step over all processes.
        eval_batch_size: samples at a time without training.
        seed: the run's; keys order and augmentation.
        device: where batches are made.
        rank: which of the processes that train together this is.
        world: how many there are.
    """

    batch_size: int
    eval_batch_size: int
    seed: int
    device: torch.device
    rank: int = 0
    world: int = 1


@dataclass(frozen=True, kw_only=True)
class Test:
    """Samples on which the network is tested between phases.

    Attributes:
        rows: positions in the test set, or in the pool, ``(n,)`` int64.
        learned: the first phase that trains on such samples.
        classes: those that compete for these samples; None: all.
    """

    rows: Tensor
    learned: int
    classes: tuple[int, ...] | None = None


AUDIT = "audit"
"""Name of the validation set of runs that are selected on test data."""
AUDITS = ("test", "next_slice")


class Phases:
    """The phases of a run.

    Args:
        config: how training is cut.
        task: the data.
        select_on: ``test`` or ``next_slice``: each phase gets one more validation set, called ``audit``: the test set,
            or the next slice of the pool, the test set in the last phase. Anything else: none.

    Attributes:
        config: how training is cut.
        task: the data.
        count: how many phases there are.
        tests: what the network is tested on between phases: for ``classes`` the test samples of each phase's classes,
            for ``portions`` the whole test set, for ``mistakes`` each slice of the pool.
        val_tests: the same in the validation set, whole but for ``classes``; empty without one.

    Raises:
        UserError: there are too few classes, or samples, for so many phases.
    """

    def __init__(self, config: PhasesConfig, task: Task, select_on: str = "") -> None:
        self.config, self.task, self.count = config, task, config.count
        self._audit = select_on if select_on in AUDITS else ""
        self._chunks = class_chunks(task.n_classes, config) if config.name == "classes" else []
        self._refuse_phases_without_samples()
        portioned = config.name == "portions"
        self._portions = (
            [torch.from_numpy(rows) for rows in portions(task.train.y.numpy(), config)] if portioned else []
        )
        self._slices: list[Tensor] = []
        if config.name == "mistakes" and task.pool is not None:
            self._slices = [torch.from_numpy(rows) for rows in slices(len(task.pool), config)]
        sliced = tuple(Test(rows=rows, learned=k) for k, rows in enumerate(self._slices, 1))
        self.tests = sliced or self._tests_in(task.test)
        self.val_tests = () if task.val is None else self._tests_in(task.val)

    def _refuse_phases_without_samples(self) -> None:
        """Refuse phases that some part of the data has no sample for: nothing to train on, to select on or to test."""
        parts = {"training": self.task.train, "validation": self.task.val, "test": self.task.test}
        for part, split in parts.items():
            for number, chunk in enumerate(self._chunks):
                if split is not None and not len(_rows_of(split, chunk)):
                    raise UserError(
                        f"phases=classes: the {part} set has no sample of class {', '.join(map(str, chunk))}, all that "
                        f"phase {number} has. Choose fewer phases with phases.n, or give more samples."
                    )

    def _tests_in(self, split: Split) -> tuple[Test, ...]:
        own = self.config.outputs == "per_phase"
        found = tuple(
            Test(rows=_rows_of(split, chunk), learned=k, classes=tuple(chunk) if own else None)
            for k, chunk in enumerate(self._chunks)
        )
        return found or (Test(rows=torch.arange(len(split)), learned=0),)

    def classes(self, number: int) -> tuple[int, ...] | None:
        """Return the classes that compete in a phase, or None: all."""
        if self.config.outputs == "shared":
            return None
        learned = range(number + 1) if self.config.replay == "all" else (number,)
        return tuple(sorted(label for k in learned for label in self._chunks[k]))

    def epochs(self, number: int, usual: int) -> int:
        """Return how many epochs a phase has."""
        return self.config.base_epochs or usual if number == 0 else usual

    def slice(self, number: int) -> Tensor:
        """Return the rows of the pool whose mistakes phase ``number`` may add, ``(n,)`` int64; none: n = 0."""
        return self._slices[number - 1] if self._slices and number else torch.arange(0)

    def phase(self, number: int, added: Tensor, loading: Loading) -> Phase:
        """Return a phase.

        Args:
            number: which, from 0.
            added: rows of the pool that it adds to the training set ``(m,)`` int64.
            loading: how batches are made.
        """
        task = self._task(number, added)
        seed = loading.seed if number == 0 else derive(loading.seed, "phase", number)
        sizes = loading.eval_batch_size, loading.device
        new = torch.arange(len(task.train) - len(added), len(task.train))
        return Phase(
            name=str(number),
            train=task.train_loader(loading.batch_size, loading.device, seed, loading.rank, loading.world),
            val=task.val_loaders(*sizes) | self._audited(number, *sizes),
            number=number,
            count=self.count,
            seed=seed,
            ordered=task.ordered_loader(*sizes),
            added=_with_rows(task, new).ordered_loader(*sizes) if len(added) else (),
        )

    def _audited(self, number: int, batch_size: int, device: torch.device) -> dict[str, Loader]:
        task = self.task
        if not self._audit:
            return {}
        if self._audit == "next_slice" and number + 1 < self.count and task.pool is not None:
            ahead = replace(task, pool=take(task.pool, self.slice(number + 1)), _resident={})
            return {AUDIT: ahead.pool_loader(batch_size, device)}
        return {AUDIT: next(iter(task.test_loaders(batch_size, device).values()))}

    def _task(self, number: int, added: Tensor) -> Task:
        """The task with the samples of one phase."""
        task = self.task
        first = 0 if self.config.replay == "all" else number
        if self._chunks:
            own = [label for chunk in self._chunks[first : number + 1] for label in chunk]
            val = task.val and take(task.val, _rows_of(task.val, own))
            return replace(_with_rows(task, _rows_of(task.train, own)), val=val)
        if self._portions:
            return _with_rows(task, torch.cat(self._portions[first : number + 1]).sort().values)
        if len(added) and task.pool is not None:
            return replace(task, train=join(task.train, take(task.pool, added)), _resident={})
        return task


def _with_rows(task: Task, rows: Tensor) -> Task:
    """The task with only some training samples; what is on the device is not shared."""
    return replace(task, train=take(task.train, rows), _resident={})


def _rows_of(split: Split, labels: Sequence[int]) -> Tensor:
    return torch.isin(split.y, torch.tensor(labels)).nonzero().flatten()
