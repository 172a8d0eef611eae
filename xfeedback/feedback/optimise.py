"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Iterable
from typing import Any

from pytorch_lightning import Trainer
from torch import nn, optim
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from xfeedback.errors import UserError
from xfeedback.feedback.options import OptimiserConfig


def build_optimiser(config: OptimiserConfig, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Return the optimiser over the trainable ones of ``parameters``."""
    weights = [p for p in parameters if p.requires_grad]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return optim.SGD(weights, momentum=config.momentum, nesterov=config.nesterov, **common)
    kinds = {"adam": optim.Adam, "adamw": optim.AdamW, "adadelta": optim.Adadelta}
    return kinds[config.name](weights, **common)


def steps_of(trainer: Trainer, schedule: str) -> tuple[int, int]:
    """Return how many steps of the optimiser a training has, and how many an epoch of it has; 0 where it has no end.

    Raises:
        UserError: the schedule needs the one that is not known.
    """
    total = trainer.estimated_stepping_batches
    trainer.fit_loop.setup_data()
    per_epoch = trainer.num_training_batches / trainer.accumulate_grad_batches
    what, needed = ("an epoch", per_epoch) if schedule == "step" else ("training", total)
    if not 0 <= needed < math.inf:
        raise UserError(
            f"optimiser.schedule={schedule} must know how many steps {what} has: give the Trainer a loader that has a "
            "length, and max_epochs or max_steps; or choose optimiser.schedule=none."
        )
    known = [math.ceil(n) if 0 <= n < math.inf else 0 for n in (total, per_epoch)]
    return known[0], known[1]


def build_schedule(
    config: OptimiserConfig, optimiser: optim.Optimizer, total_steps: int, steps_per_epoch: int
) -> LRScheduler | None:
    """Return the schedule, stepped once a training step, or None."""
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimiser, total_steps)
    if config.schedule == "one_cycle":
        return OneCycleLR(optimiser, config.lr, total_steps, cycle_momentum=config.cycles_momentum)
    if config.schedule == "step":
        return MultiStepLR(optimiser, [epoch * steps_per_epoch for epoch in config.milestones], config.gamma)
    return None
