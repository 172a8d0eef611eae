"""Time an epoch of the runner against a bare PyTorch loop: same network, data, batches, on one thread.

    python benchmarks/runner.py [--quick]

The bare loop is what a competent person writes: data in memory as one tensor, an order drawn per epoch, batches taken
by index, nothing read from the loss but its sum, accuracy on the validation set after each epoch. It saves nothing. The
runner has all that a run has: keyed noise, history, selection of weights, checks for losses that are not finite,
checkpoints. Its epochs and the loop's take turns: the loop runs between two epochs of one `fit`. A test trains both
without dropout to the same weights.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import Bar, Part, Table, main, milliseconds, progress, ratio
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from xfeedback.data.task import Split, Task
from xfeedback.engine.callbacks import StepTimer
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.phases import fit
from xfeedback.engine.run import build_module
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.train import selection_metric
from xfeedback.feedback.optimise import build_optimiser

MEAN, STD, BATCH = 0.5, 0.29, 128
BAR = 1.05


def noise(n: int, seed: int) -> Split:
    """Return ``n`` images of noise of MNIST's size."""
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randint(256, (n, 1, 28, 28), dtype=torch.uint8, generator=numbers)
    return Split(x=x, y=torch.randint(10, (n,), generator=numbers), index=torch.arange(n))


def task_of(n: int) -> Task:
    """Return a task of noise with ``n`` training images and a tenth of it to validate."""
    return Task(
        name="noise",
        class_names=tuple("0123456789"),
        mean=(MEAN,),
        std=(STD,),
        augment="none",
        stamps=(),
        fingerprint="",
        train=noise(n, 0),
        val=noise(n // 10, 1),
        test=noise(10, 2),
    )


def spec_of(epochs: int, outputs: Path, **model: Any) -> RunSpec:
    """Return a plain run of the MNIST network."""
    values: dict[str, Any] = {
        "dataset": {"name": "digits"},  # stands for the noise: the task is given
        "decoy": {"name": "none"},
        "model": {"name": "mnist_cnn", **model},
        "trainer": {"max_epochs": epochs, "batch_size": BATCH, "accelerator": "cpu", "progress": False},
        "paths": {"outputs": str(outputs)},
    }
    return RunSpec.from_plain(values)


@dataclass
class Bare:
    """The bare loop.

    Attributes:
        network: trained in place.
        task: the data.
        spec: says which optimiser and validation batches.
        order: of the samples in an epoch.
    """

    network: nn.Module
    task: Task
    spec: RunSpec
    order: Callable[[int], Tensor]
    epochs: int = 0

    def __post_init__(self) -> None:
        self.optimiser = build_optimiser(self.spec.optimiser, self.network.parameters())

    @staticmethod
    def _inputs(x: Any) -> Tensor:
        return (x.float().div_(255) - MEAN) / STD

    def epoch(self) -> tuple[float, float]:
        """Train for an epoch and return the mean loss and the validation accuracy."""
        train, total = self.task.train, torch.zeros(())
        self.network.train()
        for rows in self.order(self.epochs).split(self.spec.trainer.batch_size):
            loss = F.cross_entropy(self.network(self._inputs(train.x[rows])), train.y[rows])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.detach() * len(rows)
        self.epochs += 1
        return float(total / len(train)), self._accuracy()

    @torch.no_grad()
    def _accuracy(self) -> float:
        assert self.task.val is not None  # noqa: S101 - the task is ours
        self.network.eval()
        val, size = self.task.val, self.spec.evaluation.batch_size
        batches = zip(val.x.split(size), val.y.split(size), strict=True)
        hits = [(self.network(self._inputs(x)).argmax(1) == y).sum() for x, y in batches]
        return float(torch.stack(hits).sum() / len(val))


@dataclass
class Alternating(StepTimer):
    """Runs an epoch of the bare loop between the runner's epochs, and times both."""

    bare: Bare
    runner_seconds: list[float] = field(default_factory=list)
    bare_seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._resumed = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the runner's epoch, run the bare loop's."""
        del pl_module
        if trainer.current_epoch:
            self._close()
        began = time.process_time()
        self.bare.epoch()
        self.bare_seconds.append(time.process_time() - began)
        progress(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: bare loop {self.bare_seconds[-1]:.1f} s")
        self._resumed = time.process_time()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the last epoch."""
        del trainer, pl_module
        self._close()

    def _close(self) -> None:
        self.runner_seconds.append(time.process_time() - self._resumed)


def run(n: int, epochs: int, **model: Any) -> tuple[Alternating, nn.Module]:
    """Return the times of both, and the network that the runner trained, at its last epoch."""
    torch.set_num_threads(1)
    task = task_of(n)
    with tempfile.TemporaryDirectory() as name:
        spec = spec_of(epochs, Path(name), **model)
        module = build_module(spec, task)
        loader = task.train_loader(BATCH, "cpu", spec.seed)
        bare = Bare(build_module(spec, task).network, task, spec, loader.order)
        timer = Alternating(bare)
        folder = RunFolder(spec)
        with folder.opened():
            metric = selection_metric(spec, task)
            fit(spec, folder, task, module, metric=metric, timer=timer, logger=None)
    return timer, module.network


def measure(quick: bool) -> Part:
    """Return the ratio of the epochs' times."""
    n, epochs = (256, 3) if quick else (6400, 8)
    timer, _ = run(n, epochs)
    found = ratio(timer.runner_seconds[1:], timer.bare_seconds[1:])  # the first epochs warm up
    rows = [
        ["bare loop", milliseconds(timer.bare_seconds[1:]), "1"],
        ["runner", milliseconds(timer.runner_seconds[1:]), str(found)],
    ]
    table = Table(title=f"An epoch of {n} images, batch {BATCH}", columns=["", "CPU time", "ratio"], rows=rows)
    bar = Bar.of("runner epoch / bare loop epoch, MNIST CNN, CPU", found, bar=BAR, limit="1.00")
    return Part(title="The runner against a bare loop", said=(SAID,), tables=[table], bars=[bar])


SAID = (
    "`mnist_cnn`, Adam, one thread. The bare loop holds the data as one tensor, draws an order, takes batches by "
    "index, sums its loss and validates after each epoch; it logs, checks and saves nothing. The runner's epoch is all "
    "that a run does from one epoch's start to the next: keyed noise, history, selection of weights, checks, "
    "checkpoint. The epoch is an eighth of MNIST's, so what happens once an epoch weighs eight times as much."
)

if __name__ == "__main__":
    sys.exit(main("runner", measure, __doc__))
