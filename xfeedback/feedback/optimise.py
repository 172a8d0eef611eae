"""Optimisers and learning-rate schedules by name."""

from collections.abc import Iterable
from typing import Any

from torch import nn, optim
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from xfeedback.feedback.options import OptimiserConfig


def build_optimiser(config: OptimiserConfig, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Return the optimiser over the trainable ones of ``parameters``."""
    weights = [p for p in parameters if p.requires_grad]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return optim.SGD(weights, momentum=config.momentum, nesterov=config.nesterov, **common)
    kinds = {"adam": optim.Adam, "adamw": optim.AdamW, "adadelta": optim.Adadelta}
    return kinds[config.name](weights, **common)


def build_schedule(
    config: OptimiserConfig, optimiser: optim.Optimizer, total_steps: int, steps_per_epoch: int
) -> LRScheduler | None:
    """Return the schedule, stepped once a training step, or None."""
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimiser, total_steps)
    if config.schedule == "one_cycle":
        return OneCycleLR(optimiser, config.lr, total_steps)
    if config.schedule == "step":
        return MultiStepLR(optimiser, [epoch * steps_per_epoch for epoch in config.milestones], config.gamma)
    return None
