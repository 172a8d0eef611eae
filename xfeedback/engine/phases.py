"""Train phase by phase from where the run stood, and test the network in between."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from xfeedback import models
from xfeedback.continual.heads import among
from xfeedback.continual.phases import Loading, Phases
from xfeedback.data.task import Task
from xfeedback.engine.assess import assess, predicted_on_pool
from xfeedback.engine.callbacks import KeepBest, StepTimer
from xfeedback.engine.checkpoint import AtomicCheckpointIO, RandomState, drop_old, latest, named
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.loggers import Guarded
from xfeedback.engine.record import KEY, Record, restore_buffers
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.train import Place, Trained, build_trainer, may_rest
from xfeedback.feedback import FeedbackModule
from xfeedback.models.running import mode
from xfeedback.types import Phase


def fit(
    spec: RunSpec,
    folder: RunFolder,
    task: Task,
    module: FeedbackModule,
    *,
    metric: str | None,
    timer: StepTimer,
    logger: Guarded | None,
) -> Trained:
    """Train all phases from the newest checkpoint, and leave the selected weights of the last one in the module.

    Args:
        spec: the run.
        folder: where its checkpoints and history lie.
        task: the data.
        module: as it is before training.
        metric: validation accuracy that each phase's weights are selected on; None: those of its last epoch.
        timer: times all steps.
        logger: gets the figures too.
    """
    training = Training(spec, folder, task, module, metric=metric, timer=timer, logger=logger)
    checkpoint, notes = latest(folder.checkpoints)
    if checkpoint is not None:
        notes.append(f"resumed from {checkpoint.name}")
        training.resume(checkpoint)
    for _ in range(training.record.number, training.phases.count):
        training.phase(checkpoint if training.record.begun else None)
    return training.trained(tuple(notes))


def call(module: FeedbackModule, hook: str, phase: Phase) -> None:
    """Call a hook of phases, by its name, of all feedbacks that can act; the network is in evaluation mode."""
    feedbacks = list(module.feedbacks)
    with mode(module.network, training=False):
        for feedback in feedbacks:
            if feedback.full_strength > 0 or feedback.changes_network:
                getattr(feedback, hook)(module.network, phase)


class KeepRecord(Callback):
    """Put the record into every checkpoint, and give a phase the optimiser's state that it begins with."""

    def __init__(self, record: Record, carried: str) -> None:
        self.record, self.carried = record, carried

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the optimiser's state, not its learning rate and other options; a resumed phase sets its own."""
        del pl_module
        if self.record.optimiser:
            optimiser = trainer.optimizers[0]
            optimiser.load_state_dict({**optimiser.state_dict(), "state": self.record.optimiser})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the record."""
        del trainer, pl_module
        checkpoint[KEY] = self.record.under_way()

    def keep_optimiser(self, trainer: Trainer) -> None:
        """Keep the optimiser's state for the next phase: all of it, or the step counts with moments of 0."""
        state = {} if self.carried == "fresh" else trainer.optimizers[0].state_dict()["state"]
        kept = {key: dict(values) for key, values in state.items()}
        if self.carried == "tf_legacy_step":
            for values in kept.values():
                values |= {name: torch.zeros_like(value) for name, value in values.items() if name != "step"}
        self.record.optimiser = kept


@dataclass
class Training:
    """One run's training.

    Attributes:
        spec, folder, task, module, metric, timer, logger: see :func:`fit`.
    """

    spec: RunSpec
    folder: RunFolder
    task: Task
    module: FeedbackModule
    metric: str | None
    timer: StepTimer
    logger: Guarded | None

    def __post_init__(self) -> None:
        self.phases = Phases(self.spec.phases, self.task, self.spec.trainer.select_on)
        self.record = Record()
        self.device, self.epoch = torch.device("cpu"), -1

    def resume(self, path: Path) -> None:
        """Take up the record of a checkpoint and what the feedbacks kept; between phases everything else too."""
        found = AtomicCheckpointIO().load_checkpoint(path)
        self.record = Record.of(found)
        restore_buffers(self.module, found["state_dict"])
        if not self.record.begun:
            self.module.load_state_dict(found["state_dict"])
            RandomState().load_state_dict(found["random"])

    def phase(self, checkpoint: Path | None) -> None:
        """Train the phase that the record names, from inside it where there is a checkpoint, and go on to the next."""
        record, number = self.record, self.record.number
        keeper = KeepRecord(record, self.spec.phases.optimiser)
        place = self._place()
        trainer = build_trainer(
            self.spec,
            self.folder,
            place,
            metric=self.metric,
            timer=self.timer,
            logger=self.logger,
            further=[keeper],
            resting=self._resting(),
        )
        loading = self._loading(trainer)
        self.module.to(loading.device)
        if checkpoint is None:
            self._before(loading)
        phase = self.phases.phase(number, record.added, loading)
        with among(self.module.network, self.phases.classes(number)):
            self._train(trainer, phase, checkpoint)
        record.steps += trainer.global_step
        record.epochs += place.epochs
        if self.phases.count > 1:
            keeper.keep_optimiser(trainer)
            self._after(loading, phase)
        record.number, record.begun = number + 1, False
        if record.number < self.phases.count:
            self._save()

    def trained(self, notes: tuple[str, ...]) -> Trained:
        """Return how training went."""
        record = self.record
        continual = record.result(self.phases) if self.phases.count > 1 else {}
        return Trained(
            device=self.device,
            epoch=self.epoch,
            steps=record.steps,
            epochs=record.epochs,
            notes=notes,
            continual=continual,
        )

    def _place(self) -> Place:
        record = self.record
        return Place(
            number=record.number,
            count=self.phases.count,
            epochs=self.phases.epochs(record.number, self.spec.trainer.max_epochs),
            epochs_before=record.epochs,
            steps_before=record.steps,
        )

    def _resting(self) -> bool:
        alone = self.spec.trainer.strategy != "ddp"
        return not alone and may_rest(self.module, models.example(self.task.in_shape, self.task.kind))

    def _loading(self, trainer: Trainer) -> Loading:
        self.device = trainer.strategy.root_device
        return Loading(
            batch_size=self.spec.trainer.batch_size,
            eval_batch_size=self.spec.evaluation.batch_size,
            seed=self.spec.seed,
            device=self.device,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )

    def _before(self, loading: Loading) -> None:
        """Look at the network before a phase: how good it is untrained, and which of the next slice it gets wrong."""
        record, config = self.record, self.spec.phases
        if record.number == 0 and self.phases.count > 1:
            record.initial = assess(self.module.network, self.phases, loading).accuracy
        rows = self.phases.slice(record.number)
        if len(rows) and config.added == "mistakes" and self.task.pool is not None:
            wrong = predicted_on_pool(self.module.network, self.phases, loading) != self.task.pool.y
            old = [record.added] if config.keep_old_mistakes else []
            record.added = torch.cat([*old, rows[wrong[rows]]])

    def _train(self, trainer: Trainer, phase: Phase, checkpoint: Path | None) -> None:
        self.module.phase_name = phase.name
        self._call("phase_start" if checkpoint is None else "phase_resume", phase)
        loaders = list(phase.val.values())
        try:
            trainer.fit(self.module, phase.train, loaders or None, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as stop:  # Lightning turns an interrupt into an exit
            raise KeyboardInterrupt from stop
        self.module.to(self.device)
        self._call("epochs_end", phase)
        self.epoch = trainer.current_epoch - 1
        keeper = next((c for c in trainer.callbacks if isinstance(c, KeepBest)), None)  # type: ignore[attr-defined]
        if keeper is not None:
            self.module.load_state_dict(keeper.weights)
            self.epoch = keeper.epoch
        self._call("phase_end", phase)

    def _call(self, hook: str, phase: Phase) -> None:
        call(self.module, hook, phase)
        self.module.to(self.device)

    def _after(self, loading: Loading, phase: Phase) -> None:
        """Test the network after a phase and note what the phase was like."""
        record = self.record
        record.add(assess(self.module.network, self.phases, loading))
        rows = self.phases.slice(record.number)
        slices = {} if self.task.pool is None else {"slice_labels": self._histogram(self.task.pool.y[rows])}
        record.log.append(
            {
                "phase": phase.name,
                "samples": sum(len(batch) for batch in phase.ordered),
                "added": len(record.added),
                "selected_epoch": self.epoch,
                **slices,
            }
        )

    def _histogram(self, labels: torch.Tensor) -> list[int]:
        return torch.bincount(labels, minlength=self.task.n_classes).tolist()

    def _save(self) -> None:
        """Save the state between two phases."""
        plain = {**self.record.under_way(), "begun": False, "optimiser": self.record.optimiser}
        content = {"state_dict": self.module.state_dict(), KEY: plain, "random": RandomState().state_dict()}
        AtomicCheckpointIO().save_checkpoint(content, named(self.folder.checkpoints, self.record.epochs))
        drop_old(self.folder.checkpoints)
