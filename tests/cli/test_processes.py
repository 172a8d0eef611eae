"""Two processes train one run: one result, the weights of a single process up to rounding."""

import pytest
import torch

from tests.cli.command import DIGITS, measured, only_run, read, run

PLAIN = (*DIGITS, "trainer.max_epochs=12")

TOLERANCE = 2e-4
"""Largest difference of a weight after 48 steps. Sums over a batch are rounded in another order, and Adam divides by
the gradient's own size, so that rounding shows where gradients are tiny: 2.5e-5 was seen; the weights move by 0.1."""


def test_two_processes_train_to_one_result(finished, tmp_path):
    ended = run(*PLAIN, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.count("done plain on decoy_digits, seed 0") == 1
    one, two = only_run(finished(*PLAIN)), only_run(tmp_path)
    assert two.name == one.name
    expected, found = (torch.load(folder / "weights.pt", weights_only=True) for folder in (one, two))
    assert found.keys() == expected.keys()
    assert max(float((found[name] - expected[name]).abs().max()) for name in found) < TOLERANCE
    assert read(two)["steps"] == read(one)["steps"] == 48
    assert [line["epoch"] for line in measured(two)["history"]] == list(range(12))
    accuracy = read(one)["metrics"]["acc/random"]
    assert read(two)["metrics"]["acc/random"] == pytest.approx(accuracy, abs=1)


@pytest.mark.parametrize(
    "options",
    [
        "method.lap.frozen_epochs=1",
        pytest.param("method.lap.row=abn method.lap.warmup_epochs=1", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_what_rests_in_some_steps(options, tmp_path):
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=2")
    ended = run(*DIGITS, "method=lap", *options.split(), *two, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert measured(only_run(tmp_path))["history"][-1]["epoch"] == 1
