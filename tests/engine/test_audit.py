"""Audits of programs that choose weights on test data: which samples they look at, and that results say so."""

import json

import pytest
import torch

from tests.engine.test_phases import MISTAKES, NO_DECOY, indices, loading, spec
from xfeedback.continual.phases import Phases
from xfeedback.engine.callbacks import KeepBest
from xfeedback.engine.run import load_task, run_experiment
from xfeedback.errors import UserError


def audited(tmp_path, select_on, phases=MISTAKES):
    return spec(tmp_path, phases, trainer={"select_on": select_on, "max_epochs": 2})


def test_each_phase_is_selected_on_the_slice_that_comes_next(tmp_path):
    one = audited(tmp_path, "next_slice")
    task = load_task(one)
    phases = Phases(one.phases, task, "next_slice")
    test = task.test.index.tolist()
    assert task.pool is not None
    for number in range(3):
        phase = phases.phase(number, torch.arange(0), loading())
        ahead = test if number == 2 else task.pool.index[phases.slice(number + 1)].tolist()
        assert list(phase.val)[-1] == "audit"
        assert indices(phase.val["audit"]) == ahead
    usual = Phases(one.phases, task).phase(0, torch.arange(0), loading()).val
    assert "audit" not in usual


@pytest.mark.parametrize("phases", [MISTAKES, {"name": "single"}], ids=["mistakes", "single"])
def test_a_run_selected_on_the_test_set_keeps_its_best_test_accuracy_and_says_so(tmp_path, phases):
    outcome = run_experiment(audited(tmp_path, "test", phases))
    record = outcome.record
    assert record["stamps"][-1] == "audit: weights selected on the test set"
    assert record["select_on"] == "val/audit"
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert max(line["val/audit"] for line in lines[-2:]) == pytest.approx(record["metrics"]["acc/test"])


def test_the_next_slice_needs_slices(tmp_path):
    with pytest.raises(UserError, match="select_on=next_slice needs phases=mistakes"):
        run_experiment(audited(tmp_path, "next_slice", {"name": "single"}))


def test_small_gains_count_or_not():
    class Seen:
        callback_metrics: dict[str, float]
        current_epoch = 0

    for tie, epoch in (("exact", 1), ("round2", 0)):
        keeper, seen = KeepBest("val/x", tie), Seen()
        for number, value in enumerate((90.001, 90.004, 90.003)):
            seen.callback_metrics, seen.current_epoch = {"val/x": value}, number
            keeper.on_train_epoch_end(seen, torch.nn.Linear(1, 1))  # type: ignore[arg-type]
        assert keeper.epoch == epoch


def test_decoys_are_audited_on_the_headline(tmp_path):
    assert NO_DECOY == {"name": "none"}
    one = spec(tmp_path, {"name": "single"}, decoy={"name": "corner"}, trainer={"select_on": "test", "max_epochs": 1})
    outcome = run_experiment(one)
    line = json.loads((outcome.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["val/audit"] == pytest.approx(outcome.record["metrics"]["acc/random"])
