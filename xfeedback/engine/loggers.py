"""Loggers on top of the run folder's own history; none of them can end a training."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from tqdm import tqdm

from xfeedback.engine.spec import RunSpec

WANDB_SECONDS: dict[str, Any] = {"login_timeout": 10, "init_timeout": 10, "finish_timeout": 60}
"""How long wandb may keep a run waiting when it does not answer; what it could not send stays on disk."""
STEP = "trainer/global_step"
BEST = {"train/loss": "min,last", "train/acc": "max,last", "val/*": "max,last"}
"""What wandb's summary keeps of a figure's course; of all others the last value."""


class Guarded(Logger):
    """Pass everything on to a logger; its first failure is reported once and it is left alone from then on.

    Attributes:
        steps_before: of earlier phases: added to the step, so that it counts over the whole run.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger
        self.steps_before = 0
        self.failed: str | None = None

    @property
    def name(self) -> str | None:
        """Name of the logger."""
        return type(self.logger).__name__

    @property
    def version(self) -> str | int | None:
        """The run folder is the version."""
        return None

    def _try(self, call: Callable[[], Any]) -> None:
        if self.failed is not None:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever a logger raises, training goes on
            self.failed = _line(error)
            _note(f"{self.name} stopped: {self.failed}. Training goes on; metrics.jsonl is kept.")

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log scalars."""
        whole = None if step is None else step + self.steps_before
        self._try(lambda: self.logger.log_metrics(metrics, whole))

    def log_hyperparams(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Log the configuration."""
        self._try(lambda: self.logger.log_hyperparams(params, *args, **kwargs))  # type: ignore[arg-type]

    def save(self) -> None:
        """Write what is pending."""
        self._try(self.logger.save)

    def finalize(self, status: str) -> None:
        """Close."""
        self._try(lambda: self.logger.finalize(status))

    def close(self, result: Mapping[str, Any] | None, picture: Path) -> None:
        """Log a finished run's metrics and its picture, and close the logger even when it has failed.

        Args:
            result: what ``result.json`` holds, or None when the run did not finish.
            picture: the run's explanations.
        """
        if result is not None:
            self._try(lambda: self.logger.log_metrics(result["metrics"], result["steps"]))
            self._try(self.logger.save)
        if isinstance(self.logger, WandbLogger):
            if result is not None and picture.exists():
                self._try(lambda: self.logger.log_image("explanations", [str(picture)]))  # type: ignore[attr-defined]
            _finish_wandb(0 if result is not None else 1)


def _finish_wandb(exit_code: int) -> None:
    import wandb

    try:
        wandb.finish(exit_code=exit_code)
    except Exception as error:  # noqa: BLE001
        _note(f"wandb did not finish cleanly: {_line(error)}")


def build_logger(spec: RunSpec) -> Guarded | None:
    """Return the logger that was asked for, its files inside the run folder.

    A logger that can't be built is reported and left out.
    """
    kinds = {"csv": _csv, "tensorboard": _tensorboard, "wandb": _wandb}
    if spec.logger.name not in kinds:
        return None
    try:
        return Guarded(kinds[spec.logger.name](spec))
    except Exception as error:  # noqa: BLE001
        _note(f"logger={spec.logger.name} could not start: {_line(error)}. Training goes on.")
        return None


def _csv(spec: RunSpec) -> Logger:
    return CSVLogger(spec.folder, name="", version="csv")


def _tensorboard(spec: RunSpec) -> Logger:
    return TensorBoardLogger(spec.folder, name="", version="tensorboard")


def _wandb(spec: RunSpec) -> Logger:
    import wandb

    if not wandb_is_offline(spec.logger.mode):
        try:
            return _wandb_run(spec, "online")
        except Exception as error:  # noqa: BLE001 - a network that fails ends no training
            _note(f"wandb: {_line(error)}. Training goes on offline; scripts/wandb_sync.py sends the run later.")
            wandb.teardown()  # what failed would still hold the run's id
    return _wandb_run(spec, "offline")


def _wandb_run(spec: RunSpec, mode: Literal["online", "offline"]) -> Logger:
    import wandb

    offline = mode == "offline"
    run = wandb.init(
        name=spec.run,
        id=spec.run.rsplit("-", 1)[1],  # a run that is resumed goes on in its curve
        project=spec.logger.project,
        group=f"{spec.label}-{spec.model.name}-{spec.method}-{spec.cell}",
        job_type=spec.method,
        tags=[spec.label, spec.model.name, *spec.methods],
        config=spec.plain(),
        dir=spec.folder,
        mode=mode,
        resume=None if offline else "allow",
        settings=wandb.Settings(quiet=True, silent=offline, console="off", **WANDB_SECONDS),
    )
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for name, best in BEST.items():
        run.define_metric(name, step_metric=STEP, step_sync=True, summary=best)
    return WandbLogger(experiment=run)


def wandb_is_offline(mode: str) -> bool:
    """Decide before anything connects: WANDB_MODE, then the option, then whether a key is at hand."""
    wanted = os.environ.get("WANDB_MODE", mode)
    if wanted in ("online", "shared"):
        return False
    if wanted in ("offline", "disabled", "dryrun"):
        return True
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    logged_in = bool(os.environ.get("WANDB_API_KEY")) or (netrc.exists() and "wandb" in netrc.read_text())
    return not logged_in


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _note(text: str) -> None:
    """Show a line above the progress bar."""
    tqdm.write(f"note: {text}", file=sys.stderr)
