"""How options are tuned: on which figure, in which direction, with how many trials."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.config import require
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import UserError

Direction = Literal["maximize", "minimize"]
FIXED = ("dataset", "decoy", "evaluation", "phases", "variant", "paths", "logger", "sweep", "force", "experiment")
"""What decides on which data and how a trial is judged; trials that differ in it could not be compared."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """How options are tuned.

    Attributes:
        n_trials: of the whole study; those of an earlier command count.
        objective: a figure on validation data, e.g. ``val/acc/random`` or ``val/explanation/inside``; ``auto``:
            the accuracy that weights are selected on, or the average over the phases' validation sets.
        direction: ``auto``: as the objective is known to be better.
        random_trials: how many, the first with the defaults among them, have ended with a value before the sampler
            learns from them; till then options are drawn at random.
        at_once: trials under way at a time, with a launcher that runs several cells at once.
        seed: of the sampler.
    """

    n_trials: int = 20
    objective: str = "auto"
    direction: Literal["auto", "maximize", "minimize"] = "auto"
    random_trials: int = 10
    at_once: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_trials", "at_once"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("random_trials", "seed"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        validates = self.objective == "auto" or self.objective.startswith("val/")
        expected = f"a figure on validation data, e.g. val/{self.objective}: options must not be chosen on test data"
        require(validates, "objective", self.objective, expected)


def objective(base: RunSpec) -> str:
    """Return the accuracy on validation data that decides where none is named."""
    if base.phases.count > 1:
        return "val/continual/average_accuracy"
    wanted = base.trainer.select_on
    if not wanted.startswith("val"):  # auto, last, and the audits, which would choose on test data
        return f"val/acc/{base.decoy.val_views[0] if base.decoy.on else 'val'}"
    return f"val/acc/{wanted.removeprefix('val_')}"


def direction(name: str) -> Direction:
    """Return which direction of a figure is better.

    Raises:
        UserError: it is not known.
    """
    from xfeedback.report.metrics import describe

    better = describe(name.removeprefix("val/")).better
    if better is None:
        raise UserError(
            f"whether more of {name} is better is not known: add hydra.sweeper.direction=maximize or minimize"
        )
    return "maximize" if better == "higher" else "minimize"
