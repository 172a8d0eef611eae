"""Options of feedbacks and optimisers. Light: importing this module imports no torch."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from xfeedback.config import require


@dataclass(frozen=True, kw_only=True)
class FeedbackConfig:
    """Options that every feedback has.

    Attributes:
        warmup_epochs: epochs of plain training before the feedback acts.
        ramp_epochs: epochs over which its strength then rises linearly to full.
        every_n_steps: the feedback acts in the first of so many steps of an epoch and in none between, which are plain:
            what it costs falls by this factor, and so does its mean strength, unless its weight is raised.
        warms_up_in_phases: whether warm-up holds where there is more than one phase; no option.
        younger: options that came after the first results: at its default such a one is no part of a run's name.
    """

    warms_up_in_phases: ClassVar[bool] = True
    younger: ClassVar[tuple[str, ...]] = ("every_n_steps",)
    warmup_epochs: int = 0
    ramp_epochs: int = 0
    every_n_steps: int = 1

    def __post_init__(self) -> None:
        require(self.every_n_steps >= 1, "every_n_steps", self.every_n_steps, "1 or more")
        for name in ("warmup_epochs", "ramp_epochs"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


@dataclass(frozen=True, kw_only=True)
class WeightedConfig(FeedbackConfig):
    """Options of a feedback with one weight; 0 switches it off.

    Attributes:
        weight: factor of its term.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weight >= 0, "weight", self.weight, "0 or more")


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
            ``one_cycle`` moves Adam's first beta and any momentum too, whatever it is, from 0.95 to 0.85 and back.
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
        require(
            self.schedule != "step" or bool(self.milestones), "milestones", self.milestones, "epochs for schedule=step"
        )

    @property
    def cycles_momentum(self) -> bool:
        """Whether a one-cycle schedule moves momentum: where there is some."""
        return self.name in ("adam", "adamw") or self.momentum > 0
