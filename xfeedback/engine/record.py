"""What a run of phases knows so far: it travels in every checkpoint and ends in ``result.json``."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from xfeedback.continual.phases import Phases
from xfeedback.engine.assess import Assessment
from xfeedback.metrics import continual

KEY = "continual"
"""Where the record stands in a checkpoint."""


@dataclass(kw_only=True)
class Record:
    """What a run of phases knows so far.

    Attributes:
        number: the phase that is to be trained or under way.
        begun: it is under way: its ``phase_start`` has been.
        added: rows of the pool that it adds to the training set.
        initial: accuracy on each test before any training.
        accuracy, mistakes: a row for each phase that is over, a column for each test.
        whole: accuracy on the whole test set after each phase that is over.
        val: accuracy on each test in the validation set, a row for each phase that is over.
        log: what each phase that is over was like.
        steps, epochs: of all phases that are over.
        optimiser: the optimiser's state at the end of the last phase that is over; empty when it is not kept.
    """

    number: int = 0
    begun: bool = False
    added: Tensor = field(default_factory=lambda: torch.arange(0))
    initial: list[float] = field(default_factory=list)
    accuracy: list[list[float]] = field(default_factory=list)
    mistakes: list[list[int]] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    val: list[list[float]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    epochs: int = 0
    optimiser: dict[int, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> Self:
        """Return the record in a checkpoint; one without a record is of ordinary training that is under way."""
        return cls(**checkpoint.get(KEY, {"begun": True}))

    def under_way(self) -> dict[str, Any]:
        """Return the record as plain data for a checkpoint inside a phase, which holds the optimiser's state itself."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**plain, "begun": True, "optimiser": {}}

    def add(self, found: Assessment) -> None:
        """Take in how good the network is after a phase."""
        self.accuracy.append(found.accuracy)
        self.mistakes.append(found.mistakes)
        self.whole.append(found.whole)
        self.val.append(found.val)

    def result(self, phases: Phases) -> dict[str, Any]:
        """Return metrics, matrices and the list of phases for ``result.json``."""
        learned = [test.learned for test in phases.tests]
        found = {
            "average_accuracy": continual.average_accuracy(self.accuracy),
            "forgetting": continual.forgetting(self.accuracy, learned),
            "backward_transfer": continual.backward_transfer(self.accuracy, learned),
            "forward_transfer": continual.forward_transfer(self.accuracy, learned, self.initial),
        }
        if phases.val_tests:
            found["val_average_accuracy"] = continual.average_accuracy(self.val)
        metrics = {f"continual/{name}": value for name, value in found.items() if value is not None}
        matrices: dict[str, Any] = {"accuracy": self.accuracy, "initial": self.initial, "learned": learned}
        matrices |= {"val_accuracy": self.val} if phases.val_tests else {}
        if phases.config.name == "mistakes":
            matrices["mistakes"] = self.mistakes
            matrices["mistakes_forgotten"] = continual.mistakes_forgotten(self.mistakes, learned)
        return {
            "metrics": {f"acc/phase_{k}": value for k, value in enumerate(self.whole)} | metrics,
            "matrices": matrices,
            "phases": self.log,
        }


def restore_buffers(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the feedbacks' buffers the shapes and values that they have in a checkpoint, new ones included."""
    for key, value in state.items():
        path, _, name = key.rpartition(".")
        if not key.startswith("feedbacks."):
            continue
        owner = module.get_submodule(path)
        if name not in owner._parameters:  # pyright: ignore[reportPrivateUsage]
            owner.register_buffer(name, value.clone())
