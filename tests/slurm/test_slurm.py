"""A sweep on a real Slurm: cells that fail, are cancelled and are preempted, and what asking again does."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import ROOT, Ended, environment, measured, read, run, started, wait_for

pytestmark = pytest.mark.slurm

OPTIONS = (
    "dataset=digits",
    "decoy=corner",
    "model.width=4",
    "dataset.limit_train=1200",
    "dataset.limit_test=100",
    "trainer.batch_size=8",
    "trainer.threads=1",
    "trainer.progress=false",
    "evaluation.explained=50",
    "evaluation.pictures=4",
)
LONG, SHORT = "trainer.max_epochs=40", "trainer.max_epochs=2"
CANCELLED, PREEMPTED, FAILING = f"{LONG} seed=10", f"{LONG} seed=11", f"{SHORT} optimiser.lr=1e30"
CELLS = (CANCELLED, PREEMPTED, FAILING, *(f"{SHORT} seed={seed}" for seed in range(1, 6)))
"""In the order of the array's tasks."""
SWEEP = (
    "-m",
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "sweep.cells=cells.txt",
    *OPTIONS,
)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What two commands left: the first waited for its array, the second left the missing cells in the queue.

    Attributes:
        cwd: where both ran.
        first, second: how they ended.
        folders: the run folders by task of the first array.
        kept: time at which each result of the first command was written, by run.
        again: ids of the second command's jobs.
    """

    cwd: Path
    first: Ended
    second: Ended
    folders: list[Path]
    kept: dict[str, int]
    again: list[str]


def slurm(*command: str) -> str:
    """What a command of Slurm says."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def states(array: str) -> dict[str, str]:
    """The state of each task of an array, by its number."""
    lines = slurm("scontrol", "show", "job", array).split("\n\n")
    found = (re.search(r"ArrayTaskId=(\d+) .*JobState=(\w+)", line, re.DOTALL) for line in lines)
    return {match[1]: match[2] for match in found if match}


def until(found: Callable[[], object], seconds: float = 240) -> None:
    """Wait until ``found()`` is true."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    if shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("no Slurm answers here (sinfo); SLURM_CONF says where one is")
    cwd = tmp_path_factory.mktemp("slurm")
    (cwd / "cells.txt").write_text("\n".join(CELLS))
    first = _disturbed(cwd)
    kept = {path.parent.name: path.stat().st_mtime_ns for path in cwd.glob("outputs/runs/*/result.json")}
    second = run(*SWEEP, "sweep.detach=true", cwd=cwd, timeout=60)
    again = re.findall(r"\d+_\d+", second.out)
    until(lambda: set(states(again[0].split("_")[0]).values()) <= {"COMPLETED", "FAILED"})
    folders = [_folder(cwd, cell) for cell in CELLS]
    return Swept(cwd=cwd, first=first, second=second, folders=folders, kept=kept, again=again)


def _disturbed(cwd: Path) -> Ended:
    """Run the array; cancel its first task and preempt the second, both inside their training."""
    with started(*SWEEP, cwd=cwd) as process:
        for cell in (CANCELLED, PREEMPTED):
            wait_for(lambda cell=cell: _at_work(cwd, cell), process, seconds=120)
        (array,) = {path.name.split("_")[0] for path in cwd.glob("outputs/slurm/*_0")}
        slurm("scancel", f"{array}_0")
        with subprocess.Popen(["scancel", "--signal=USR2", f"{array}_1"]) as sending:
            wait_for(lambda: states(array)["1"] == "PENDING", process, seconds=60)
            sending.kill()  # it tries again for as long as the job is between two states
        slurm("scontrol", "update", f"JobId={array}_1", "StartTime=now")  # Slurm would hold it for two minutes
        out, err = process.communicate(timeout=300)
        return Ended(process.returncode, out, err)


def _folder(cwd: Path, cell: str) -> Path:
    seed = cell.rpartition("seed=")[2] if "seed=" in cell else "0"
    (folder,) = cwd.glob(f"outputs/runs/*-s{seed}-*")
    return folder


def _at_work(cwd: Path, cell: str) -> bool:
    return any(cwd.glob(f"outputs/runs/*-s{cell.rpartition('=')[2]}-*/checkpoints/epoch-000002-*.ckpt"))


def test_the_table_has_the_good_cells_and_names_the_others_with_their_reason(swept):
    good = [folder.name for number, folder in enumerate(swept.folders) if number not in (0, 2)]
    text = " ".join(swept.first.out.split())
    assert swept.first.code == 1
    assert swept.first.err == ""
    assert sorted(swept.kept) == sorted(good)
    assert "failed: the loss is not finite at epoch 0" in text
    assert "stopped by SIGTERM; the same command goes on where it stood (1 of 2 seeds): seed 10" in text


def test_the_preempted_cell_equals_an_uninterrupted_run_to_the_last_bit(swept, tmp_path):
    folder = swept.folders[1]
    assert any(note.startswith("resumed from epoch-0000") for note in read(folder)["notes"])
    whole = run(*OPTIONS, *PREEMPTED.split(), cwd=tmp_path)
    assert whole.code == 0, whole.err
    assert measured(folder) == measured(_folder(tmp_path, PREEMPTED))


def test_asking_again_submits_only_what_is_missing_and_detached_it_ends_at_once(swept):
    assert swept.second.code == 0, swept.second.err
    assert "6 finished before, 2 to run" in swept.second.out
    assert f"submitted 2 jobs: {', '.join(swept.again)}" in swept.second.out
    array = swept.again[0].split("_")[0]
    assert states(array) == {"0": "COMPLETED", "1": "FAILED"}
    assert any(note.startswith("resumed from epoch-0000") for note in read(swept.folders[0])["notes"])
    written = {path.parent.name: path.stat().st_mtime_ns for path in swept.cwd.glob("outputs/runs/*/result.json")}
    assert {run: written[run] for run in swept.kept} == swept.kept
    assert set(written) - set(swept.kept) == {swept.folders[0].name}


def test_the_report_from_the_folders_has_what_the_detached_jobs_did(swept):
    report = [sys.executable, "-m", "xfeedback.report", "outputs"]
    done = subprocess.run(
        report, cwd=swept.cwd, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=True
    )
    assert "Not finished: plain (lr=1e+30" in " ".join(done.stdout.split())
    assert "SIGTERM" not in done.stdout
