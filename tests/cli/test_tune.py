"""Tuning through the real command line: killed and asked for again, it ends with the command to type."""

import csv
import signal

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hydra_plugins.xfeedback_sweeper.tuner import distribution
from tests.cli.command import read, run, started, wait_for
from xfeedback.errors import UserError

DRAWN = ("dataset=lap_synthetic", "dataset.train=64", "dataset.val=40", "dataset.test=40", "model.width=2")
QUICK = ("trainer.max_epochs=1", "trainer.threads=1", "trainer.progress=false", "trainer.channels_last=false")
TUNE = ("-m", "hydra/sweeper=optuna", "method=xbl", *DRAWN, *QUICK, "seed=0,1", "hydra.sweeper.n_trials=2")
SPACE = ("optimiser.lr=tag(log, interval(0.001, 0.1))", "optimiser=sgd,adam")


def test_a_killed_search_goes_on_and_ends_with_the_command_to_type(tmp_path):
    with started(*TUNE, *SPACE, cwd=tmp_path) as process:
        wait_for(lambda: len(list(tmp_path.glob("outputs/studies/*/runs/*/result.json"))) == 3, process)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/studies/*/runs/*/result.json")}
    again = run(*TUNE, *SPACE, cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert "2 trials of 2 seeds, 1 finished before: maximize val/acc/val" in again.out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (study,) = (tmp_path / "outputs" / "studies").iterdir()
    runs = sorted((study / "runs").iterdir())
    with (study / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert (len(runs), len(trials)) == (4, 2)
    assert (trials[0]["optimiser"], float(trials[0]["optimiser.lr"])) == ("adam", 0.003)  # the defaults come first
    for trial in trials:
        assert float(trial["val/acc/val"]) == pytest.approx((float(trial["seed 0"]) + float(trial["seed 1"])) / 2)
    for folder in runs:
        config, result = yaml.safe_load((folder / "config.yaml").read_text()), read(folder)
        (trial,) = [trial for trial in trials if float(trial["optimiser.lr"]) == config["optimiser"]["lr"]]
        assert config["optimiser"]["name"] == trial["optimiser"]
        assert result["metrics"]["val/acc/val"] == float(trial[f"seed {config['seed']}"])
        assert all(name.startswith(("val/", "cost/")) for name in result["metrics"])
    best = max(trials, key=lambda trial: float(trial["val/acc/val"]))
    values = f"optimiser.lr={best['optimiser.lr']} optimiser={best['optimiser']}"
    typed = " ".join(("method=xbl", *DRAWN, *QUICK))
    assert again.out.strip().endswith(f"to train and test the best: python run.py -m {typed} {values} seed=0,1")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["hydra.sweeper.objective=acc/test"], "hydra.sweeper.objective=acc/test must be a figure on validation data"),
        (["method=xbl,plain"], "tune one method at a time"),
        (["dataset.noise=0.1,0.2"], "dataset.noise can't be tuned: it changes on what trials are judged"),
    ],
)
def test_a_search_that_can_not_work_ends_in_a_line_and_leaves_nothing(options, line, tmp_path):
    ended = run(*TUNE, *SPACE, *options, cwd=tmp_path)
    assert ended.code == 2
    assert line in ended.line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(1,100)", FloatDistribution(1.0, 100.0)),
        ("tag(log,interval(0.1,10))", FloatDistribution(0.1, 10.0, log=True)),
        ("int(interval(1,64))", IntDistribution(1, 64)),
        ("tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("range(2,11,4)", IntDistribution(2, 10, step=4)),
        ("range(10,1,-4)", IntDistribution(2, 10, step=4)),
        ("range(0,0.6,0.25)", FloatDistribution(0.0, 0.5, step=0.25)),
        ("choice(adam,sgd)", CategoricalDistribution(["adam", "sgd"])),
        ("1,true,null,[3,4]", CategoricalDistribution(["1", "True", "null", "[3,4]"])),
    ],
)
def test_hydras_words_span_the_space(text, expected):
    assert distribution(OverridesParser.create().parse_override(f"x={text}")) == expected


@pytest.mark.parametrize("text", ["interval(2,1)", "tag(log,interval(0,1))", "range(3,1)", "tag(log,range(1,100))"])
def test_a_range_that_can_not_be_drawn_from_is_refused(text):
    with pytest.raises(UserError, match="can't be drawn from"):
        distribution(OverridesParser.create().parse_override(f"x={text}"))
