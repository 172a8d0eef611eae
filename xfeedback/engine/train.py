"""The Lightning trainer of one phase: devices, selection of weights, callbacks."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from xfeedback.continual.phases import AUDIT, AUDITS
from xfeedback.data.task import Task
from xfeedback.engine.callbacks import History, KeepBest, Progress, StepTimer
from xfeedback.engine.checkpoint import AtomicCheckpointIO, RandomState, SaveForResume
from xfeedback.engine.compiled import Compiled, compiler
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.loggers import Guarded
from xfeedback.engine.options import TrainerConfig
from xfeedback.engine.preempt import StopOnSignal
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.throughput import Throughput
from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule
from xfeedback.models.running import mode


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
    if config.compile and config.accelerator == "cpu" and compiler() is None:
        raise UserError(
            "trainer.compile=true needs a C++ compiler on a CPU, and there is neither $CXX nor g++ or clang++ on this "
            "machine. Install one (apt-get install g++), or use trainer.compile=false."
        )
    if config.precision == "16-mixed" and (config.accelerator == "cpu" or not gpus):
        raise UserError("trainer.precision=16-mixed needs a GPU. Use trainer.precision=bf16-mixed or 32-true.")


def use_threads(config: TrainerConfig) -> None:
    """Let torch compute with the threads that are asked for, else with the cores that Slurm gave the task.

    Without either it keeps what it started with: all cores, or what ``OMP_NUM_THREADS`` says, which joblib sets to the
    cores divided by its jobs.
    """
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    wanted = config.threads or (int(given) if given.isdigit() else 0)
    if wanted:
        torch.set_num_threads(wanted)


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
    if wanted in AUDITS:
        if wanted == "next_slice" and spec.phases.name != "mistakes":
            raise UserError("trainer.select_on=next_slice needs phases=mistakes, which has slices.")
        return f"val/{AUDIT}"
    name = wanted.removeprefix("val_")
    if name not in names:
        known = ", ".join("val" if n == "val" else f"val_{n}" for n in names) or "none"
        raise UserError(
            f"trainer.select_on={wanted}: {task.name} has no such validation set; it has {known}. Use last."
        )
    return f"val/{name}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a phase stands in its run.

    Attributes:
        number: of the phase, from 0.
        count: how many phases there are.
        epochs: how many it has.
        epochs_before, steps_before: those of all phases before it.
    """

    number: int = 0
    count: int = 1
    epochs: int
    epochs_before: int = 0
    steps_before: int = 0

    @property
    def words(self) -> str:
        """For the progress bar; empty for ordinary training."""
        return f", phase {self.number + 1}/{self.count}" if self.count > 1 else ""


def build_trainer(
    spec: RunSpec,
    folder: RunFolder,
    place: Place,
    *,
    metric: str | None,
    timer: StepTimer,
    logger: Guarded | None,
    further: Sequence[Callback] = (),
    resting: bool = False,
) -> Trainer:
    """Return the Trainer of one phase with its callbacks.

    ``resting``: in some steps a part of the weights may get no gradient, which several processes must be told of.
    """
    _quiet()
    config = spec.trainer
    callbacks: list[Callback] = [timer]
    callbacks += [KeepBest(metric, config.select_tie)] if metric else []
    callbacks += [Throughput()]
    callbacks += [Compiled()] if config.compile else []
    callbacks += [History(folder.history, place.number, place.steps_before), RandomState(), *further]
    callbacks += [SaveForResume(folder.checkpoints, config.checkpoint_every_n_epochs, place.epochs_before)]
    callbacks += [StopOnSignal(folder.checkpoints, place.epochs_before)]
    callbacks += [Progress(f"{spec.title} on {spec.label}, seed {spec.seed}{place.words}")] if config.progress else []
    if logger is not None:
        logger.steps_before = place.steps_before
    return Trainer(
        max_epochs=place.epochs,
        accelerator=config.accelerator,
        devices=config.devices,
        strategy="ddp_find_unused_parameters_true" if resting and config.strategy == "ddp" else config.strategy,
        precision=config.precision,
        gradient_clip_val=config.gradient_clip,
        accumulate_grad_batches=config.accumulate,
        callbacks=callbacks,
        logger=logger or False,
        default_root_dir=folder.path,
        plugins=[AtomicCheckpointIO(), *_cluster()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=config.validate_every_n_epochs,
        inference_mode=False,
        use_distributed_sampler=False,
    )


def may_rest(module: FeedbackModule, example: Tensor) -> bool:
    """Whether a part of the trained weights may get no gradient in some step, as those of a layer that nothing reads.

    Args:
        module: before training, on the device of ``example``.
        example: one input ``(1, ...)``.
    """
    trained = [weights for weights in module.network.parameters() if weights.requires_grad]
    with mode(module.network, training=False):
        found = torch.autograd.grad(module.network(example).sum(), trained, allow_unused=True)
    grads = cast("tuple[Tensor | None, ...]", found)  # torch's type leaves out that None is an unread weight's
    own = any(weights.requires_grad for weights in module.feedbacks.parameters())
    changes = any(feedback.changes_network for feedback in module.feedbacks)
    return own or changes or any(grad is None for grad in grads)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How training went.

    Attributes:
        device: where the module was trained.
        epoch: of the last phase, whose weights are kept, from 0.
        steps: of the optimiser, over all phases.
        epochs: over all phases.
        notes: on resuming; empty for an uninterrupted run.
        step_ms: median time of a step, where it was measured.
        continual: what the phases left to be recorded in the result; empty for ordinary training.
    """

    device: torch.device
    epoch: int
    steps: int
    epochs: int
    notes: tuple[str, ...] = ()
    step_ms: float | None = None
    continual: Mapping[str, Any] = field(default_factory=dict)


def _cluster() -> list[SLURMEnvironment]:
    """Inside a Slurm job: the environment without Lightning's own way to requeue, which would lose the sweep's."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _quiet() -> None:
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    warnings.filterwarnings(
        "ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated", category=FutureWarning
    )
    torch.set_float32_matmul_precision("highest")
