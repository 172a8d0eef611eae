"""A run that is stopped in any way goes on to the same bits; a finished one is left alone."""

import errno
import os
import shutil
import signal

from tests.cli.command import (
    DIGITS,
    SMALL,
    listing,
    measured,
    only_run,
    read,
    read_lines,
    run,
    started,
    stop_after,
    wait_for,
)

PLAIN = (*DIGITS, "trainer.max_epochs=60")
TWO = (
    *DIGITS,
    "trainer.max_epochs=60",
    "method=[xbl,saliency_guided]",
    "method.xbl.warmup_epochs=2",
    "method.xbl.ramp_epochs=2",
    "optimiser.schedule=cosine",
    "trainer.accumulate=2",
)
SELECTING = (
    "dataset=mnist",
    "decoy=corner",
    "model=mnist_cnn",
    "trainer.max_epochs=40",
    "trainer.batch_size=64",
    "optimiser=sgd",
    "optimiser.schedule=one_cycle",
    *SMALL,
)


def test_two_methods_killed_and_interrupted_resume_to_the_same_bits(finished, killed, tmp_path):
    shutil.copytree(killed(*TWO), tmp_path, dirs_exist_ok=True)
    folder = only_run(tmp_path)
    assert len(read_lines(folder / "metrics.jsonl")) >= 3
    stopped = stop_after(5, signal.SIGINT, *TWO, "trainer.progress=false", cwd=tmp_path)
    assert stopped.code == 130
    assert stopped.line == "error: interrupted; the same command resumes where it stood"
    assert not (folder / "error.json").exists()
    newest = max(path.name for path in (folder / "checkpoints").iterdir())
    again = run(*TWO, cwd=tmp_path)
    assert again.code == 0, again.err
    seen, result = measured(folder), read(folder)
    assert seen == measured(only_run(finished(*TWO)))
    assert result["resumed"]
    assert result["notes"] == [f"resumed from {newest}"]
    assert not list((folder / "checkpoints").iterdir())
    assert "train/xbl/distance" not in seen["history"][1]
    assert seen["history"][-1]["train/xbl/distance"] > 0
    assert seen["history"][-1]["train/saliency_guided/kl"] > 0


def test_selected_weights_and_dropout_killed_resume_to_the_same_bits(finished, killed, shared_data, tmp_path):
    options = (*SELECTING, f"paths.shared_data=[{shared_data}]")
    shutil.copytree(killed(*options), tmp_path, dirs_exist_ok=True)
    again = run(*options, cwd=tmp_path)
    assert again.code == 0, again.err
    seen = measured(only_run(tmp_path))
    assert seen == measured(only_run(finished(*options)))
    values = [line["val/random"] for line in seen["history"]]
    assert seen["selected"] == ("val/random", values.index(max(values)), 160)


def test_a_full_disk_and_a_damaged_checkpoint_cost_an_epoch_each(finished, killed, tmp_path):
    shutil.copytree(killed(*PLAIN), tmp_path, dirs_exist_ok=True)
    folder = only_run(tmp_path)
    half = folder / "checkpoints" / ".epoch-000004.ckpt.killed.tmp"
    half.write_bytes(b"half a checkpoint")
    before = sorted((folder / "checkpoints").glob("*.ckpt"))
    contents = [path.read_bytes() for path in before]

    full = run(*PLAIN, "trainer.progress=false", cwd=tmp_path, limit_bytes=min(map(len, contents)) // 2)
    assert full.code == 1
    assert full.line.startswith("error: plain on decoy_digits, seed 0: no space while writing to the run folder")
    assert "paths.outputs=" in full.line
    assert "run again to resume" in full.line
    assert read(folder, "error.json")["error"] in full.line
    assert os.strerror(errno.EFBIG) in read(folder, "error.json")["traceback"]
    assert [path.read_bytes() for path in before] == contents
    assert sorted((folder / "checkpoints").iterdir()) == before
    assert not (folder / "result.json").exists()

    older, newest = before[-2:]  # three when it was killed between a new one and the drop of the oldest
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    again = run(*PLAIN, cwd=tmp_path)
    assert again.code == 0, again.err
    assert measured(folder) == measured(only_run(finished(*PLAIN)))
    assert len(measured(folder)["history"]) == 60
    damage = f"checkpoint {newest.name} is damaged; the one before it is used"
    assert read(folder)["notes"] == [damage, f"resumed from {older.name}"]
    assert damage in again.out
    assert not (folder / "error.json").exists()


def test_a_finished_run_is_skipped(finished, tmp_path):
    shutil.copytree(finished(*PLAIN), tmp_path, dirs_exist_ok=True)
    before = listing(tmp_path)
    again = run(*PLAIN, "logger=csv", "trainer.threads=2", cwd=tmp_path)
    assert again.code == 0
    assert "finished before (force=true runs it anew)" in again.out
    assert again.err == ""
    assert listing(tmp_path) == before
    print(f"\nskipped after {again.seconds:.1f} s")


def test_force_runs_anew_to_the_same_bits_and_keeps_the_old_run(finished, tmp_path):
    shutil.copytree(finished(*PLAIN), tmp_path, dirs_exist_ok=True)
    old = listing(only_run(tmp_path))
    again = run(*PLAIN, "force=true", cwd=tmp_path)
    assert again.code == 0, again.err
    (kept,) = (tmp_path / "outputs" / "superseded").iterdir()
    assert listing(kept) == old
    assert kept.name.startswith(only_run(tmp_path).name)
    assert measured(only_run(tmp_path)) == measured(kept)
    assert read(only_run(tmp_path))["notes"] == []


def test_a_second_process_is_refused_and_a_terminated_run_does_not_look_finished(tmp_path):
    long = (*DIGITS, "trainer.max_epochs=100000", "trainer.checkpoint_every_n_epochs=1000000")
    with started(*long, cwd=tmp_path) as first:
        wait_for(lambda: list(tmp_path.glob("outputs/runs/*/metrics.jsonl")), first)
        second = run(*long, cwd=tmp_path)
        assert first.poll() is None
        first.terminate()
        assert first.wait(timeout=30) == 75
    assert second.code == 2
    assert second.line.startswith("error: another process is at work on this run: outputs/runs/")
    assert read(only_run(tmp_path), "error.json")["error"].startswith("stopped by SIGTERM")
    assert not (only_run(tmp_path) / "result.json").exists()
