"""One run at MLflow: by default in files below the outputs folder, elsewhere where MLFLOW_TRACKING_URI says."""

import fcntl
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfeedback.tracking.pictures import CONFUSION, PICTURES

if TYPE_CHECKING:
    from pytorch_lightning.loggers import MLFlowLogger

FOLDER = "mlruns"
RUN = "xfeedback.run"
"""Tag with the run's hash, by which one that goes on later is found again: MLflow gives its runs ids of its own."""
ENDINGS = {"done": "FINISHED", "failed": "FAILED", "preempted": "KILLED"}


def start(*, project: str, name: str, key: str, tags: Mapping[str, str], outputs: Path) -> "MLFlowLogger":
    """Start a run, or go on with the one that has the same key.

    Args:
        project: MLflow's experiment.
        name: shown.
        key: the hash of its options.
        tags: further ones.
        outputs: the files lie below it unless MLFLOW_TRACKING_URI is set.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _files(outputs)
    from mlflow.tracking import MlflowClient  # type: ignore[import-not-found]
    from pytorch_lightning.loggers import MLFlowLogger

    client = MlflowClient(uri)
    with _alone(outputs):
        experiment = _experiment(client, project)
        known = client.search_runs([experiment], f"tags.`{RUN}` = '{key}'", max_results=1)
        run_id = known[0].info.run_id if known else None
    own = {**tags, RUN: key}
    logger = MLFlowLogger(experiment_name=project, run_name=name, tracking_uri=uri, tags=own, run_id=run_id)
    client.update_run(str(logger.run_id), status="RUNNING")
    return logger


def _files(outputs: Path) -> str:
    """Address of a store in files: many processes of a cluster write it at once, and mlflow-skinny has no other."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow refuses it otherwise since 3.7
    return f"file:{(outputs / FOLDER).resolve()}"


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return client.create_experiment(name) if found is None else found.experiment_id


@contextmanager
def _alone(outputs: Path) -> Generator[None]:
    """Let no other process make the same experiment at the same moment; the lock goes with the process."""
    outputs.mkdir(parents=True, exist_ok=True)
    with (outputs / f".{FOLDER}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def send_pictures(logger: "MLFlowLogger", folder: Path) -> None:
    """Send a finished run's pictures and its result as artifacts."""
    for file in (*PICTURES.values(), CONFUSION, "result.json"):
        if (folder / file).exists():
            logger.experiment.log_artifact(str(logger.run_id), str(folder / file))


def finish(logger: "MLFlowLogger", ending: str) -> None:
    """Close a run as ``done``, ``failed`` or ``preempted``."""
    logger.experiment.set_terminated(str(logger.run_id), ENDINGS[ending])
