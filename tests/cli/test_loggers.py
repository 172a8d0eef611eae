"""Loggers through the real command line: their files stand in the run folder, and none ends a training."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.cli.command import DIGITS, ROOT, environment, only_run, read, read_lines, run, started, wait_for
from tests.cli.wandb_file import Offline, read_offline
from xfeedback import report

WANDB = (*DIGITS, "logger=wandb", "trainer.progress=false")
KEY = "5ec2e7" * 6 + "5ec2"
"""What must not be found anywhere."""


@pytest.fixture(scope="module")
def logged(once) -> Path:
    """A run with a key at hand, told to stay offline."""

    def command(place: Path) -> None:
        ended = run(*WANDB, cwd=place, WANDB_API_KEY=KEY, WANDB_MODE="offline")
        assert (ended.code, ended.err) == (0, "")

    return only_run(once("wandb", WANDB, command))


@pytest.fixture(scope="module")
def offline(logged) -> Offline:
    """What wandb's own reader finds in it."""
    (part,) = logged.glob("wandb/offline-run-*/run-*.wandb")
    return read_offline(part)


def test_what_wandb_wrote_offline_holds_the_configuration_and_names_the_run(logged, offline):
    config = yaml.safe_load((logged / "config.yaml").read_text())
    cell = read(logged)["cell"]
    assert {key: offline.config[key] for key in config} == config
    named = {"run_id": logged.name.rsplit("-", 1)[1], "display_name": logged.name, "project": "xfeedback"}
    placed = {"run_group": f"decoy_digits-gapnet-plain-{cell}", "job_type": "plain"}
    assert {key: offline.run[key] for key in named | placed} == named | placed
    assert set(offline.run["tags"]) == {"decoy_digits", "gapnet", "plain"}


def test_what_wandb_wrote_offline_holds_the_curves_and_the_best_of_them(logged, offline):
    epochs = [row for row in offline.history if "train/loss" in row]
    lines = read_lines(logged / "metrics.jsonl")
    losses = [line["train/loss"] for line in lines]
    assert [row["train/loss"] for row in epochs] == pytest.approx(losses)
    assert [row["trainer/global_step"] for row in epochs] == [line["step"] - 1 for line in lines]
    assert offline.summary["train/loss"] == pytest.approx({"min": min(losses), "last": losses[-1]})
    assert offline.summary["train/acc"]["max"] == pytest.approx(max(line["train/acc"] for line in lines))
    metrics = read(logged)["metrics"]
    assert {name: offline.summary[name] for name in metrics} == pytest.approx(metrics)
    assert offline.metrics["*"]["step_metric"] == "trainer/global_step"


def test_what_wandb_wrote_offline_holds_the_pictures_and_the_confusion_matrix(logged, offline):
    (shown,) = [row for row in offline.history if "explanations.filenames" in row]
    for name in ("explanations", "confusion"):
        (file,) = shown[f"{name}.filenames"]
        with Image.open(offline.files[file]) as sent, Image.open(logged / f"{name}.png") as own:
            assert sent.tobytes() == own.tobytes()
    rows = offline.table("confusion_chart_table")
    right = sum(row["nPredictions"] for row in rows if row["Actual"] == row["Predicted"])
    assert sum(row["nPredictions"] for row in rows) == 100
    assert right == pytest.approx(read(logged)["metrics"]["acc/random"])
    assert offline.config["_wandb.visualize.confusion_chart"]["panel_config"]["panelDefId"] == (
        "wandb/confusion_matrix/v1"
    )


def test_the_key_is_in_no_file_of_the_run_nor_of_a_report(logged, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    report.compare([logged], tmp_path)
    files = [path for place in (logged.parents[1], tmp_path) for path in place.rglob("*") if path.is_file()]
    assert any(path.suffix == ".html" for path in files)
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_run_that_is_resumed_goes_on_in_its_curve(tmp_path):
    options = (*WANDB, "dataset.limit_train=600", "trainer.batch_size=8", "trainer.max_epochs=3")
    with started(*options, cwd=tmp_path) as process:
        wait_for(lambda: list(tmp_path.glob("outputs/runs/*/checkpoints/epoch-000001-*.ckpt")), process)
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=60)
    assert process.returncode == 75
    assert run(*options, cwd=tmp_path).code == 0
    parts = [read_offline(path) for path in sorted(tmp_path.glob("outputs/runs/*/wandb/offline-run-*/run-*.wandb"))]
    assert [part.run["run_id"] for part in parts] == [only_run(tmp_path).name.rsplit("-", 1)[1]] * 2
    assert ["preempting" in part.kinds for part in parts] == [True, False]
    rows = [row["_step"] for part in parts for row in part.history]
    assert rows == sorted(set(rows))
    curve = [(row["epoch"], row["train/loss"]) for part in parts for row in part.history if "train/loss" in row]
    lines = read_lines(only_run(tmp_path) / "metrics.jsonl")
    assert curve == [(line["epoch"], pytest.approx(line["train/loss"])) for line in lines]


def test_without_network_a_run_goes_on_says_so_once_and_keeps_its_curve(tmp_path):
    closed = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
    ended = run(*WANDB, cwd=tmp_path, **closed)
    assert ended.code == 0, ended.err
    assert ended.err.count("note: ") == ended.err.count("Training goes on offline") == 1, ended.err
    assert "scripts/wandb_sync.py" in ended.err
    folder = only_run(tmp_path)
    result = read(folder)
    assert result["status"] == "done"
    print(f"\nwithout network: {ended.seconds:.1f} s")
    assert result["seconds"] < 60  # 10 of them for the connection; the default of wandb is 90
    (part,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert len([row for row in read_offline(part).history if "train/loss" in row]) == 3
    assert [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_sync_hands_over_all_parts_the_oldest_first(tmp_path):
    for name in ("b/wandb/offline-run-20260101_000000-x", "a/wandb/offline-run-20260102_000000-x", "a/wandb/run-1-y"):
        (tmp_path / "outputs/runs" / name).mkdir(parents=True)
    script = f"import json, runpy; print(json.dumps(runpy.run_path({str(ROOT / 'scripts/wandb_sync.py')!r})"
    script += "['offline_parts']([__import__('pathlib').Path('outputs')]), default=str))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert [Path(part).parts[2] for part in json.loads(done.stdout)] == ["b", "a"]
