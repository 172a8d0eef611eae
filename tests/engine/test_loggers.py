import csv
import json

import pytest
from pytorch_lightning.loggers import CSVLogger, Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.engine.small import small_spec
from xfeedback.engine import loggers
from xfeedback.engine.loggers import Guarded, build_logger
from xfeedback.engine.run import run_experiment


class Broken(Logger):
    """Fails in every way there is."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    @property
    def name(self):
        return "broken"

    @property
    def version(self):
        return 0

    def _fail(self, *_, **__):
        self.calls += 1
        raise ConnectionError("the server\nwent away.")

    log_metrics = log_hyperparams = save = finalize = _fail


def test_the_csv_logger_writes_epochs_and_results(tmp_path):
    spec = small_spec(tmp_path, logger={"name": "csv"})
    result = run_experiment(spec).record
    with (spec.folder / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    history = [json.loads(line) for line in (spec.folder / "metrics.jsonl").read_text().splitlines()]
    assert [float(row["train/loss"]) for row in rows[:2]] == [line["train/loss"] for line in history]
    assert float(rows[-1]["acc/random"]) == result["metrics"]["acc/random"]
    assert int(rows[-1]["step"]) == result["steps"] == 4


def test_the_tensorboard_logger_writes_epochs_and_results(tmp_path):
    spec = small_spec(tmp_path, logger={"name": "tensorboard"})
    result = run_experiment(spec).record
    events = EventAccumulator(str(spec.folder / "tensorboard")).Reload()
    assert len(events.Scalars("train/loss")) == 2
    (last,) = events.Scalars("acc/random")
    assert (last.step, last.value) == (4, pytest.approx(result["metrics"]["acc/random"]))


def test_a_logger_that_always_fails_ends_no_training(tmp_path, monkeypatch, capsys):
    broken = Broken()
    monkeypatch.setattr(loggers, "_csv", lambda _: Guarded(broken))
    outcome = run_experiment(small_spec(tmp_path, logger={"name": "csv"}))
    plain = run_experiment(small_spec(tmp_path / "plain"))
    assert outcome.status == "done"
    assert outcome.record["weights_sha256"] == plain.record["weights_sha256"]
    assert broken.calls == 1
    note = "note: Broken stopped: the server went away. Training goes on; metrics.jsonl is kept."
    assert capsys.readouterr().err.splitlines() == [note]


def test_a_logger_that_can_not_start_is_left_out(tmp_path, monkeypatch, capsys):
    def broken(_):
        raise RuntimeError("no such host")

    monkeypatch.setattr(loggers, "_tensorboard", broken)
    assert build_logger(small_spec(tmp_path, logger={"name": "tensorboard"})) is None
    assert capsys.readouterr().err == "note: logger=tensorboard could not start: no such host. Training goes on.\n"
    assert build_logger(small_spec(tmp_path)) is None


def test_an_unfinished_run_is_closed_without_a_result(tmp_path):
    guarded = Guarded(CSVLogger(tmp_path, name="", version="csv"))
    guarded.log_metrics({"train/loss": 1.0}, 0)
    guarded.save()
    guarded.close(None, tmp_path)
    assert (tmp_path / "csv" / "metrics.csv").read_text().splitlines() == ["step,train/loss", "0,1.0"]
