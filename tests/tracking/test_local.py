"""TensorBoard, CSV, and MLflow: with its own client where it is installed, and what is said where it is not."""

import csv
import json
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.cli.command import DIGITS, run
from tests.engine.small import small_spec
from xfeedback.engine import sweep
from xfeedback.engine.run import run_experiment
from xfeedback.errors import UserError
from xfeedback.tracking import installed, mlflow_run
from xfeedback.tracking.local import send_pictures, start_csv, start_tensorboard

HAS_MLFLOW = find_spec("mlflow") is not None


def test_a_resumed_csv_keeps_what_was_written_before(tmp_path, recwarn):
    for rows in ([{"a": 1.0}], [{"a": 2.0}, {"a": 3.0, "b": 4.0}]):
        logger = start_csv(tmp_path)
        for row in rows:
            logger.log_metrics(row, step=int(row["a"]))
        logger.save()
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        found = [(row["step"], row["a"], row["b"]) for row in csv.DictReader(file)]
    assert found == [("1", "1.0", ""), ("2", "2.0", ""), ("3", "3.0", "4.0")]
    assert list(recwarn) == []


def test_a_csv_that_was_cut_off_loses_the_row_that_was_and_no_other(tmp_path):
    path = tmp_path / "csv" / "metrics.csv"
    for text in ("", "12"):
        logger = start_csv(tmp_path)
        logger.log_metrics({"a": 1.0}, step=1)
        logger.save()
        path.write_text(path.read_text() + text)
    logger = start_csv(tmp_path)
    logger.log_metrics({"a": 2.0}, step=2)
    logger.save()
    with path.open() as file:
        assert [(row["step"], row["a"]) for row in csv.DictReader(file)] == [("1", "1.0"), ("1", "1.0"), ("2", "2.0")]


def test_tensorboard_shows_the_pictures(tmp_path):
    Image.new("RGB", (5, 3), "red").save(tmp_path / "explanations.png")
    logger = start_tensorboard(tmp_path, {})
    send_pictures(logger, tmp_path)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["images"] == ["explanations"]
    (image,) = events.Images("explanations")
    assert (image.width, image.height) == (5, 3)


def test_a_run_with_tensorboard_shows_its_options_and_both_pictures(tmp_path):
    spec = small_spec(tmp_path, logger={"name": "tensorboard"})
    assert run_experiment(spec).status == "done"
    events = EventAccumulator(str(spec.folder / "tensorboard")).Reload()
    assert set(events.Tags()["images"]) == {"explanations", "confusion"}
    (options,) = events.Tensors("options/text_summary")
    assert b"max_epochs: 2" in options.tensor_proto.string_val[0]


@pytest.fixture
def without_mlflow(monkeypatch):
    monkeypatch.setattr(installed, "find_spec", lambda _: None)


def test_without_mlflow_nothing_is_begun(tmp_path, without_mlflow):
    spec = small_spec(tmp_path, logger={"name": "mlflow"})
    for begin in (run_experiment, lambda one: sweep.plan([one])):
        with pytest.raises(UserError, match=r"mlflow is not installed. `pip install mlflow-skinny`"):
            begin(spec)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(HAS_MLFLOW, reason="mlflow is installed")
def test_without_mlflow_the_command_ends_with_one_line(tmp_path):
    ended = run(*DIGITS, "logger=mlflow", cwd=tmp_path)
    assert ended.code == 2
    assert ended.line.startswith("error: logger=mlflow: mlflow is not installed. `pip install mlflow-skinny`")
    assert not (tmp_path / "outputs" / "runs").exists()


class Client:
    """What the logger uses of MLflow's client, kept for the test to look at."""

    def __init__(self):
        self.sent, self.status = [], []

    def log_artifact(self, run_id, path):
        self.sent.append((run_id, path.rsplit("/", 1)[1]))

    def set_terminated(self, run_id, status):
        self.status.append((run_id, status))


def test_pictures_and_the_end_go_to_the_run(tmp_path):
    for name in ("explanations.png", "result.json"):
        (tmp_path / name).write_text("{}")
    logger = type("Logger", (), {"experiment": Client(), "run_id": "r"})()
    mlflow_run.send_pictures(logger, tmp_path)
    assert logger.experiment.sent == [("r", "explanations.png"), ("r", "result.json")]
    for ending in ("done", "failed", "preempted"):
        mlflow_run.finish(logger, ending)
    assert [status for _, status in logger.experiment.status] == ["FINISHED", "FAILED", "KILLED"]


@pytest.mark.skipif(not HAS_MLFLOW, reason="mlflow is not installed")
def test_with_mlflow_its_own_client_reads_options_curves_and_pictures(tmp_path, monkeypatch, capsys):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    spec = small_spec(tmp_path, logger={"name": "mlflow"})
    assert run_experiment(spec).status == "done"
    assert run_experiment(small_spec(tmp_path, logger={"name": "mlflow"}, force=True)).status == "done"
    assert capsys.readouterr().err == ""
    client = MlflowClient(f"file:{tmp_path / 'mlruns'}")
    (found,) = client.search_runs([client.get_experiment_by_name("xfeedback").experiment_id])
    assert (found.info.run_name, found.info.status) == (spec.run, "FINISHED")
    assert found.data.tags["xfeedback.run"] == spec.run.rsplit("-", 1)[1]
    assert found.data.params["trainer/max_epochs"] == "2"
    metrics = json.loads((spec.folder / "result.json").read_text())["metrics"]
    assert found.data.metrics["acc/random"] == metrics["acc/random"]
    losses = [metric.value for metric in client.get_metric_history(found.info.run_id, "train/loss")]
    lines = [json.loads(line)["train/loss"] for line in (spec.folder / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(losses, lines * 2)
    files = {artifact.path for artifact in client.list_artifacts(found.info.run_id)}
    assert files == {"explanations.png", "confusion.png", "confusion.json", "result.json"}
