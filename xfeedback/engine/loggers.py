"""Loggers on top of the run folder's own history; none of them can end a training."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from xfeedback.engine.spec import RunSpec
from xfeedback.errors import Preempted
from xfeedback.tracking import local, mlflow_run, wandb_run
from xfeedback.tracking.wandb_logger import RowLogger
from xfeedback.tracking.words import note, one_line


class Guarded(Logger):
    """Pass everything on to a logger; its first failure is reported once and it is left alone from then on.

    Args:
        logger: what is guarded.
        pictures: send what a finished run's folder has to show.
        finish: close it as ``done``, ``failed`` or ``preempted``; called even when it has failed before.

    Attributes:
        steps_before: of earlier phases: added to the step, so that it counts over the whole run.
    """

    def __init__(
        self,
        logger: Logger,
        pictures: Callable[[Path], None] | None = None,
        finish: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.logger, self.pictures, self.finish = logger, pictures, finish
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

    def _try(self, call: Callable[[], object]) -> None:
        if self.failed is not None:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever a logger raises, training goes on
            self.failed = one_line(error)
            note(f"{self.name} stopped: {self.failed}. Training goes on; metrics.jsonl is kept.")

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log scalars."""
        whole = None if step is None else step + self.steps_before
        self._try(lambda: self.logger.log_metrics(metrics, whole))

    def log_hyperparams(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Log the configuration."""
        self._try(lambda: self.logger.log_hyperparams(params, *args, **kwargs))

    def save(self) -> None:
        """Write what is pending."""
        self._try(self.logger.save)

    def finalize(self, status: str) -> None:
        """Close."""
        self._try(lambda: self.logger.finalize(status))

    def close(self, result: Mapping[str, Any] | None, folder: Path) -> None:
        """Log a finished run's metrics and pictures, and close the logger even when it has failed.

        Args:
            result: what ``result.json`` holds, or None when the run did not finish.
            folder: of the run.
        """
        if result is not None:
            self._try(lambda: self.logger.log_metrics(result["metrics"], result["steps"]))
            self._try(self.logger.save)
            if self.pictures is not None:
                self._try(partial(self.pictures, folder))
        if self.finish is not None:
            self._end(self.finish, "done" if result is not None else _ending(folder))

    def _end(self, finish: Callable[[str], None], ending: str) -> None:
        try:
            finish(ending)
        except Exception as error:  # noqa: BLE001
            if self.failed is None:
                note(f"{self.name} did not finish cleanly: {one_line(error)}")


def _ending(folder: Path) -> str:
    """How a run without a result ended, by its ``error.json``."""
    path = folder / "error.json"
    try:
        kind = json.loads(path.read_text())["kind"]
    except (OSError, ValueError, KeyError):
        kind = None
    return wandb_run.PREEMPTED if kind == Preempted.__name__ else "failed"


def build_logger(spec: RunSpec) -> Guarded | None:
    """Return the logger that was asked for; all but MLflow's keep their files inside the run folder.

    A logger that can't be built is reported and left out.
    """
    kinds = {"csv": _csv, "tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    if spec.logger.name not in kinds:
        return None
    try:
        return kinds[spec.logger.name](spec)
    except Exception as error:  # noqa: BLE001
        note(f"logger={spec.logger.name} could not start: {one_line(error)}. Training goes on.")
        return None


def _csv(spec: RunSpec) -> Guarded:
    return Guarded(local.start_csv(spec.folder))


def _tensorboard(spec: RunSpec) -> Guarded:
    logger = local.start_tensorboard(spec.folder, spec.plain())
    return Guarded(logger, partial(local.send_pictures, logger))


def _mlflow(spec: RunSpec) -> Guarded:
    logger = mlflow_run.start(
        project=spec.logger.project,
        name=spec.run,
        key=_key(spec),
        tags={"group": _group(spec), "dataset": spec.label, "model": spec.model.name, "method": spec.method},
        outputs=Path(spec.paths.outputs),
    )
    guarded = Guarded(logger, partial(mlflow_run.send_pictures, logger), partial(mlflow_run.finish, logger))
    guarded.log_hyperparams(spec.plain())
    return guarded


def _wandb(spec: RunSpec) -> Guarded:
    run = wandb_run.start(
        wandb_run.About(
            name=spec.run,
            id=_key(spec),
            project=spec.logger.project,
            group=_group(spec),
            job_type=spec.method,
            tags=(spec.label, spec.model.name, *spec.methods),
            config=spec.plain(),
            folder=spec.folder,
            goes_on=(spec.folder / "wandb").exists(),
            mode=spec.logger.mode,
        )
    )
    return Guarded(RowLogger(run), partial(wandb_run.send_pictures, run), partial(wandb_run.finish, run))


def _key(spec: RunSpec) -> str:
    """The hash that names the run."""
    return spec.run.rsplit("-", 1)[1]


def _group(spec: RunSpec) -> str:
    """What the seeds of a row share."""
    return f"{spec.label}-{spec.model.name}-{spec.method}-{spec.cell}"
