"""A run that a cluster stops saves its state inside the epoch and goes on to the same bits."""

import os
import signal
import time
from pathlib import Path

from tests.cli.command import DIGITS, measured, only_run, read, run, started, wait_for

EPOCHS = (
    *DIGITS,
    "trainer.max_epochs=3",
    "dataset.limit_train=1200",
    "trainer.batch_size=8",
    "trainer.progress=false",
)
"""150 steps an epoch, so that a signal falls inside one."""


TWO = (*EPOCHS, "method=[xbl,saliency_guided]", "trainer.accumulate=4", "optimiser.schedule=one_cycle")


def test_stopped_inside_an_epoch_goes_on_to_the_same_bits(finished, tmp_path):
    with started("-m", *TWO, cwd=tmp_path) as process:
        wait_for(lambda: list(tmp_path.glob("outputs/runs/*/checkpoints/epoch-000001-*.ckpt")), process)
        time.sleep(0.3)  # the file is there before the epoch's first step
        process.terminate()
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 75
    assert error == "error: stopped by SIGTERM; the same command goes on where it stood\n"
    folder = only_run(tmp_path)
    assert read(folder, "error.json")["error"] == "stopped by SIGTERM; the same command goes on where it stood"
    newest = max(path.name for path in (folder / "checkpoints").iterdir())
    assert newest.startswith("epoch-000001-step-000")
    again = run(*TWO, cwd=tmp_path)
    assert again.code == 0, again.err
    assert read(folder)["notes"][-1] == f"resumed from {newest}"
    assert measured(folder) == measured(only_run(finished(*TWO)))
    assert not (folder / "error.json").exists()


def signal_job(cwd, process, number):
    """Wait for a job's first epoch and signal the process that trains, a child of the one that submitit started."""
    wait_for(lambda: list(cwd.glob("outputs/runs/*/checkpoints/epoch-000001-*.ckpt")), process)
    (pid,) = [int(path.name) for path in cwd.glob("outputs/jobs/*") if path.name.isdigit()]
    for child in children(pid):
        os.kill(child, number)
    return pid


def children(pid):
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_queued_job_that_is_told_to_stop_is_queued_anew_and_ends_with_the_same_bits(finished, tmp_path):
    """submitit's local executor does what Slurm does: the signal, a new start, the same cell."""
    sweep = ("-m", "hydra/launcher=submitit_local", *TWO)
    with started(*sweep, cwd=tmp_path) as process:
        signal_job(tmp_path, process, signal.SIGUSR2)
        out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    folder = only_run(tmp_path)
    assert any(note.startswith("resumed from epoch-000001-step-") for note in read(folder)["notes"])
    assert measured(folder) == measured(only_run(finished(*TWO)))
    assert "xbl+saliency_guided" in out


def test_a_killed_job_is_named_in_the_table_and_asked_for_again_it_ends_with_the_same_bits(finished, tmp_path):
    sweep = ("-m", "hydra/launcher=submitit_local", *TWO)
    with started(*sweep, cwd=tmp_path) as process:
        pid = signal_job(tmp_path, process, signal.SIGKILL)
        out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (1, "")
    folder = only_run(tmp_path)
    assert read(folder, "error.json")["error"].startswith(f"job {pid} was lost (")
    assert f"failed: job {pid} was lost" in " ".join(out.split())
    assert not (folder / "result.json").exists()
    again = run("-m", *TWO, cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert any(note.startswith("resumed from epoch-00000") for note in read(folder)["notes"])
    assert measured(folder) == measured(only_run(finished(*TWO)))
    assert not (folder / "error.json").exists()


def test_runs_side_by_side_end_with_their_sweep_and_lose_no_step(tmp_path):
    side_by_side = (*EPOCHS, "trainer.max_epochs=1000000", "seed=0,1", "hydra/launcher=joblib", "trainer.threads=1")
    with started("-m", *side_by_side, cwd=tmp_path) as process:
        begun = wait_for(lambda: list(tmp_path.glob("outputs/runs/*/checkpoints/epoch-000001-*.ckpt")), process)
        workers = children(process.pid)
        process.kill()
    deadline = time.monotonic() + 30
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"{alive} go on alone"
        time.sleep(0.1)
    stopped = read(begun[0].parents[1], "error.json")["error"]
    assert stopped == "stopped by SIGTERM; the same command goes on where it stood"
    assert max(path.name for path in begun[0].parent.iterdir()) > begun[0].name
