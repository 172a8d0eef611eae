import json
from contextlib import ExitStack

import pytest

from tests.engine.small import small_spec
from xfeedback.engine import queue, sweep
from xfeedback.engine.estimate import estimate
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.run import run_experiment
from xfeedback.errors import UserError

AUTO = {"decoy": {"name": "auto"}}


def test_a_cell_asked_for_twice_is_run_once(tmp_path):
    specs = [small_spec(tmp_path, seed=seed) for seed in (0, 1, 0)]
    plan = sweep.plan(specs)
    assert plan.specs == plan.pending == tuple(specs[:2])


def test_all_methods_get_the_decoys_that_one_needs(tmp_path):
    plain, xbl = (small_spec(tmp_path, method={name: {}}, **AUTO) for name in ("plain", "xbl"))
    boxed = small_spec(tmp_path, **AUTO, dataset={"annotation": {"object_mask": "center"}})
    plan = sweep.plan([plain, xbl])
    assert [spec.decoy.name for spec in plan.specs] == ["corner", "corner"]
    assert {spec.label for spec in plan.specs} == {"decoy_digits"}
    assert plan.specs[0].run == small_spec(tmp_path).run
    assert [spec.decoy.name for spec in sweep.plan([plain, boxed]).specs] == ["none", "none"]


def test_a_cell_that_becomes_another_one_through_its_decoys_is_run_once(tmp_path):
    specs = [small_spec(tmp_path, **AUTO), small_spec(tmp_path, method={"xbl": {}}, **AUTO), small_spec(tmp_path)]
    assert len(sweep.plan(specs).specs) == 2


def test_the_same_sweep_is_written_to_the_same_folder(tmp_path):
    specs = [small_spec(tmp_path, seed=seed) for seed in (0, 1)]
    assert sweep.plan(specs).out == sweep.plan(specs).out
    assert sweep.plan(specs).out != sweep.plan(specs[:1]).out
    assert sweep.plan(specs).out.parent == tmp_path / "comparisons"


def test_finished_cells_are_not_pending_and_missing_ones_are_counted(tmp_path, capsys):
    specs = [small_spec(tmp_path, seed=seed) for seed in (0, 1)]
    assert run_experiment(specs[0]).status == "done"
    plan = sweep.plan(specs)
    assert plan.pending == (specs[1],)
    assert sweep.plan([small_spec(tmp_path, force=True)]).pending
    assert sweep.compare(plan) == 1
    assert "decoy_digits" in capsys.readouterr().out
    assert (plan.out / "comparison.csv").exists()


def run_queued(cells):
    for cell in cells:
        run_experiment(queue.take(cell).spec)


def test_missing_cells_are_run_and_their_progress_said(tmp_path, capsys):
    specs = [small_spec(tmp_path, seed=seed) for seed in (0, 1)]
    assert sweep.run(sweep.plan(specs), run_queued, one_by_one=True) is None
    assert all((spec.folder / "result.json").exists() for spec in specs)
    assert "1 done, 1 to go, about" in capsys.readouterr().out


def test_the_launchers_own_failure_ends_the_sweep(tmp_path):
    error = RuntimeError("a worker was killed")
    assert sweep.run(sweep.plan([small_spec(tmp_path)]), lambda _: error) is error


def test_a_cell_that_another_process_left_unfinished_is_run_after_it(tmp_path, monkeypatch, capsys):
    """The other one holds the lock while the launcher runs, and dies while it is waited for."""
    spec = small_spec(tmp_path)
    launched = []
    with ExitStack() as other:
        monkeypatch.setattr(sweep.time, "sleep", lambda _: other.close())

        def launch(cells):
            launched.append(cells)
            if len(launched) == 1:
                other.enter_context(RunFolder(spec).opened())
            else:
                run_queued(cells)

        assert sweep.run(sweep.plan([spec]), launch) is None
    assert len(launched) == 2
    assert (spec.folder / "result.json").exists()
    assert "waiting for another process that is at work on plain on decoy_digits, seed 0" in capsys.readouterr().out


def test_a_cell_that_another_process_finishes_is_not_run_again(tmp_path, monkeypatch):
    spec = small_spec(tmp_path)
    launched = []
    with ExitStack() as other:

        def finish(_seconds):
            (spec.folder / "result.json").write_text("{}")
            other.close()

        monkeypatch.setattr(sweep.time, "sleep", finish)

        def launch(cells):
            launched.append(cells)
            other.enter_context(RunFolder(spec).opened())

        sweep.run(sweep.plan([spec]), launch)
    assert len(launched) == 1


def test_queued_cells_come_back_as_they_were(tmp_path):
    spec = small_spec(tmp_path, method={"xbl": {"c_exp": 3.0}}, **AUTO, seed=4, force=True)
    assert spec.notices
    (path,) = sweep.enqueue(sweep.plan([spec]), fail_fast=True)
    found = queue.take(path)
    assert (found.spec.run, found.spec.force, found.spec.notices) == (spec.run, True, spec.notices)
    assert found.spec.plain() == spec.plain()
    assert not found.stopped
    assert found.stop is not None
    found.stop.touch()
    assert queue.take(path).stopped
    sweep.enqueue(sweep.plan([spec]), fail_fast=True)
    assert not queue.take(path).stopped  # the same sweep, asked for again, begins anew


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "cannot read the queued cell"),
        (lambda path: path.write_text("run: 1"), "is no queued cell"),
        (lambda path: path.write_text(path.read_text().replace("seed: 0", "seed: 1")), "queued by another version"),
    ],
)
def test_a_queued_cell_that_is_not_what_it_was_is_refused(tmp_path, damage, message):
    (path,) = sweep.enqueue(sweep.plan([small_spec(tmp_path)]))
    damage(path)
    with pytest.raises(UserError, match=message):
        queue.take(path)


def test_time_is_judged_by_the_same_cell_then_by_an_epoch_of_its_like(tmp_path):
    first, second = (small_spec(tmp_path, seed=seed) for seed in (0, 1))
    longer = small_spec(tmp_path, trainer={"max_epochs": 6})
    other = small_spec(tmp_path, method={"rrr": {}})
    assert str(estimate([second])) == "nothing finished yet to judge their time by"
    first.folder.mkdir(parents=True)
    known = {"cell": first.cell, "dataset": first.label, "model": "gapnet", "method": "plain", "epochs": 2}
    (first.folder / "result.json").write_text(json.dumps({**known, "seconds": 50.0, "resumed": False}))
    assert estimate([second]).seconds == 50
    assert estimate([longer]).seconds == 150
    assert str(estimate([second, longer, other])) == "about 3 min one after the other, 1 more not known"


def test_without_a_single_folder_there_is_no_table(tmp_path, capsys):
    assert sweep.compare(sweep.plan([small_spec(tmp_path)])) == 1
    assert capsys.readouterr().out == ""


def test_a_comparison_that_can_not_be_written_is_refused(tmp_path):
    spec = small_spec(tmp_path)
    run_experiment(spec)
    (tmp_path / "comparisons").touch()
    with pytest.raises(UserError, match="cannot write to"):
        sweep.compare(sweep.plan([spec]))
