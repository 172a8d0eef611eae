"""A run of phases that is killed goes on to the same bits, from inside a phase and from between two."""

import signal

import pytest

from tests.cli.command import DIGITS, measured, only_run, read, read_lines, run, stop_after

CLASSES = (
    *DIGITS,
    "decoy=none",
    "trainer.max_epochs=8",
    "phases=classes",
    "phases.n=3",
    "phases.holdout=0.2",
    "phases.optimiser=full",
    "continual=ewc",
    "continual.anchors=all",
    "continual.weight=100",
    "continual.n=50",
)
MISTAKES = (
    *DIGITS,
    "decoy=corner",
    "trainer.max_epochs=5",
    "method=[xbl,saliency_guided]",
    "method.xbl.scale=balanced",
    "phases=mistakes",
    "phases.n=3",
    "phases.pool=0.3",
    "phases.keep_old_mistakes=true",
    "phases.optimiser=tf_legacy_step",
    "continual=ewc",
    "continual.anchors=online",
    "continual.pool=correct_last",
    "continual.fisher=true_sampled",
    "continual.n=20",
)


def whole(folder):
    result = read(folder)
    return measured(folder), result["matrices"], result["phases"]


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        pytest.param(CLASSES, (10,), id="classes"),
        pytest.param(MISTAKES, (4, 13), id="mistakes", marks=pytest.mark.slow),
    ],
)
def test_phases_killed_resume_to_the_same_bits(options, stops, finished, tmp_path):
    for epochs in stops:
        assert stop_after(epochs, signal.SIGKILL, *options, cwd=tmp_path).code == -signal.SIGKILL
    folder = only_run(tmp_path)
    assert not (folder / "result.json").exists()
    again = run(*options, cwd=tmp_path)
    assert again.code == 0, again.err
    straight = only_run(finished(*options))
    assert whole(folder) == whole(straight)
    assert read(folder)["resumed"]
    assert not list((folder / "checkpoints").iterdir())
    lines = read_lines(folder / "metrics.jsonl")
    assert [line["phase"] for line in lines] == sorted(line["phase"] for line in lines)
    assert any(line.get("train/ewc/penalty", 0) > 0 for line in lines if line["phase"] == "2")
    assert not any("train/ewc/penalty" in line for line in lines if line["phase"] == "0")
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps))
