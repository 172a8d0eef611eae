"""Searches for options: what is asked, what is told, and that nothing is lost when one is interrupted."""

import csv
import math
from itertools import count

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tests.engine.small import small_spec
from xfeedback import files
from xfeedback.engine import queue, tuned
from xfeedback.engine.folder import BusyError, RunFolder
from xfeedback.engine.study import TuningStudy
from xfeedback.engine.tune import TuneConfig, direction, objective
from xfeedback.errors import Preempted, TrainingError, UserError

SPACE = {
    "optimiser.lr": FloatDistribution(1e-4, 1.0, log=True),
    "model.width": IntDistribution(2, 10, step=4),
    "method.xbl.distance": CategoricalDistribution(["near", "far"]),
}


def study(folder, *, defaults=(), seeds=(0, 1), space=SPACE, **options):
    return TuningStudy(small_spec(folder), space, TuneConfig(**{"n_trials": 6, **options}), seeds, dict(defaults))


def composed(folder):
    def compose(values):
        optimiser = {"name": "adam", "lr": values["optimiser.lr"]}
        return small_spec(folder, optimiser=optimiser, model={"name": "gapnet", "width": values["model.width"]})

    return compose


def score(spec):
    """Best at lr=0.01 and a wide network; the second seed is a little worse."""
    return 90 - 10 * abs(math.log10(spec.optimiser.lr) + 2) + spec.model.width - spec.seed


class Launcher:
    """Ends each queued cell without training it, and notes which ones there were."""

    def __init__(self, value=score, fails=lambda spec: False, stop_before=None):
        self.ran, self.value, self.fails, self.stop_before = [], value, fails, stop_before

    def __call__(self, cells):
        for cell in cells:
            spec = queue.take(cell).spec
            if len(self.ran) == self.stop_before:
                raise KeyboardInterrupt
            self.ran.append(spec)
            if self.fails(spec):
                RunFolder(spec).fail(TrainingError("it broke"), "it broke")
            else:
                files.write_json(spec.folder / "result.json", {"metrics": {"val/acc/random": self.value(spec)}})


def run(found, folder, launcher, **options):
    with found.opened():
        tuned.run(found, composed(folder), launcher, **options)
    return [(trial.params, trial.value) for trial in found.trials]


def test_a_trial_is_judged_by_the_mean_over_its_seeds_on_validation_data_in_a_folder_of_its_own(tmp_path):
    found, launcher = study(tmp_path), Launcher()
    trials = run(found, tmp_path, launcher)
    assert len(trials) == 6
    assert len(launcher.ran) == 12
    for (values, value), first, second in zip(trials, launcher.ran[::2], launcher.ran[1::2], strict=True):
        assert (first.seed, second.seed) == (0, 1)
        assert first.optimiser.lr == second.optimiser.lr == values["optimiser.lr"]
        assert value == pytest.approx((score(first) + score(second)) / 2)
    for spec in launcher.ran:
        asked = (spec.evaluation.split, spec.evaluation.explained, spec.evaluation.pictures)
        assert asked == ("validation", 0, 0)
        assert spec.folder.parents[1] == found.outputs
        assert found.outputs.parent == tmp_path / "studies"


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_interrupted_study_asks_for_the_same_values_and_runs_nothing_twice(tmp_path, at_once):
    whole = run(study(tmp_path / "whole", at_once=at_once, random_trials=2), tmp_path / "whole", Launcher())
    part = tmp_path / "part"
    runs, launchers = count(1), []
    while True:
        launchers.append(Launcher(stop_before=3))
        try:
            found = run(study(part, at_once=at_once, random_trials=2), part, launchers[-1])
            break
        except KeyboardInterrupt:
            assert next(runs) < 10
    assert found == whole
    ran = [spec.run for launcher in launchers for spec in launcher.ran]
    assert len(launchers) == 4 + (len(ran) % 3 > 0)
    assert len(ran) == len(set(ran)) == 12


def test_more_trials_go_on_with_the_same_study_and_other_spaces_have_another(tmp_path):
    first = run(study(tmp_path, n_trials=3), tmp_path, Launcher())
    launcher = Launcher()
    assert run(study(tmp_path, n_trials=5), tmp_path, launcher)[:3] == first
    assert len(launcher.ran) == 4
    narrower = {**SPACE, "optimiser.lr": FloatDistribution(1e-3, 1.0, log=True)}
    others = [study(tmp_path, space=narrower), study(tmp_path, seeds=(0,)), study(tmp_path, seed=1)]
    assert len({found.outputs for found in [study(tmp_path), *others]}) == 4


def test_it_finds_better_values_than_as_many_random_ones(tmp_path):
    def best(folder, random_trials):
        found = study(folder, n_trials=24, random_trials=random_trials, seeds=(0,))
        run(found, folder, Launcher())
        return found.ranked[0]

    learned, random = best(tmp_path / "tpe", 6), best(tmp_path / "random", 24)
    assert learned.value > random.value
    assert learned.params["model.width"] == 10
    assert learned.params["optimiser.lr"] == pytest.approx(0.01, rel=0.3)


def test_the_first_trial_has_the_defaults_that_lie_in_the_space(tmp_path):
    defaults = {"optimiser.lr": 0.02, "model.width": 7, "method.xbl.distance": "far"}
    ((values, _), *_) = run(study(tmp_path, defaults=defaults), tmp_path, Launcher())
    assert (values["optimiser.lr"], values["method.xbl.distance"]) == (0.02, "far")
    assert values["model.width"] in (2, 6, 10)
    ((values, _), *_) = run(study(tmp_path, defaults={**defaults, "optimiser.lr": 3.0}), tmp_path, Launcher())
    assert values["optimiser.lr"] <= 1.0


def test_failed_trials_are_recorded_and_the_others_go_on(tmp_path, capsys):
    found = study(tmp_path)
    run(found, tmp_path, Launcher(fails=lambda spec: spec.model.width == 10 and spec.seed == 1))
    assert 0 < len(found.failed) < 6
    assert {trial.params["model.width"] for trial in found.failed} == {10}
    assert {trial.params["model.width"] for trial in found.ranked} <= {2, 6}
    tuned.show(found, ["method=xbl"])
    with (found.outputs / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row, trial in zip(rows, found.trials, strict=True):
        assert row["failed"] == ("" if trial.value else "it broke")
        assert (row["seed 1"] == "") is (trial.value is None)
        assert float(row["seed 0"]) > 0
        assert float(row["optimiser.lr"]) == trial.params["optimiser.lr"]
    values = " ".join(tuned.overrides(found.ranked[0].params))
    assert f"python run.py -m method=xbl {values} seed=0,1" in capsys.readouterr().out


def test_fail_fast_begins_no_further_trial(tmp_path):
    launcher = Launcher(fails=lambda spec: True)
    found = study(tmp_path)
    run(found, tmp_path, launcher, fail_fast=True)
    assert len(launcher.ran) == 2
    with pytest.raises(TrainingError, match="none of the 1 trials has a value; the first: failed: it broke"):
        tuned.show(found, [])


def test_a_value_that_is_no_number_is_a_failure(tmp_path, monkeypatch):
    found = study(tmp_path, n_trials=1)
    monkeypatch.setattr(RunFolder, "result", lambda self: {"metrics": {"val/acc/random": math.nan}})
    run(found, tmp_path, Launcher())
    assert found.failed[0].user_attrs["reason"] == "val/acc/random is nan with seed 0"


def test_what_would_stop_every_trial_ends_the_study_in_a_line(tmp_path):
    def refuses(cells):
        for cell in cells:
            RunFolder(queue.take(cell).spec).fail(UserError("no validation set"), "no validation set")

    def stops(cells):
        RunFolder(queue.take(cells[0]).spec).fail(Preempted(12), "stopped by SIGUSR2")

    with pytest.raises(UserError, match="no validation set"):
        run(study(tmp_path), tmp_path, refuses)
    with pytest.raises(UserError, match="objective=val/acc/clean is not measured here; there are: val/acc/random"):
        run(study(tmp_path, objective="val/acc/clean"), tmp_path, Launcher())
    with pytest.raises(TrainingError, match="is not finished; the same command goes on where it stood"):
        run(study(tmp_path, seed=3), tmp_path, stops)
    with pytest.raises(TrainingError, match=r"the study stopped early \(a worker was killed\)"):
        run(study(tmp_path, seed=4), tmp_path, lambda cells: RuntimeError("a worker was killed"))


def test_two_processes_do_not_work_on_one_study(tmp_path):
    with study(tmp_path).opened(), pytest.raises(BusyError, match="another process is at work on this study"):
        study(tmp_path).opened().__enter__()


def test_optunas_own_tools_read_the_study(tmp_path):
    found = study(tmp_path)
    trials = run(found, tmp_path, Launcher())
    backend = optuna.storages.journal.JournalFileBackend(str(found.outputs / "study.log"))
    loaded = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
    assert [(trial.params, trial.value) for trial in loaded.trials] == trials
    assert loaded.best_trial.number == found.ranked[0].number


@pytest.mark.parametrize("name", ["acc/random", "explanation/inside", "cost/step_ms", "train/acc"])
def test_figures_that_are_not_on_validation_data_are_refused(name):
    with pytest.raises(ValueError, match=f"objective={name} must be a figure on validation data"):
        TuneConfig(objective=name)


def test_the_objective_and_its_direction_follow_from_the_run(tmp_path):
    assert objective(small_spec(tmp_path)) == "val/acc/random"
    assert objective(small_spec(tmp_path, trainer={"select_on": "val_correlated"})) == "val/acc/correlated"
    assert objective(small_spec(tmp_path, trainer={"select_on": "test"})) == "val/acc/random"
    assert objective(small_spec(tmp_path, decoy={"name": "none"})) == "val/acc/val"
    assert objective(small_spec(tmp_path, decoy={"name": "corner", "code": "released"})) == "val/acc/clean"
    phases = {"name": "portions", "n": 3}
    assert objective(small_spec(tmp_path, phases=phases)) == "val/continual/average_accuracy"
    assert (direction("val/explanation/inside"), direction("val/calibration/ece")) == ("maximize", "minimize")
    with pytest.raises(UserError, match="whether more of val/new is better is not known"):
        direction("val/new")


def test_explanations_are_made_where_they_are_the_objective(tmp_path):
    (spec,) = study(tmp_path, objective="val/explanation/inside", seeds=(0,)).specs(small_spec(tmp_path))
    assert spec.evaluation.explained == 20


def test_a_file_of_trials_that_was_cut_off_is_mended_and_a_damaged_one_is_named(tmp_path):
    whole = run(study(tmp_path / "whole"), tmp_path / "whole", Launcher())
    run(study(tmp_path / "cut", n_trials=3), tmp_path / "cut", Launcher())
    path = study(tmp_path / "cut").outputs / "study.log"
    path.write_bytes(path.read_bytes()[:-20])
    launcher = Launcher()
    assert run(study(tmp_path / "cut"), tmp_path / "cut", launcher) == whole
    assert len(launcher.ran) == 6, "the runs of the trial that was lost are found"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:-20], *lines[2:]]))
    with pytest.raises(UserError, match=r"study\.log is damaged: .*Remove it: the same trials are asked for again"):
        run(study(tmp_path / "cut"), tmp_path / "cut", Launcher())
    path.unlink()
    assert run(study(tmp_path / "cut"), tmp_path / "cut", launcher) == whole
    assert len(launcher.ran) == 6


def test_the_command_for_the_best_says_once_which_seeds(tmp_path):
    found = study(tmp_path, n_trials=1, seeds=(3, 4))
    run(found, tmp_path, Launcher())
    words = tuned.command(
        found, ["method=xbl", "seeds=2", "seed=3", "sweep.fail_fast=true", "execution=serial"]
    ).split()
    assert words[:5] == ["python", "run.py", "-m", "method=xbl", "seed=3"]
    assert words[-1] == "seed=3,4"
    assert len(words) == 6 + len(SPACE)
