"""What reaches a server: wandb's own program reads the files and sends them to a stand-in on this machine."""

import subprocess
import sys

import pytest
import wandb
from PIL import Image

from tests.cli.command import ROOT, environment
from tests.tracking.server import wandb_server
from xfeedback.tracking import wandb_run
from xfeedback.tracking.wandb_logger import RowLogger
from xfeedback.tracking.wandb_run import About, send_pictures, start

KEY = "5ec2e7" * 6 + "5ec2"


@pytest.fixture(scope="module")
def server():
    with wandb_server() as received:
        yield received


@pytest.fixture(autouse=True)
def logged_in(server, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setattr(wandb_run, "_unreachable", [])
    wandb.teardown()  # which remembers the environment
    yield
    wandb.teardown()


def part(folder, steps, ending, **changed):
    """One part of a run: from its start to its end, or until it is told to stop."""
    named = {"name": "n", "project": "xfeedback", "group": "g", "job_type": "plain", "tags": ("digits",)}
    run = start(About(**{**named, "folder": folder, "config": {"seed": 1}, **changed}))
    logger = RowLogger(run)
    for step in steps:
        logger.log_metrics({"train/loss": 1 / step, "epoch": step}, step)
    if ending == "done":
        send_pictures(run, folder)
    wandb_run.finish(run, ending)


def curve(server, name):
    return [(row["_step"], row["train/loss"]) for row in server.history[name] if "train/loss" in row]


def test_parts_logged_offline_are_sent_into_one_curve_with_the_picture(server, tmp_path, monkeypatch):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "explanations.png")
    monkeypatch.setenv("WANDB_MODE", "offline")
    part(tmp_path, (2, 4), "preempted", id="sent")
    part(tmp_path, (6, 8), "done", id="sent", goes_on=True)
    command = [sys.executable, str(ROOT / "scripts" / "wandb_sync.py"), str(tmp_path)]
    cwd = tmp_path / "here"
    cwd.mkdir()
    env = environment(WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert curve(server, "sent") == [(step, pytest.approx(1 / step)) for step in (2, 4, 6, 8)]
    assert server.summaries["sent"]["train/loss"] == pytest.approx({"min": 1 / 8, "last": 1 / 8})
    run = server.runs["sent"]
    assert (run["groupName"], run["jobType"], run["tags"]) == ("g", "plain", ["digits"])
    (picture,) = (content for path, content in server.files.items() if path.startswith("media/images/explanations"))
    assert picture == (tmp_path / "explanations.png").read_bytes()
    assert KEY not in done.stdout + done.stderr
    assert list(cwd.iterdir()) == []


def test_a_run_that_is_requeued_goes_on_online_and_no_file_holds_the_key(server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    part(tmp_path, (2, 4), "preempted", id="queued")
    part(tmp_path, (6,), "failed", id="queued", goes_on=True)
    assert server.runs["queued"]["config"].count('"seed"') == 1
    assert curve(server, "queued") == [(2, 0.5), (4, 0.25), (6, pytest.approx(1 / 6))]
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
