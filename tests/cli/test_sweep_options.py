"""Options of a comparison: what it would do, lists of cells, where it stops, the queue, two of them at once."""

import subprocess

import yaml
from omegaconf import OmegaConf

from tests.cli.command import DIGITS, ROOT, command, environment, read_lines, run
from tests.engine.small import small_spec
from xfeedback.builder import run_cell
from xfeedback.engine import queue, sweep

QUIET = (*DIGITS, "trainer.progress=false")


def test_dry_lists_the_cells_of_a_file_times_the_grid_and_runs_none(tmp_path):
    (tmp_path / "cells.txt").write_text("method=plain  # the baseline\n\nmethod=xbl 'method.xbl.c_exp=7.5'\n")
    ended = run("-m", "sweep.cells=cells.txt", "sweep.dry=true", "seed=0,1", *QUIET, cwd=tmp_path)
    lines = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert lines[0].startswith("4 cells (2 rows), 4 to run")
    named = [line.split("  ")[1] for line in lines if line.startswith("to run")]
    assert named == [f"{method} on decoy_digits, seed {seed}" for method in ("plain", "xbl") for seed in (0, 1)]
    assert lines[-1].startswith("time: ")
    assert not (tmp_path / "outputs").exists()


def test_lines_that_choose_methods_take_the_place_of_an_experiments_rows(tmp_path):
    """Other lines are combined with each row, and no line gets the options of a row of another method."""
    lines = ("method=plain", "method=xbl method.xbl.c_exp=3", "optimiser.lr=0.01")
    (tmp_path / "cells.txt").write_text("\n".join(lines))
    options = ("experiment=decoy_digits", "sweep.cells=cells.txt", "sweep.dry=true", "seeds=1")
    ended = run("-m", *options, cwd=tmp_path)
    assert ended.code == 0, ended.err
    rows = OmegaConf.load(ROOT / "conf" / "experiment" / "decoy_digits.yaml").hydra.sweeper.rows
    assert ended.out.startswith(f"{len(rows) + 2} cells")


def test_fail_fast_begins_no_cell_after_one_that_failed_and_names_what_was_left(tmp_path, capsys):
    """The launcher is that of a process after the other; a queued cell decides by itself that it is left out."""
    rates = {"first": 0.003, "fails": 1e30, "left": 0.001}
    specs = {name: small_spec(tmp_path, optimiser={"name": "adam", "lr": rate}) for name, rate in rates.items()}
    plan = sweep.plan(list(specs.values()))

    def launch(cells):
        assert {run_cell(OmegaConf.create({"queued": str(cell)})) for cell in cells} <= {0, 1}

    assert sweep.run(plan, launch, one_by_one=True, fail_fast=True) is None
    assert [spec.folder.exists() for spec in specs.values()] == [True, True, False]
    assert sweep.compare(plan) == 2
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("left out plain on decoy_digits, seed 0: an earlier cell failed (sweep.fail_fast)") == 1
    assert "failed: the loss is not finite" in text
    assert "failed: not started: the sweep ended before its turn" in text


def test_the_queued_file_decides_whatever_conf_says_by_then(tmp_path):
    spec = small_spec(tmp_path, trainer={"max_epochs": 1})
    edited = {**spec.plain(), "model": {"name": "gapnet", "width": 64}, "seed": 5, "no_such_option": 1}
    path = queue.put(queue.Queued(spec=spec), tmp_path / "queue")
    assert run_cell(OmegaConf.create({**edited, "queued": str(path)})) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder == spec.folder
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["width"] == spec.plain()["model"]["width"]


def test_two_sweeps_at_once_train_each_run_once_and_both_end_with_the_table(tmp_path):
    options = ("-m", *QUIET, "seed=0,1", "trainer.max_epochs=15")
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen(command(*options), cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for seed in (0, 1):
        done = [
            line
            for out, _ in said
            for line in out.splitlines()
            if line.startswith(f"done plain on decoy_digits, seed {seed}")
        ]
        (folder,) = tmp_path.glob(f"outputs/runs/*-s{seed}-*")
        assert len(done) == 1
        assert [line["epoch"] for line in read_lines(folder / "metrics.jsonl")] == list(range(15))
    assert all(err == "" and "comparison.md" in out for out, err in said)
