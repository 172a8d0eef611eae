"""Stop on request without losing a step: a cluster takes a machine away, the state is saved, the run goes on later."""

import signal
import threading
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from xfeedback.engine.checkpoint import drop_old, named
from xfeedback.errors import Preempted

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
"""What clusters send before they stop a job: Lightning's custom, submitit's, and the kernel's."""


class StopOnSignal(Callback):
    """Save the state of training and stop, at the first boundary of two steps after a signal.

    Several processes that train together stop at the end of an epoch, where they agree on it. After the last epoch
    nothing is stopped: what is left is evaluation.

    Args:
        folder: of the checkpoints.
        epochs_before: those of all phases before this one.
    """

    def __init__(self, folder: Path, epochs_before: int = 0) -> None:
        self.folder, self.before = folder, epochs_before
        self.received: int | None = None
        self._inside = False
        self._done = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on where the epoch stood, and listen; Lightning sets back the handlers when training has ended."""
        del pl_module
        if self._done:
            trainer.train_dataloader.skip(self._done)  # type: ignore[union-attr]
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object, **__: object) -> None:
        """Stop inside an epoch, where the optimiser has just made its step."""
        del pl_module
        if self.received is None or trainer.world_size > 1 or trainer.is_last_batch:
            return
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if done % trainer.accumulate_grad_batches == 0:
            self._inside = True
            self._stop(trainer, named(self.folder, self.before + trainer.current_epoch, steps=done), self.received)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between two epochs."""
        del pl_module
        asked = trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)
        if asked and trainer.current_epoch + 1 != trainer.max_epochs:
            number = self.received or signal.SIGTERM
            figures = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("train/")}
            for logger in trainer.loggers:  # Lightning would do so after this
                logger.log_metrics({**figures, "epoch": trainer.current_epoch}, trainer.global_step - 1)
            self._stop(trainer, named(self.folder, self.before + trainer.current_epoch + 1), number)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Inside an epoch: count the batch whose end this is, which Lightning does a moment later."""
        del trainer, pl_module
        if self._inside:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            for part in ("total", "current"):
                progress[part]["completed"] = progress[part]["processed"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note how many batches of its epoch were done."""
        del trainer, pl_module
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        self._done = 0 if progress["is_last_batch"] else progress["current"]["completed"]

    def _note(self, number: int, _frame: object) -> None:
        self.received = number

    def _stop(self, trainer: Trainer, path: Path, number: int) -> None:
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            drop_old(self.folder)
        raise Preempted(number)
