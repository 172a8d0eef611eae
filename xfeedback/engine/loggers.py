"""Loggers on top of the run folder's own history; none of them can end a training."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from xfeedback.engine.spec import RunSpec


class Guarded(Logger):
    """Pass everything on to a logger; its first failure is reported once and it is left alone from then on."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger
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
            self.failed = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(f"{self.name} stopped: {self.failed}. Training goes on; metrics.jsonl is kept.", stacklevel=2)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log scalars."""
        self._try(lambda: self.logger.log_metrics(metrics, step))

    def log_hyperparams(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Log the configuration."""
        self._try(lambda: self.logger.log_hyperparams(params, *args, **kwargs))  # type: ignore[arg-type]

    def save(self) -> None:
        """Write what is pending."""
        self._try(self.logger.save)

    def finalize(self, status: str) -> None:
        """Close."""
        self._try(lambda: self.logger.finalize(status))

    def close(self, summary: dict[str, float], picture: Path | None) -> None:
        """Log the run's results and its picture, and finish the run even when the logger has failed."""
        self._try(lambda: self.logger.log_metrics(summary))
        if isinstance(self.logger, WandbLogger):
            if picture is not None and picture.exists():
                self._try(lambda: self.logger.log_image("explanations", [str(picture)]))  # type: ignore[attr-defined]
            self._finish_wandb()

    def _finish_wandb(self) -> None:
        import wandb

        try:
            wandb.finish(quiet=True)
        except Exception as error:  # noqa: BLE001
            warnings.warn(f"wandb did not finish cleanly: {error}", stacklevel=2)


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
        warnings.warn(f"logger={spec.logger.name} could not start: {error}. Training goes on.", stacklevel=2)
        return None


def _csv(spec: RunSpec) -> Logger:
    return CSVLogger(spec.folder, name="", version="csv")


def _tensorboard(spec: RunSpec) -> Logger:
    return TensorBoardLogger(spec.folder, name="", version="tensorboard")


def _wandb(spec: RunSpec) -> Logger:
    offline = wandb_is_offline(spec.logger.mode)
    return WandbLogger(
        name=spec.run,
        id=spec.run.rsplit("-", 1)[1],
        project=spec.logger.project,
        group=f"{spec.label}-{spec.model.name}",
        job_type=spec.method,
        tags=[spec.label, spec.model.name, *spec.methods],
        config=spec.plain(),
        save_dir=spec.folder,
        offline=offline,
        resume=None if offline else "allow",
    )


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
