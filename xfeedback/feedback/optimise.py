"""Optimisers and learning-rate schedules by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn, optim
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from xfeedback.config import require


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """How the weights move.

    Attributes:
        name: the algorithm.
        lr: learning rate (the peak for ``one_cycle``).
        weight_decay: decay of all weights.
        momentum: for ``sgd``.
        nesterov: for ``sgd``.
        schedule: ``cosine`` to 0 over the run, ``one_cycle``, ``step`` (times ``gamma`` at ``milestones``), or none.
        milestones: epochs, for ``step``.
        gamma: factor, for ``step``.
    """

    name: Literal["adam", "adamw", "sgd", "adadelta"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    schedule: Literal["none", "cosine", "one_cycle", "step"] = "none"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", self.lr, "above 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        require(self.name == "sgd" or self.momentum == 0, "momentum", self.momentum, f"0 for {self.name}")
        require(not self.nesterov or self.momentum > 0, "nesterov", self.nesterov, "false without momentum")
        require(self.schedule != "step" or bool(self.milestones), "milestones", self.milestones, "epochs for schedule=step")


def build_optimiser(config: OptimiserConfig, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Return the optimiser over the trainable ones of ``parameters``."""
    weights = [p for p in parameters if p.requires_grad]
    common = {"lr": config.lr, "weight_decay": config.weight_decay}
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
