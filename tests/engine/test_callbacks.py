import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.methods import tiny
from xfeedback.engine.callbacks import History, KeepBest, Progress, StepTimer
from xfeedback.feedback import FeedbackModule
from xfeedback.types import Batch


def trainer(epoch=0, **metrics):
    values = {name.replace("_", "/"): torch.tensor(value) for name, value in metrics.items()}
    return SimpleNamespace(
        current_epoch=epoch,
        max_epochs=3,
        global_step=4 * (epoch + 1),
        is_global_zero=True,
        check_val_every_n_epoch=1,
        callback_metrics=values,
        estimated_stepping_batches=12,
    )


MODULE = SimpleNamespace(phase_name="0", device=torch.device("cpu"))


def test_the_best_epoch_is_kept_and_the_earliest_of_equals():
    network, keeper = nn.Linear(1, 1), KeepBest("val/random")
    for epoch, value in enumerate([1.0, 5.0, 5.0, 4.0]):
        nn.init.constant_(network.weight, epoch)
        keeper.on_train_epoch_end(trainer(epoch, val_random=value), network)
    assert (keeper.best, keeper.epoch) == (5.0, 1)
    assert float(keeper.weights["weight"]) == 1.0
    other = KeepBest("val/random")
    other.load_state_dict(keeper.state_dict())
    other.on_train_epoch_end(trainer(9, val_random=5.0), network)
    assert (other.epoch, float(other.weights["weight"])) == (1, 1.0)
    other.on_train_epoch_end(trainer(10, val_random=5.5), network)
    assert (other.epoch, float(other.weights["weight"])) == (10, 3.0)


def validated(hits):
    """Accuracy in float32, as it is logged, of 1,000 samples with so many hits in each batch."""
    module = FeedbackModule(nn.Identity())
    for number, size in enumerate((256, 256, 256, 232)):
        right = (torch.arange(size) < hits[number]).long()
        batch = Batch(x=nn.functional.one_hot(right, 2).float(), y=torch.ones_like(right), index=torch.arange(size))
        module.validation_step(batch, number)
    return torch.tensor(module._val.read()["val"]).float().item()


def test_as_many_hits_are_no_gain_in_whichever_batches_they_fall():
    """Their accuracies differ by the rounding of float32; a single hit more is a gain."""
    splits = [(203 + k, 203 - k, 203 + j, 193 - j) for k in range(0, 20, 3) for j in range(-8, 20, 3)]
    values = sorted(validated(hits) for hits in splits)
    assert values[0] < values[-1]
    keeper, network = KeepBest("val/val"), nn.Linear(1, 1)
    for epoch, value in enumerate((values[0], values[-1])):
        keeper.see(value, epoch, network)
    assert keeper.epoch == 0
    keeper.see(validated((203, 203, 203, 194)), 2, network)
    assert keeper.epoch == 2


def test_history_drops_what_will_be_repeated_and_half_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"epoch": epoch, "train/loss": 1.0}) for epoch in range(3)]
    path.write_text("\n".join(lines) + '\n{"epoch": 1, "tra')
    history = History(path)
    history.on_train_start(trainer(2), MODULE)
    assert path.read_text().splitlines() == lines[:2]
    history.on_train_epoch_start(trainer(2), MODULE)
    history.on_train_epoch_end(trainer(2, train_loss=0.5, other=3.0), MODULE)
    new = json.loads(path.read_text().splitlines()[-1])
    assert new.pop("seconds") >= 0
    assert new == {"epoch": 2, "step": 12, "phase": "0", "train/loss": 0.5}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_only_one_of_several_processes_writes_history(tmp_path):
    helper = trainer(0, train_loss=0.5)
    helper.is_global_zero = False
    history = History(tmp_path / "metrics.jsonl")
    history.on_train_start(helper, MODULE)
    history.on_train_epoch_start(helper, MODULE)
    history.on_train_epoch_end(helper, MODULE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("count", "expected"), [(0, None), (5, 2.0), (41, 30.0)])
def test_the_step_time_is_the_median_after_warm_up(count, expected):
    timer = StepTimer()
    timer.milliseconds = [float(n) for n in range(count)]
    assert timer.median_ms() == expected


def test_steps_are_timed_in_milliseconds(monkeypatch):
    clock = iter([1.0, 1.25, 2.0, 2.5])
    monkeypatch.setattr("xfeedback.engine.callbacks.time.perf_counter", lambda: next(clock))
    timer = StepTimer()
    for _ in range(2):
        timer.on_train_batch_start(trainer(), MODULE)
        timer.on_train_batch_end(trainer(), MODULE)
    assert timer.milliseconds == [250.0, 500.0]


def test_the_bar_counts_steps_of_the_optimiser_from_where_training_stands(capsys):
    bar, state = Progress("xbl on digits"), trainer(0, train_loss=1.0, train_acc=50.0, val_random=40.0)
    bar.on_train_start(state, MODULE)
    for step in (4, 4, 5, 5, 6):  # two batches a step
        state.global_step = step
        bar.on_train_batch_end(state, MODULE)
    bar.on_train_epoch_end(state, MODULE)
    bar.on_train_end(state, MODULE)
    shown = capsys.readouterr().err.split("\r")
    assert "4/12" in shown[1]
    assert "6/12" in shown[-1]
    assert "epoch 1/3, train/loss 1.000" in shown[-1]


def test_a_figure_that_an_epoch_does_not_have_is_not_that_of_an_epoch_before(tmp_path):
    """One step an epoch: a clean one, a challenged one, and so on."""
    path = tmp_path / "metrics.jsonl"
    host = tiny.module(tiny.feedback("challenger", loss="alternate"))
    tiny.trained(host, tiny.batches(batch_size=48), epochs=4, callbacks=[History(path)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert ["train/challenger/ce" in line for line in lines] == [False, True, False, True]
    assert all(line["train/loss"] > 0 for line in lines)
