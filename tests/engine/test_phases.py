import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn, optim

from tests.engine.small import small_spec
from xfeedback.continual.phases import Loading, Phases
from xfeedback.continual.rows import take
from xfeedback.engine import phases as engine
from xfeedback.engine.record import Record, restore_buffers
from xfeedback.engine.run import build_module, load_task, run_experiment
from xfeedback.errors import UserError
from xfeedback.feedback import Feedback

NO_DECOY = {"name": "none"}
CLASSES = {"name": "classes", "n": 2, "holdout": 0.2, "optimiser": "full"}
MISTAKES = {"name": "mistakes", "n": 2, "pool": 0.3, "keep_old_mistakes": False}
EWC = {"name": "ewc", "n": 10, "anchors": "all"}


def spec(outputs, phases, **parts):
    parts = {"decoy": NO_DECOY, "evaluation": {"explained": 0, "pictures": 0}, **parts}
    return small_spec(outputs, phases=phases, **parts)


def told(outcome):
    record = outcome.record
    metrics = {name: value for name, value in record["metrics"].items() if not name.startswith("cost/")}
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    history = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return record["weights_sha256"], metrics, record["matrices"], record["phases"], history


def loading(**options):
    return Loading(**{"batch_size": 32, "eval_batch_size": 16, "seed": 0, "device": torch.device("cpu"), **options})


def indices(batches):
    return [int(i) for batch in batches for i in batch.index]


def test_ordinary_training_keeps_its_name(tmp_path):
    plain = small_spec(tmp_path)
    assert not {"phases", "continual"} & plain.plain().keys()
    assert small_spec(tmp_path, phases={"name": "single"}, continual={"name": "none"}).run == plain.run
    others = [{"phases": CLASSES}, {"continual": EWC}, {"phases": {**CLASSES, "n": 5}}, {"phases": {"holdout": 0.1}}]
    names = {small_spec(tmp_path, **parts).run for parts in others}
    assert len(names) == 4
    assert plain.run not in names


def test_what_is_written_reads_back(tmp_path):
    one = spec(tmp_path, CLASSES, continual=EWC)
    again = type(one).from_plain(one.plain())
    assert (again.run, again.phases, again.continual) == (one.run, one.phases, one.continual)
    assert one.title == "plain with ewc"


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"phases": {"name": "clases"}}, "Did you mean 'classes'"),
        ({"continual": {"name": "ewcc"}}, "continual.name=ewcc must be one of ewc"),
        ({"phases": CLASSES, "trainer": {"strategy": "ddp"}}, "phases=classes trains in one process"),
        (
            {"phases": {**CLASSES, "optimiser": "tf_legacy_step"}, "optimiser": {"name": "sgd"}},
            "about Adam's step count",
        ),
    ],
)
def test_what_can_not_work_is_refused(parts, says, tmp_path):
    with pytest.raises(UserError, match=says):
        small_spec(tmp_path, **parts)


def test_ewc_with_one_phase_is_said_to_do_nothing(tmp_path):
    assert "acts from the second phase on" in small_spec(tmp_path, continual=EWC).notices[-1]


@pytest.mark.parametrize("protocol", [CLASSES, MISTAKES], ids=["classes", "mistakes"])
def test_a_run_that_ends_between_two_phases_resumes_to_the_same_bits(protocol, tmp_path, monkeypatch):
    parts = {"continual": EWC, "method": {"xbl": {"scale": "balanced"}}, "decoy": {"name": "corner"}}
    straight = run_experiment(spec(tmp_path / "one", protocol, **parts))
    assert straight.status == "done", straight.record
    whole = engine.Training.phase

    def interrupted(self, checkpoint):
        if self.record.number == 1:
            raise KeyboardInterrupt
        whole(self, checkpoint)

    two = spec(tmp_path / "two", protocol, **parts)
    with monkeypatch.context() as patched:
        patched.setattr(engine.Training, "phase", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(two)
    torch.manual_seed(99)
    again = run_experiment(two)
    assert again.record["resumed"]
    assert told(again) == told(straight)
    phases = straight.record["phases"]
    assert [entry["phase"] for entry in phases] == [str(k) for k in range(len(phases))]


def test_mistakes_of_the_next_slice_are_added_and_dropped_again(tmp_path):
    outcome = run_experiment(spec(tmp_path, MISTAKES))
    matrices, log = outcome.record["matrices"], outcome.record["phases"]
    assert [entry["samples"] - entry["added"] for entry in log] == [42] * 3
    assert log[0]["added"] == 0
    for phase in (1, 2):
        assert log[phase]["added"] == matrices["mistakes"][phase - 1][phase - 1] > 0
    assert [sum(entry["slice_labels"]) for entry in log] == [0, 9, 9]
    assert matrices["learned"] == [1, 2]
    metrics = outcome.record["metrics"]
    assert {"acc/phase_0", "acc/phase_2", "continual/forgetting", "continual/forward_transfer"} <= metrics.keys()
    assert metrics["acc/phase_2"] == metrics["acc/test"]
    assert metrics["continual/average_accuracy"] == pytest.approx(sum(matrices["accuracy"][-1]) / 2)
    control = run_experiment(spec(tmp_path, {**MISTAKES, "added": "none"}))
    assert [entry["added"] for entry in control.record["phases"]] == [0, 0, 0]


def test_phases_of_mistakes_hold_the_training_set_and_what_is_added(tmp_path):
    task = load_task(spec(tmp_path, MISTAKES))
    phases = Phases(spec(tmp_path, MISTAKES).phases, task)
    rows = torch.tensor([2, 11])
    phase = phases.phase(1, rows, loading())
    base = task.train.index.tolist()
    assert indices(phase.ordered)[:-2] == base
    assert indices(phase.added) == indices(phase.ordered)[-2:]
    assert not set(indices(phase.added)) & set(base)
    assert torch.equal(torch.cat([b.y for b in phase.added]), task.pool.y[rows])
    torch.testing.assert_close(
        torch.cat([b.x for b in phase.added]), torch.cat([b.x for b in task.pool_loader(64, "cpu")])[rows]
    )
    assert sorted(indices(phase.train)) == sorted(indices(phase.ordered))
    assert indices(phase.train) == indices(phase.train)
    later = phases.phase(2, torch.tensor([13]), loading())
    assert len(indices(later.ordered)) == len(base) + 1
    assert later.seed != phase.seed


def test_phases_of_classes(tmp_path):
    one = spec(tmp_path, CLASSES)
    task = load_task(one)
    phases = Phases(one.phases, task)
    seen = [
        sorted({int(y) for batch in phases.phase(k, torch.arange(0), loading()).train for y in batch.y}) for k in (0, 1)
    ]
    assert seen == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert {int(y) for b in phases.phase(1, torch.arange(0), loading()).val["val"] for y in b.y} == set(seen[1])
    assert [set(task.test.y[test.rows].tolist()) for test in phases.tests] == [set(s) for s in seen]
    assert phases.classes(0) is None
    own = Phases(spec(tmp_path, {**CLASSES, "outputs": "per_phase"}).phases, task)
    assert own.classes(1) == (5, 6, 7, 8, 9)
    replayed = Phases(spec(tmp_path, {**CLASSES, "replay": "all", "outputs": "per_phase"}).phases, task)
    assert replayed.classes(1) == tuple(range(10))
    assert len(indices(replayed.phase(1, torch.arange(0), loading()).ordered)) == len(task.train)


@pytest.mark.parametrize(("part", "name"), [("train", "training"), ("val", "validation"), ("test", "test")])
def test_a_phase_without_samples_is_refused_before_training(part, name, tmp_path):
    one = spec(tmp_path, {**CLASSES, "n": 10})
    task = load_task(one)
    split = getattr(task, part)
    without = replace(task, **{part: take(split, (split.y != 3).nonzero().flatten())}, _resident={})
    with pytest.raises(UserError, match=f"the {name} set has no sample of class 3, all that phase 3 has"):
        Phases(one.phases, without)


def test_phases_of_portions_and_replay(tmp_path):
    parts = {"name": "portions", "n": 3, "base": 0.4}
    task = load_task(spec(tmp_path, parts))
    seen = [
        indices(Phases(spec(tmp_path, parts).phases, task).phase(k, torch.arange(0), loading()).train) for k in range(4)
    ]
    assert [len(s) for s in seen] == [24, 12, 12, 12]
    assert sorted(index for portion in seen for index in portion) == sorted(task.train.index.tolist())
    replayed = Phases(spec(tmp_path, {**parts, "replay": "all"}).phases, task)
    assert [len(indices(replayed.phase(k, torch.arange(0), loading()).train)) for k in range(4)] == [24, 36, 48, 60]


class Spy(Feedback):
    """Notes how it is called, and keeps buffers of another shape in each phase."""

    name = "spy"

    def __init__(self):
        super().__init__()
        self.calls = []
        self.register_buffer("kept", None)

    def note(self, hook, network, phase):
        weights = torch.cat([p.detach().flatten() for p in network.parameters()]).clone()
        modes = {module.training for module in network.modules()}
        self.calls.append((hook, phase.number, phase.count, modes, weights))

    def phase_start(self, network, phase):
        self.note("start", network, phase)
        self.kept = torch.zeros(phase.number + 2)

    def epochs_end(self, network, phase):
        self.note("epochs", network, phase)

    def phase_end(self, network, phase):
        self.note("end", network, phase)


def test_hooks_see_the_network_in_evaluation_mode_and_the_weights_they_should(tmp_path):
    from xfeedback.engine.callbacks import StepTimer
    from xfeedback.engine.folder import RunFolder

    one = spec(tmp_path, CLASSES, trainer={"max_epochs": 4, "batch_size": 16})
    task, spy = load_task(one), Spy()
    module = build_module(one, task)
    module.feedbacks.append(spy)
    folder = RunFolder(one)
    folder.path.mkdir(parents=True)
    trained = engine.fit(one, folder, task, module, metric="val/val", timer=StepTimer(), logger=None)
    assert [call[:3] for call in spy.calls] == [(hook, k, 2) for k in (0, 1) for hook in ("start", "epochs", "end")]
    assert all(call[3] == {False} for call in spy.calls)
    weights = [call[4] for call in spy.calls]
    assert torch.equal(weights[2], weights[3])  # a phase begins with what was selected in the one before
    log = trained.continual["phases"]
    for phase in (0, 1):
        assert torch.equal(weights[3 * phase + 1], weights[3 * phase + 2]) is (log[phase]["selected_epoch"] == 3)
    assert (trained.epochs, trained.steps) == (8, 8 * 2)
    newest = max(folder.checkpoints.iterdir())
    state = torch.load(newest, weights_only=True)
    assert newest.name.startswith("epoch-000007")
    assert (state["continual"]["number"], state["continual"]["begun"]) == (1, True)
    assert state["state_dict"]["feedbacks.1.kept"].shape == (3,)


def test_buffers_come_back_in_any_shape():
    module = nn.Module()
    module.feedbacks = nn.ModuleList([Spy()])
    restore_buffers(
        module, {"feedbacks.0.kept": torch.ones(7), "feedbacks.0.new": torch.ones(2), "network.w": torch.ones(1)}
    )
    assert {name: len(value) for name, value in module.named_buffers()} == {"feedbacks.0.kept": 7, "feedbacks.0.new": 2}


@pytest.mark.parametrize(
    ("carried", "ratios"),
    [("tf_legacy_step", {1: 3.162, 12: 6.569, 166: 2.556, 1000: 1.258}), ("fresh", {1: 1, 12: 1, 166: 1, 1000: 1})],
)
def test_steps_of_adam_after_a_phase_for_a_constant_gradient(carried, ratios):
    """r_k = (1 - 0.9^k) / sqrt(1 - 0.999^k) times the rate when moments start anew and the step count does not."""

    def adam():
        weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        weight.grad = torch.ones_like(weight)
        return weight, optim.Adam([weight], lr=0.5, eps=0)

    _, old = adam()
    old.step()
    old.state_dict()["state"][0]["step"].fill_(1e5)
    record = Record()
    keeper = engine.KeepRecord(record, carried)
    keeper.keep_optimiser(SimpleNamespace(optimizers=[old]))
    weight, new = adam()
    new.param_groups[0]["lr"] = 1.0
    keeper.on_fit_start(SimpleNamespace(optimizers=[new]), None)
    for k in range(1, 1001):
        before = weight.item()
        new.step()
        if k in ratios:
            assert before - weight.item() == pytest.approx(ratios[k], abs=1e-3)
