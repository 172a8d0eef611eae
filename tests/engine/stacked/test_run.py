"""Seeds that are trained as one leave what single runs leave."""

import json
import os
import signal

import pytest
import torch

from tests.engine.small import small_spec
from xfeedback.engine import queue
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.run import run_experiment
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.stacked import launch
from xfeedback.engine.stacked import run as stacked
from xfeedback.engine.stacked.layers import CannotStackError
from xfeedback.engine.stacked.refusals import refuse_options
from xfeedback.engine.stacked.run import run_stack
from xfeedback.engine.stacked.stack import Stack
from xfeedback.errors import Preempted

SEEDS = (3, 4)


def specs(outputs, seeds=SEEDS, **parts) -> list[RunSpec]:
    own = {"method": {"xbl": {}}, "optimiser": {"schedule": "cosine"}, "evaluation": {"pictures": 0, "explained": 5}}
    parts = own | {"trainer": {"select_on": "test"}} | parts
    return [small_spec(outputs, seed=seed, **parts) for seed in seeds]


def history(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: float(value) for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same runs one by one and as one."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    return [run_experiment(spec) for spec in specs(alone)], run_stack(specs(together))


def test_the_folders_have_the_same_names_and_hold_the_same_files(both):
    for one, other in zip(*both, strict=True):
        assert (one.status, other.status) == ("done", "done")
        assert one.folder.name == other.folder.name
        names = [{str(path.relative_to(o.folder)) for path in o.folder.rglob("*")} for o in (one, other)]
        assert names[0] - {"checkpoints"} == names[1] - {"checkpoints"}


def test_results_histories_and_weights_are_those_of_single_runs(both):
    for one, other in zip(*both, strict=True):
        own = {name: value for name, value in one.record["metrics"].items() if not name.startswith("cost/")}
        assert other.record["metrics"] == pytest.approx(
            {**own, "cost/step_ratio": other.record["metrics"]["cost/step_ratio"]}, rel=1e-3, abs=1e-3
        )
        same = ("run", "cell", "seed", "stamps", "select_on", "selected_epoch", "epochs", "steps", "resumed")
        assert {key: one.record[key] for key in same} == {key: other.record[key] for key in same}
        for line, expected in zip(history(other.folder), history(one.folder), strict=True):
            assert line == pytest.approx(expected, rel=1e-4, abs=1e-6)
        found, wanted = (torch.load(o.folder / "weights.pt", weights_only=True) for o in (other, one))
        for name, weight in wanted.items():
            torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5)


def test_what_was_trained_together_is_recorded(both):
    for outcome in both[1]:
        provenance = json.loads((outcome.folder / "provenance.json").read_text())
        assert provenance["stacked"] == {"seeds": list(SEEDS)}
        assert any("one program with the seeds 3, 4" in note for note in outcome.record["notes"])
        assert "cost/step_ms" not in outcome.record["metrics"]
        assert outcome.record["stacked_step_ms"] > 0


def test_finished_seeds_are_skipped(both, tmp_path):
    outputs = both[1][0].folder.parents[1]
    with pytest.raises(CannotStackError, match="fewer than two"):
        run_stack(specs(outputs))


def test_a_seed_that_fails_and_one_that_is_busy_leave_the_others_alone(both, tmp_path, monkeypatch):
    def poisoned(spec, task):
        module = original(spec, task)
        if spec.seed == 5:
            module.network.get_submodule("head").get_parameter("bias").data.fill_(float("nan"))
        return module

    original = stacked.build_module
    monkeypatch.setattr(stacked, "build_module", poisoned)
    wanted = specs(tmp_path, (3, 5, 6))
    with RunFolder(wanted[2]).opened():
        good, bad, busy = run_stack(wanted)
    assert (good.status, bad.status, busy.status) == ("done", "failed", "busy")
    error = json.loads((bad.folder / "error.json").read_text())
    assert error["error"].startswith("the loss is not finite at epoch 0, step 0: term 'ce'.")
    assert not (bad.folder / "metrics.jsonl").exists()
    assert good.record["metrics"]["acc/random"] == both[0][0].record["metrics"]["acc/random"]


def test_after_a_signal_inside_an_epoch_the_same_seeds_go_on(both, tmp_path, monkeypatch):
    calls = []

    def losses(self, batches, position):
        calls.append(position)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, batches, position)

    original = Stack.losses
    monkeypatch.setattr(Stack, "losses", losses)
    wanted = specs(tmp_path)
    with pytest.raises(Preempted):
        run_stack(wanted)
    errors = [json.loads((spec.folder / "error.json").read_text())["kind"] for spec in wanted]
    assert errors == ["Preempted", "Preempted"]
    outcomes = run_stack(wanted)
    assert [position[-2:] for position in calls] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for outcome, expected in zip(outcomes, both[1], strict=True):
        assert outcome.record["weights_sha256"] == expected.record["weights_sha256"]
        assert outcome.record["resumed"] is True
        assert history(outcome.folder) == history(expected.folder)
        assert not list((outcome.folder / "checkpoints").glob("*"))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"trainer": {"gradient_clip": 1.0}}, "trainer.gradient_clip"),
        ({"trainer": {"accumulate": 2}}, "trainer.accumulate"),
        ({"logger": {"name": "csv"}}, "logger=csv"),
        ({"phases": {"name": "classes", "n": 2}}, "phases=classes"),
        ({"method": {"lap": {}}, "decoy": {"name": "none"}}, "method=lap"),
    ],
)
def test_options_that_cannot_be_stacked_say_so(tmp_path, parts, reason):
    with pytest.raises(CannotStackError, match=reason):
        refuse_options(specs(tmp_path, (0,), **parts)[0])


def test_what_cannot_be_stacked_is_run_otherwise_with_a_note(tmp_path, capsys):
    wanted = specs(tmp_path, trainer={"gradient_clip": 1.0})
    cells, run = [queue.put(queue.Queued(spec=spec), tmp_path) for spec in wanted], []
    assert launch.as_one(cells, run.extend) is None
    assert run == cells
    line = "execution=vmap fell back to processes: trainer.gradient_clip needs the norm of each seed's gradient"
    assert [queue.take(cell).spec.notices[-1] for cell in cells] == [line, line]
    assert capsys.readouterr().out.count(line) == 1
    assert not any(spec.folder.exists() for spec in wanted)


def test_a_seed_that_another_process_finished_meanwhile_is_not_trained_again(tmp_path, monkeypatch):
    wanted, load, loaded = specs(tmp_path, seeds=(3, 4, 5)), stacked.load_task, []

    def load_slowly(spec):
        if not loaded:
            loaded.append(run_experiment(wanted[2]))
        return load(spec)

    monkeypatch.setattr(stacked, "load_task", load_slowly)
    assert [outcome.status for outcome in run_stack(wanted)] == ["done", "done", "skipped"]
    assert RunFolder(wanted[2]).result() == loaded[0].record
