"""Train a module on a task through Lightning, from the newest checkpoint where there is one."""

import logging
import warnings
from dataclasses import dataclass

import torch
from pytorch_lightning import Callback, Trainer

from xfeedback.continual import phases
from xfeedback.data.task import Task
from xfeedback.engine.callbacks import History, KeepBest, Progress, StepTimer
from xfeedback.engine.checkpoint import AtomicCheckpointIO, RandomState, SaveForResume, latest
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.loggers import Guarded
from xfeedback.engine.options import TrainerConfig
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule


def check_devices(config: TrainerConfig) -> None:
    """Refuse devices and precisions that this machine does not have.

    Raises:
        UserError: one of them.
    """
    gpus = torch.cuda.device_count()
    if config.accelerator == "gpu" and not (gpus or torch.backends.mps.is_available()):
        raise UserError("trainer.accelerator=gpu: torch sees no GPU on this machine. Use trainer=cpu.")
    if config.accelerator != "cpu" and 0 < gpus < config.devices:
        raise UserError(f"trainer.devices={config.devices}: torch sees {gpus} GPU(s) on this machine.")
    if config.precision == "16-mixed" and (config.accelerator == "cpu" or not gpus):
        raise UserError("trainer.precision=16-mixed needs a GPU. Use trainer.precision=bf16-mixed or 32-true.")


def selection_metric(spec: RunSpec, task: Task) -> str | None:
    """Return the logged metric that weights are selected on, or None for the last epoch.

    Raises:
        UserError: the data set has no such validation set.
    """
    names = list(task.val_loaders(spec.evaluation.batch_size, "cpu"))
    wanted = spec.trainer.select_on
    if wanted == "auto":
        return f"val/{names[0]}" if names else None
    if wanted == "last":
        return None
    name = wanted.removeprefix("val_")
    if name not in names:
        known = ", ".join("val" if n == "val" else f"val_{n}" for n in names) or "none"
        raise UserError(
            f"trainer.select_on={wanted}: {task.name} has no such validation set; it has {known}. Use last."
        )
    return f"val/{name}"


def build_trainer(
    spec: RunSpec, folder: RunFolder, metric: str | None, timer: StepTimer, logger: Guarded | None
) -> Trainer:
    """Return the Trainer with the callbacks of a run."""
    _quiet()
    config = spec.trainer
    callbacks: list[Callback] = [timer]
    callbacks += [KeepBest(metric)] if metric else []
    callbacks += [History(folder.history), RandomState()]
    callbacks += [SaveForResume(folder.checkpoints, config.checkpoint_every_n_epochs)]
    callbacks += [Progress(f"{spec.method} on {spec.label}, seed {spec.seed}")] if config.progress else []
    return Trainer(
        max_epochs=config.max_epochs,
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=config.strategy,
        precision=config.precision,
        gradient_clip_val=config.gradient_clip,
        accumulate_grad_batches=config.accumulate,
        callbacks=callbacks,
        logger=logger or False,
        default_root_dir=folder.path,
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,
        use_distributed_sampler=False,
    )


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How training went.

    Attributes:
        device: where the module was trained.
        epoch: whose weights are kept, from 0.
        steps: of the optimiser.
        notes: on resuming; empty for an uninterrupted run.
        step_ms: median time of a step, where it was measured.
    """

    device: torch.device
    epoch: int
    steps: int
    notes: tuple[str, ...] = ()
    step_ms: float | None = None


def fit(trainer: Trainer, module: FeedbackModule, task: Task, spec: RunSpec, folder: RunFolder) -> Trained:
    """Train from the newest checkpoint, and leave the selected weights in the module."""
    checkpoint, notes = latest(folder.checkpoints)
    if checkpoint is not None:
        notes.append(f"resumed from {checkpoint.name}")
    stages = phases.single(
        task,
        batch_size=spec.trainer.batch_size,
        eval_batch_size=spec.evaluation.batch_size,
        seed=spec.seed,
        device=trainer.strategy.root_device,
        rank=trainer.global_rank,
        world=trainer.world_size,
    )
    for phase in stages:
        module.phase_name = phase.name
        for feedback in module.feedbacks:
            feedback.phase_start(module.network, phase)  # type: ignore[operator]
        loaders = list(phase.val.values())
        try:
            trainer.fit(module, phase.train, loaders or None, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as stop:  # Lightning turns an interrupt into an exit
            raise KeyboardInterrupt from stop
        for feedback in module.feedbacks:
            feedback.phase_end(module.network, phase)  # type: ignore[operator]
    epoch = trainer.current_epoch - 1
    keeper = next((c for c in trainer.callbacks if isinstance(c, KeepBest)), None)  # type: ignore[attr-defined]
    if keeper is not None:
        module.load_state_dict(keeper.weights)
        epoch = keeper.epoch
    device = trainer.strategy.root_device
    return Trained(device=device, epoch=epoch, steps=trainer.global_step, notes=tuple(notes))


def _quiet() -> None:
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    warnings.filterwarnings(
        "ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated", category=FutureWarning
    )
    torch.set_float32_matmul_precision("highest")
