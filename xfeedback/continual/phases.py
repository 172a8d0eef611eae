"""Which phases a run consists of."""

from collections.abc import Iterator

import torch

from xfeedback.data.task import Task
from xfeedback.types import Phase


def single(
    task: Task,
    *,
    batch_size: int,
    eval_batch_size: int,
    seed: int,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Phase]:
    """Yield the one phase of ordinary training.

    Args:
        task: the data.
        batch_size: samples a step over all processes.
        eval_batch_size: samples at a time in validation.
        seed: keys order and augmentation.
        device: where batches are made.
        rank: which of the processes that train together this is.
        world: how many there are.
    """
    yield Phase(
        name="0",
        train=task.train_loader(batch_size, device, seed, rank, world),
        val=task.val_loaders(eval_batch_size, device),
    )
