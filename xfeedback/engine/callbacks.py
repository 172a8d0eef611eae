"""What happens beside a training step: progress, history, selection of weights, step times."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from tqdm import tqdm

from xfeedback import files

WARM_UP_STEPS = 20
SAME = 5e-5
"""Points of accuracy, less than a sample of a million, by which equal shares of hits differ in float32."""


class Progress(Callback):
    """One bar over the whole run with the last epoch's figures; a line now and then where there is no terminal."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar: tqdm[NoReturn] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar where training stands, in one of the processes that train together."""
        del pl_module
        if not trainer.is_global_zero:
            return
        total = int(trainer.estimated_stepping_batches)
        interval = 0.2 if sys.stderr.isatty() else 10.0
        width = None if sys.stderr.isatty() else 100
        self._bar = tqdm(
            total=total,
            initial=trainer.global_step,
            desc=self.label,
            unit="step",
            mininterval=interval,
            ncols=width,
            dynamic_ncols=width is None,
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Show how many steps the optimiser has made."""
        del pl_module
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's figures."""
        del pl_module
        if self._bar is not None:
            shown = {k: float(v) for k, v in trainer.callback_metrics.items() if k in ("train/loss", "train/acc")}
            shown |= {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
            text = ", ".join(f"{k} {v:.3f}" if k.endswith("loss") else f"{k} {v:.1f}" for k, v in shown.items())
            self._bar.set_postfix_str(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, {text}", refresh=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        del trainer, pl_module
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar before the error is shown."""
        del exception
        self.on_train_end(trainer, pl_module)


class History(Callback):
    """Append a line of JSON to ``metrics.jsonl`` after each epoch; a resumed run first drops what it will repeat.

    Epochs count from 0 in each phase, steps over all phases.
    """

    def __init__(self, path: Path, phase: int = 0, steps_before: int = 0) -> None:
        self.path, self.phase, self.steps_before = path, phase, steps_before
        self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep only the epochs before the one that starts now."""
        del pl_module
        self._started = time.perf_counter()
        if trainer.is_global_zero:
            keep_before(self.path, (self.phase, trainer.current_epoch))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and forget the figures of the epoch before, which not every epoch has."""
        del pl_module
        for name in [name for name in trainer.callback_metrics if name.startswith("train/")]:
            del trainer.callback_metrics[name]
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's figures."""
        if not trainer.is_global_zero:
            return
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        logged = ("train/", "val/") if validated else "train/"
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(logged)}
        step = self.steps_before + trainer.global_step
        place = {"epoch": trainer.current_epoch, "step": step, "phase": pl_module.phase_name}
        pace = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("data/")}
        append(self.path, {**place, **figures, "seconds": round(time.perf_counter() - self._started, 4), **pace})


def keep_before(path: Path, place: tuple[int, int]) -> None:
    """Keep of a history only the epochs before a phase and epoch."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if _place_of(line) < place]
        files.write_text(path, "".join(f"{line}\n" for line in kept))


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add an epoch's figures to a history."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _place_of(line: str) -> tuple[float, float]:
    try:
        found = json.loads(line)
        return int(found.get("phase", 0)), found["epoch"]
    except (ValueError, KeyError):
        return float("inf"), 0


class KeepBest(Callback):
    """Keep the weights of the epoch with the best value of a logged metric; the earliest of equals wins.

    Args:
        metric: its name; accuracy in percent.
        tie: values are compared as they are (``exact``), up to rounding, which depends on the batches that the hits
            fall into; or rounded to two decimals (``round2``).
    """

    def __init__(self, metric: str, tie: str = "exact") -> None:
        self.metric, self.tie = metric, tie
        self.best, self.epoch = float("-inf"), -1
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights when they are better than all before."""
        self.see(float(trainer.callback_metrics[self.metric]), trainer.current_epoch, pl_module)

    def see(self, value: float, epoch: int, module: nn.Module) -> None:
        """Copy the module's weights after an epoch with this value when it is better than all before."""
        value = round(value, 2) if self.tie == "round2" else value
        if value > self.best + SAME:
            self.best, self.epoch = value, epoch
            self.weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far, for the checkpoint."""
        return {"best": self.best, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best so far."""
        self.best, self.epoch = state_dict["best"], state_dict["epoch"]
        self.weights = state_dict["weights"]


class StepTimer(Callback):
    """Time training steps without waiting for the device inside one."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._start: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Note the start."""
        del trainer
        self._start = _now(pl_module.device)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Note the end."""
        del trainer
        end = _now(pl_module.device)
        if isinstance(end, float):
            self.milliseconds.append(1000 * (end - self._start))
        else:
            self._events.append((self._start, end))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the epoch's events, once."""
        del trainer, pl_module
        if self._events:
            torch.cuda.synchronize()
            self.milliseconds += [start.elapsed_time(end) for start, end in self._events]
            self._events.clear()

    def median_ms(self) -> float | None:
        """Return the median step time after the warm-up steps, or of all when there are few."""
        steady = self.milliseconds[WARM_UP_STEPS:] or self.milliseconds
        return median(steady) if steady else None


def _now(device: torch.device) -> Any:
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
