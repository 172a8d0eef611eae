"""Evaluation on validation data: nothing is learned of the test data, and every name says so."""

import json
from dataclasses import replace

import pytest
import torch

from tests.engine.small import small_spec
from xfeedback import data
from xfeedback.continual.rows import take
from xfeedback.data.task import Split
from xfeedback.engine.run import load_task, run_experiment
from xfeedback.engine.stacked.run import run_stack
from xfeedback.errors import UserError

DRAWN = {"name": "lap_synthetic", "train": 64, "val": 40, "test": 48}


def drawn(folder, decoy="corner", split="validation", **more):
    evaluation = {"split": split, "explained": 8, "pictures": 0}
    decoys = {"name": decoy, "size": 8, "code": "hue"} if decoy == "corner" else {"name": decoy}
    return small_spec(folder, dataset=dict(DRAWN), decoy=decoys, evaluation=evaluation, **more)


def same(one: Split, other: Split) -> bool:
    return torch.equal(one.y, other.y) and torch.equal(one.index, other.index)


def test_a_task_on_validation_data_holds_no_test_data(tmp_path):
    whole, task = load_task(drawn(tmp_path, split="test")), load_task(drawn(tmp_path))
    assert whole.val is not None
    assert task.val is not None
    assert not same(task.test, whole.test)
    assert same(task.test, whole.val)
    assert same(task.val, whole.val)
    assert same(task.train, whole.train)
    assert list(task.test_loaders(16, "cpu")) == ["random", "clean", "correlated"]
    assert list(load_task(drawn(tmp_path, decoy="none")).test_loaders(16, "cpu")) == ["val"]
    assert task.stamps == (*whole.stamps, "validation")
    for view, loader in whole.val_loaders(64, "cpu").items():
        (expected,), (found,) = loader, task.test_loaders(64, "cpu")[view]
        assert torch.equal(found.x, expected.x)


def test_figures_on_validation_data_say_so_and_are_those_that_training_logged(tmp_path, monkeypatch):
    load, seen = data.load, []

    def with_test_data_that_break(*arguments, **options):
        task = load(*arguments, **options)
        seen.append(task.test)
        return replace(task, test=replace(task.test, x=task.test.x[:0], y=task.test.y[:0]))

    monkeypatch.setattr(data, "load", with_test_data_that_break)
    outcome = run_experiment(drawn(tmp_path, method={"xbl": {}}))
    record = outcome.record
    assert outcome.status == "done", record
    assert seen
    assert all(name.startswith(("val/", "cost/")) for name in record["metrics"])
    assert "val/explanation/inside" in record["metrics"]
    assert "validation" in record["stamps"]
    last = (outcome.folder / "metrics.jsonl").read_text().splitlines()[record["selected_epoch"]]
    assert json.loads(last)["val/random"] == pytest.approx(record["metrics"]["val/acc/random"], abs=1e-4)


@pytest.mark.parametrize("together", [False, True])
def test_weights_are_selected_by_the_accuracy_that_is_reported(tmp_path, monkeypatch, together):
    """Where accuracy is the mean over the classes, of which one is rare in the validation data."""
    load = data.load

    def imbalanced(*arguments, **options):
        task = load(*arguments, **options)
        rare = torch.cat([(task.val.y > 0).nonzero(), (task.val.y == 0).nonzero()[:1]])[:, 0]
        return replace(task, val=take(task.val, rare), balanced_accuracy=True, _resident={})

    monkeypatch.setattr(data, "load", imbalanced)
    specs = [drawn(tmp_path, decoy="none", seed=seed, trainer={"max_epochs": 3}) for seed in (0, 1)]
    for outcome in run_stack(specs) if together else [run_experiment(specs[0])]:
        selected = lines_of(outcome)[outcome.record["selected_epoch"]]
        assert selected["val/val"] == max(line["val/val"] for line in lines_of(outcome))
        assert selected["val/val"] == pytest.approx(outcome.record["metrics"]["val/acc/val"], abs=1e-4)
        assert outcome.record["metrics"]["val/acc/val"] != pytest.approx(plain(outcome), abs=0.01)


def plain(outcome) -> float:
    """The share of hits, from the counts that a run keeps."""
    counts = torch.tensor(json.loads((outcome.folder / "confusion.json").read_text())["counts"]["val"])
    return 100 * float(counts.trace() / counts.sum())


def test_a_run_keeps_its_name_and_the_one_on_validation_data_has_another(tmp_path):
    spec = drawn(tmp_path, split="test")
    assert "split" not in spec.plain()["evaluation"]
    assert drawn(tmp_path).plain()["evaluation"]["split"] == "validation"
    assert drawn(tmp_path).run != spec.run


def test_without_validation_data_it_is_refused(tmp_path):
    with pytest.raises(UserError, match="decoy_digits has no validation set, and options must not be chosen on test"):
        run_experiment(small_spec(tmp_path, evaluation={"split": "validation"}))


def test_rarer_validation_changes_nothing_but_the_curves(tmp_path):
    def specs(name, every, seeds=1):
        trainer = {"max_epochs": 5, "select_on": "last", "validate_every_n_epochs": every}
        parts = {"dataset": dict(DRAWN), "decoy": {"name": "none"}, "trainer": trainer}
        return [small_spec(tmp_path / name, seed=seed, **parts) for seed in range(seeds)]

    often, rare = (run_experiment(specs(name, every)[0]) for name, every in (("often", 1), ("rare", 2)))
    stacked = run_stack(specs("stacked", 2, seeds=2))[0]
    assert often.folder.name == rare.folder.name == stacked.folder.name
    for name in ("weights_sha256", "selected_epoch"):
        assert rare.record[name] == often.record[name]
    assert rare.record["metrics"]["acc/test"] == often.record["metrics"]["acc/test"]
    every_line, *others = (lines_of(outcome) for outcome in (often, rare, stacked))
    for lines in others:
        assert [sorted(key for key in line if key.startswith("val/")) for line in lines] == [[], ["val/val"]] * 2 + [[]]
        assert [line.get("val/val") for line in lines if "val/val" in line] == [
            every_line[n]["val/val"] for n in (1, 3)
        ]


def test_rarer_validation_is_refused_where_weights_hang_on_it(tmp_path):
    with pytest.raises(UserError, match=r"validate_every_n_epochs=2 must be 1 unless trainer.select_on=last"):
        drawn(tmp_path, trainer={"validate_every_n_epochs": 2})


def lines_of(outcome) -> list[dict]:
    return [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
