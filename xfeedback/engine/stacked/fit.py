"""Train the seeds of a cell as one program: the loop, and each seed's history, selection of weights and failure."""

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from xfeedback.continual.phases import Loading, Phases
from xfeedback.data.task import Task
from xfeedback.engine.callbacks import WARM_UP_STEPS, KeepBest, append, keep_before
from xfeedback.engine.checkpoint import RandomState
from xfeedback.engine.equal_time import lengthened
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.phases import call
from xfeedback.engine.record import restore_buffers
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.stacked.saved import Asked, StackCheckpoints, listening
from xfeedback.engine.stacked.stack import Losses, Stack
from xfeedback.engine.train import Trained
from xfeedback.errors import Preempted, TrainingError
from xfeedback.feedback import FeedbackModule
from xfeedback.feedback.meter import Accuracies, Meter
from xfeedback.feedback.module import not_finite
from xfeedback.feedback.optimise import build_optimiser, build_schedule
from xfeedback.types import Batch, Phase


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the runs that train together.

    Attributes:
        spec, folder, task, module: as of a single run.
    """

    spec: RunSpec
    folder: RunFolder
    task: Task
    module: FeedbackModule


class StackedTraining:
    """The training of several seeds as one program.

    Args:
        members: the runs, of one cell.
        device: where they train.
        metric: validation accuracy that each seed's weights are selected on; None: those of the last epoch.

    Attributes:
        failed: why a seed's training went wrong, by its place among the members; the others go on.
        milliseconds: of each step of all seeds, where nothing waits for the device.
    """

    def __init__(self, members: Sequence[Member], device: torch.device, metric: str | None) -> None:
        self.members, self.device, self.metric = list(members), device, metric
        self.config = lengthened(members[0].spec).trainer
        self.modules = [member.module.to(device) for member in members]
        self.phases = [_phase(member, device) for member in members]
        self.saved = StackCheckpoints(members[0].folder.checkpoints, [member.spec.run for member in members])
        state, self.notes = self.saved.newest()
        for k, (module, phase) in enumerate(zip(self.modules, self.phases, strict=True)):
            module.phase_name = phase.name
            if state is not None:
                restore_buffers(module, state["feedbacks"][k])
            call(module, "phase_start" if state is None else "phase_resume", phase)
            module.to(device)
        self.stack = Stack(self.modules)
        self.keepers = [KeepBest(metric, self.config.select_tie) for _ in members if metric]
        self.failed: dict[int, TrainingError] = {}
        self.milliseconds: list[float] = []
        self.epoch = self._done = 0
        self._train, self._val = Meter(), Accuracies(balanced=members[0].task.balanced_accuracy)
        self._set_up_optimiser()
        if state is not None:
            self._take_up(state)

    def _set_up_optimiser(self) -> None:
        options, epochs = self.modules[0].optimiser, self.config.max_epochs
        self.steps = len(self.phases[0].train)  # type: ignore[arg-type]
        self.optimiser = build_optimiser(options, self.stack.network.parameters())
        self.schedule = build_schedule(options, self.optimiser, self.steps * epochs, self.steps)

    def run(self) -> list[Trained | TrainingError]:
        """Train all epochs, and leave in each module the weights that were selected."""
        total, shown = self.steps * self.config.max_epochs, self.config.progress
        interval = 0.2 if sys.stderr.isatty() else 10.0
        begun = self.epoch * self.steps + self._done
        for member in self.members:
            keep_before(member.folder.history, (0, self.epoch))
        bar = tqdm(total=total, initial=begun, desc=self._label(), unit="step", mininterval=interval, disable=not shown)
        with bar, listening() as asked:
            while self.epoch < self.config.max_epochs and len(self.failed) < len(self.members):
                self._one_epoch(bar, asked)
                self._save_when_due(asked)
        self.saved.clear()
        self.stack.release()
        pairs = enumerate(zip(self.modules, self.phases, strict=True))
        return [self.failed.get(k) or self._selected(k, module, phase) for k, (module, phase) in pairs]

    def step_ms(self) -> float | None:
        """Return the median time of a step of all seeds after the warm-up steps."""
        steady = self.milliseconds[WARM_UP_STEPS:] or self.milliseconds
        return median(steady) if steady else None

    def _label(self) -> str:
        spec = self.members[0].spec
        return f"{spec.title} on {spec.label}, {len(self.members)} seeds as one"

    def _one_epoch(self, bar: "tqdm[Any]", asked: Asked) -> None:
        started = time.perf_counter()
        self.stack.network.train()
        for module, phase in zip(self.modules, self.phases, strict=True):
            phase.train.set_epoch(self.epoch)  # type: ignore[attr-defined]
            phase.train.skip(self._done)  # type: ignore[attr-defined]
            for feedback in module.feedbacks:
                feedback.epoch_start(module.network, self.epoch)
        for batches in self._batches([phase.train for phase in self.phases]):
            began = time.perf_counter()
            self._step(batches, self._done)
            self.milliseconds += [1000 * (time.perf_counter() - began)] if self.device.type == "cpu" else []
            self._done += 1
            bar.update()
            if asked.number is not None and self._done < self.steps:
                self._stop(asked.number)
        self._record(time.perf_counter() - started)
        self.epoch, self._done = self.epoch + 1, 0

    def _save_when_due(self, asked: Asked) -> None:
        """Save after every n-th epoch, and stop where a signal asked for it; after the last one neither."""
        if self.epoch == self.config.max_epochs:
            return
        if asked.number is not None:
            self._stop(asked.number)
        if self.epoch % self.config.checkpoint_every_n_epochs == 0:
            self.saved.save(self._state(), self.epoch)

    def _stop(self, number: int) -> None:
        self.saved.save(self._state(), self.epoch, self._done)
        raise Preempted(number)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.stack.network.state_dict(),
            "feedbacks": [module.state_dict() for module in self.modules],
            "optimiser": self.optimiser.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "keepers": [keeper.state_dict() for keeper in self.keepers],
            "failed": {k: str(error) for k, error in self.failed.items()},
            "sums": self._train.state(),
            "place": (self.epoch, self._done),
            "random": RandomState().state_dict(),
        }

    def _take_up(self, state: dict[str, Any]) -> None:
        self.stack.network.load_state_dict(state["network"])
        for module, own in zip(self.modules, state["feedbacks"], strict=True):
            module.feedbacks.load_state_dict(_of_feedbacks(own))
        self.optimiser.load_state_dict(state["optimiser"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        for keeper, own in zip(self.keepers, state["keepers"], strict=True):
            keeper.load_state_dict(own)
        self.failed = {k: TrainingError(line) for k, line in state["failed"].items()}
        self._train.restore({name: (total.to(self.device), n) for name, (total, n) in state["sums"].items()})
        self.epoch, self._done = state["place"]
        RandomState().load_state_dict(state["random"])

    def _batches(self, loaders: Sequence[Iterable[Any]]) -> Iterable[list[Batch]]:
        for given in zip(*loaders, strict=True):
            pairs = zip(self.modules, given, strict=True)
            yield [module.transfer_batch_to_device(batch, self.device, 0) for module, batch in pairs]

    def _precision(self) -> AbstractContextManager[Any]:
        mixed = self.config.precision == "bf16-mixed"
        return torch.autocast(self.device.type, torch.bfloat16) if mixed else nullcontext()

    def _step(self, batches: Sequence[Batch], number: int) -> None:
        with self._precision():
            found = self.stack.losses(batches, (self.phases[0].name, 0, self.epoch, number))
        self.optimiser.zero_grad()
        found.total.sum().backward()
        if self.device.type == "cpu":  # where looking is free
            self._look(found, number)
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()
        self._train.add(len(batches[0]), {**found.terms, **found.figures, "loss": found.total})

    def _look(self, found: Losses, number: int) -> None:
        values = {**found.terms, "loss": found.total}
        for k in (~torch.isfinite(found.total)).nonzero().flatten().tolist():
            where = f"epoch {self.epoch}, step {number}"
            self._fail(k, not_finite({name: value[k] for name, value in values.items()}, where))
        for name, weight in self.stack.network.named_parameters():
            norms = None if weight.grad is None else weight.grad.flatten(1).norm(dim=1)
            for k in [] if norms is None else (~torch.isfinite(norms)).nonzero().flatten().tolist():
                line = f"the gradient of network.{name} is not finite at epoch {self.epoch}; lower the weight."
                self._fail(k, TrainingError(line))

    def _fail(self, member: int, error: TrainingError) -> None:
        self.failed.setdefault(member, error)

    @torch.no_grad()
    def _validate(self) -> None:
        self.stack.network.eval()
        for name in self.phases[0].val:
            for batches in self._batches([phase.val[name] for phase in self.phases]):
                with self._precision():
                    labels = torch.stack([batch.y for batch in batches])
                    self._val.add(f"val/{name}", self.stack.logits(batches), labels)

    def _record(self, seconds: float) -> None:
        """Write each seed's figures of the epoch, and keep its weights where they are the best so far."""
        if (self.epoch + 1) % self.config.validate_every_n_epochs == 0:
            self._validate()
        trained, self._train = _means(self._train), Meter()
        validated = {name: _plain(value) for name, value in self._val.read().items()}
        for k, member in enumerate(self.members):
            wrong = {name: torch.tensor(value[k]) for name, value in trained.items()}
            if not all(torch.isfinite(value) for value in wrong.values()):
                self._fail(k, not_finite(wrong, f"epoch {self.epoch}"))
            if k in self.failed:
                continue
            figures = {name: value[k] for name, value in validated.items()}
            figures |= {f"train/{name}": value[k] for name, value in trained.items()}
            place = {"epoch": self.epoch, "step": (self.epoch + 1) * self.steps, "phase": self.phases[k].name}
            append(member.folder.history, {**place, **figures, **self._strengths(k), "seconds": round(seconds, 4)})
            if self.metric:
                self.keepers[k].see(figures[self.metric], self.epoch, member.module)

    def _strengths(self, member: int) -> dict[str, float]:
        weighted = [f for f in self.modules[member].feedbacks if f.strength_option is not None]
        found = {f"train/{f.name}/weight": f.strength(self.epoch) for f in weighted}
        return {name: value for name, value in found.items() if value > 0}

    def _selected(self, number: int, module: FeedbackModule, phase: Phase) -> Trained:
        call(module, "epochs_end", phase)
        epoch = self.epoch - 1
        if self.keepers:
            module.load_state_dict(self.keepers[number].weights)
            epoch = self.keepers[number].epoch
        call(module, "phase_end", phase)
        steps, notes = self.epoch * self.steps, tuple(self.notes)
        return Trained(device=self.device, epoch=epoch, steps=steps, epochs=self.epoch, notes=notes)


def _phase(member: Member, device: torch.device) -> Phase:
    """Return a run's only phase."""
    spec = lengthened(member.spec)
    trainer = spec.trainer
    sizes = {"batch_size": trainer.batch_size, "eval_batch_size": spec.evaluation.batch_size}
    loading = Loading(**sizes, seed=spec.seed, device=device)
    return Phases(spec.phases, member.task, trainer.select_on).phase(0, torch.arange(0), loading)


def _of_feedbacks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The part of a module's state that its feedbacks hold."""
    head = "feedbacks."
    return {key.removeprefix(head): value for key, value in state.items() if key.startswith(head)}


def _means(meter: Meter) -> dict[str, list[float]]:
    """Return each mean of every seed, in the precision that single runs write."""
    means = {name: total / count for name, (total, count) in meter.state().items()}
    return {name: _plain(value) for name, value in means.items()}


def _plain(values: Tensor) -> list[float]:
    return values.float().tolist()
