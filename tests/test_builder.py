import json
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from xfeedback import builder, command
from xfeedback.builder import explain, plain_config, run_sweep
from xfeedback.engine import queue, ways
from xfeedback.engine.run import run_experiment
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import TrainingError, UserError

CONF = Path(__file__).parents[1] / "conf"
SMALL = [
    "dataset=digits",
    "dataset.limit_train=60",
    "dataset.limit_test=40",
    "model.width=2",
    "trainer.max_epochs=1",
    "trainer.progress=false",
    "evaluation.explained=0",
    "evaluation.pictures=0",
]


def composed(overrides, **kwargs):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides), **kwargs)


def complaint(*overrides, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", *overrides])
    with pytest.raises((HydraException, ValueError, UserError)) as caught:
        plain_config(composed(overrides))
    return explain(caught.value)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["method=xlb"], "unknown method 'xlb'. Did you mean 'xbl'? Choices: "),
        (["method=[xbl,rrrr]"], "unknown method 'rrrr'. Did you mean 'rrr'? Choices: "),
        (["hydra/launcher=jobli"], "unknown hydra/launcher 'jobli'. Did you mean 'joblib'?"),
        (["datset=mnist"], "unknown option 'datset'. Did you mean 'dataset'?"),
        (["model.widht=3"], "unknown option 'model.widht'. Did you mean 'model.width'?"),
        (["method=xbl", "method.xbl.cexp=3"], "Did you mean 'method.xbl.c_exp'?"),
        (
            ["method.rrr.weight=3"],
            "option 'method.rrr.weight' belongs to method=rrr, which is not chosen.",
        ),
        (["model=timm", "model.architectur=x"], "Did you mean 'model.architecture'?"),
        (["trainer=3"], "a group takes the name of a choice or a list of names"),
        (["seed=0,1"], "seed=0,1 lists several values; add -m to compare them all"),
        (["+seed=1"], "Could not append to config. An item is already at 'seed'."),
        (["seed"], "missing EQUAL"),
        (["paths.data=${nowhere}"], "option 'paths.data': Interpolation key 'nowhere' not found"),
        (["paths.data=???"], "option 'paths.data': Missing mandatory value"),
    ],
)
def test_complaints_of_hydra_become_a_line_with_what_to_do(overrides, says, monkeypatch):
    error = complaint(*overrides, monkeypatch=monkeypatch)
    assert isinstance(error, UserError)
    assert says in str(error)
    assert "\n" not in str(error)


def test_the_search_path_of_hydra_is_no_choice(monkeypatch):
    assert "provider" not in str(complaint("model=gapnett", monkeypatch=monkeypatch))


def test_options_of_every_swept_choice_are_known(monkeypatch):
    arguments = ["-m", "method=plain,xbl", "dataset=mnist,digits", "method.xbl.cexp=1,2"]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    error = HydraException("Could not override 'method.xbl.cexp'.\nTo append to your config use +method.xbl.cexp=1")
    assert "Did you mean 'method.xbl.c_exp'?" in str(explain(error))


def test_an_unexpected_error_is_no_mistake_of_the_user():
    error = explain(KeyError("layer"))
    assert isinstance(error, TrainingError)
    assert str(error) == "KeyError: 'layer' (unexpected; XFEEDBACK_TRACEBACK=1 shows where)"
    mistake = UserError("wrong")
    assert explain(mistake) is mistake


def test_the_config_reaches_the_engine_as_plain_values():
    config = composed(SMALL, return_hydra_config=True)
    values = plain_config(config)
    assert "hydra" not in values
    assert values["paths"]["cache"] == "outputs/cache"
    assert not any(OmegaConf.is_config(value) for part in values.values() for value in [part])
    json.dumps(values)


class Sweep:
    """Jobs that are composed as Hydra would and run in this process."""

    def __init__(self, folder, *grid):
        self.jobs = [[*SMALL, f"paths.outputs={folder}", *job] for job in grid]
        self.launched = []

    def compose(self, job):
        return composed(job, return_hydra_config=True)

    def one(self, path):
        spec = queue.take(path).spec
        self.launched.append(spec)
        run_experiment(spec)

    def run(self):
        def launch(jobs):
            raise AssertionError("cells run in this process need no launcher")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ways, "run_queued", self.one)
            run_sweep(self.jobs, self.compose, launch, launch)


@pytest.mark.parametrize(
    ("typed", "methods"),
    [([], ["lap"]), (["method=plain"], ["plain"]), (["method=[rbr,lap]"], ["rbr", "lap"])],
)
def test_what_an_experiment_says_of_a_method_does_not_choose_it(typed, methods):
    values = plain_config(composed(["experiment=lap/tiles", *typed]))
    assert sorted(values["method"]) == sorted(methods)
    if "lap" in methods:
        assert values["method"]["lap"]["loss"]["negative_class"] == 4


def test_a_method_with_an_option_taken_out_by_hand_stays_chosen():
    values = plain_config(composed(["method=xbl", "~method.xbl.metric"]))
    assert list(values["method"]) == ["xbl"]
    assert "metric" not in values["method"]["xbl"]


def test_cells_that_differ_in_the_seed_are_composed_once_to_the_same_options(tmp_path):
    rate = "optimiser.lr=0.1"
    sweep = Sweep(tmp_path, ["seed=3"], [rate], ["seed=4"], ["seed=7", rate], ["seed=5"], [rate, "seed=6"], [rate])
    composing = []

    def compose(job):
        composing.append(job)
        return sweep.compose(job)

    first, values = builder._composed(sweep.jobs, compose)
    assert values == [plain_config(sweep.compose(job)) for job in sweep.jobs]
    assert [cell["seed"] for cell in values] == [3, 0, 4, 7, 5, 6, 0]
    assert len(composing) == 3
    assert str(first.hydra.runtime.choices["hydra/launcher"]) == "basic"


def test_a_number_of_seeds_is_as_many_cells_and_does_not_go_with_a_list(tmp_path):
    sweep = Sweep(tmp_path, ["seeds=3", "seed=5"], ["seeds=3", "seed=8"])
    _, values = builder._composed(sweep.jobs[:1], sweep.compose)
    assert values == [plain_config(sweep.compose([*sweep.jobs[0], f"seed={seed}"])) for seed in (5, 6, 7)]
    with pytest.raises(UserError, match=r"^seeds=3 and a list of seed=\.\.\. both say which seeds"):
        builder._composed(sweep.jobs, sweep.compose)


@pytest.mark.parametrize("typed", ["sweep.cells=cells.txt", "++sweep.cells='cells.txt'"])
def test_cells_are_read_from_a_file_of_any_editor(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cells.txt").write_text("seed=5\r\n\r\nmethod=xbl 'seed=6,7'  # a comment\r\n", encoding="utf-8-sig")
    assert builder.cell_lines(["seed=1", typed]) == [["seed=5"], ["method=xbl", "seed=6,7"]]


@pytest.mark.parametrize("option", ["dry=true", "cells=cells.txt"])
def test_options_of_comparisons_are_refused_for_a_single_run(option, tmp_path):
    config = composed([*SMALL, f"paths.outputs={tmp_path}", f"sweep.{option}"])
    with pytest.raises(UserError, match=rf"sweep.{option.split('=')[0]} is an option of comparisons: add -m"):
        builder.run_cell(config)
    assert not list(tmp_path.iterdir())


def test_what_is_taken_out_by_hand_is_as_it_is_by_default(tmp_path):
    sweep = Sweep(tmp_path, ["~seed", "~decoy", "seeds=2"])
    _, values = builder._composed(sweep.jobs, sweep.compose)
    runs = [RunSpec.from_plain(cell) for cell in values]
    assert [spec.seed for spec in runs] == [0, 1]
    assert [spec.run for spec in runs] == [
        RunSpec.from_plain({**cell, "decoy": {"name": "auto"}}).run for cell in values
    ]


def test_a_sweep_runs_what_is_missing_and_compares(tmp_path, capsys):
    sweep = Sweep(tmp_path, ["method=plain"], ["method=xbl"], ["method=plain"])
    sweep.run()
    assert [spec.method for spec in sweep.launched] == ["plain", "xbl"]
    assert [spec.decoy.name for spec in sweep.launched] == ["corner", "corner"]
    out = capsys.readouterr().out
    assert "2 cells (2 rows), 2 to run" in out
    assert (tmp_path / "comparisons").exists()
    again = Sweep(tmp_path, ["method=plain"], ["method=xbl"])
    again.run()
    assert again.launched == []
    assert "2 cells (2 rows), 2 finished before, 0 to run" in capsys.readouterr().out


def test_a_bad_cell_stops_all_before_the_first(tmp_path):
    sweep = Sweep(tmp_path, ["seed=0"], ["optimiser.lr=-1"])
    with pytest.raises(UserError, match=r"optimiser\.lr=-1"):
        sweep.run()
    assert not sweep.launched
    assert not list(tmp_path.iterdir())


def test_a_launcher_that_dies_leaves_a_table_of_what_is_there(tmp_path, capsys):
    sweep = Sweep(tmp_path, ["seed=0"], ["seed=1"])
    whole = sweep.one

    def dying(path):
        if sweep.launched:
            raise RuntimeError("a worker was killed")
        whole(path)

    sweep.one = dying
    with pytest.raises(TrainingError, match=r"stopped early \(a worker was killed\); the same command goes on"):
        sweep.run()
    assert "comparison.csv" in "".join(capsys.readouterr().out.split())


def test_an_unfinished_cell_shows_in_the_exit_code(tmp_path):
    sweep = Sweep(tmp_path, ["seed=0"], ["seed=1"])
    whole = sweep.one
    sweep.one = lambda path: None if sweep.launched else whole(path)
    with pytest.raises(SystemExit) as caught:
        sweep.run()
    assert caught.value.code == 1


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_processes_within_processes_are_refused(launcher, tmp_path):
    sweep = Sweep(tmp_path, ["trainer=ddp", f"hydra/launcher={launcher}"])
    with pytest.raises(UserError, match=f"can't be swept with hydra/launcher={launcher}"):
        sweep.run()


def test_a_folder_that_begins_with_a_tilde_needs_no_quotes():
    """Hydra's grammar asks for them."""
    values = command.composed(["paths.outputs=~/my runs", 'paths.data="~/d"', "method=plain"])["paths"]
    assert (values["outputs"], values["data"], values["cache"]) == ("~/my runs", "~/d", "~/my runs/cache")
