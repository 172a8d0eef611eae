import pytest

from tests.engine.small import small_spec
from xfeedback.engine import sweep
from xfeedback.engine.run import run_experiment
from xfeedback.errors import UserError

AUTO = {"decoy": {"name": "auto"}}


def test_a_cell_asked_for_twice_is_run_once(tmp_path):
    specs = [small_spec(tmp_path, seed=seed) for seed in (0, 1, 0)]
    plan = sweep.plan(specs)
    assert plan.specs == plan.pending == tuple(specs[:2])
    assert [plan.jobs[spec.run] for spec in plan.specs] == [0, 1]


def test_all_methods_get_the_decoys_that_one_needs(tmp_path):
    plain, xbl = (small_spec(tmp_path, method={name: {}}, **AUTO) for name in ("plain", "xbl"))
    boxed = small_spec(tmp_path, **AUTO, dataset={"annotation": {"object_mask": "center"}})
    plan = sweep.plan([plain, xbl])
    assert [spec.decoy.name for spec in plan.specs] == ["corner", "corner"]
    assert {spec.label for spec in plan.specs} == {"decoy_digits"}
    assert plan.decoys_added == {plan.specs[0].run}
    assert plan.specs[0].run == small_spec(tmp_path).run
    assert sweep.plan([plain, boxed]).decoys_added == frozenset()


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


def test_without_a_single_folder_there_is_no_table(tmp_path, capsys):
    assert sweep.compare(sweep.plan([small_spec(tmp_path)])) == 1
    assert capsys.readouterr().out == ""


def test_a_comparison_that_can_not_be_written_is_refused(tmp_path):
    spec = small_spec(tmp_path)
    run_experiment(spec)
    (tmp_path / "comparisons").touch()
    with pytest.raises(UserError, match="cannot write to"):
        sweep.compare(sweep.plan([spec]))
