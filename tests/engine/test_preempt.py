"""Stopping at any step, in any phase, and going on: the same batches, the same bits."""

import signal

import pytest
from pytorch_lightning import Callback

from tests.engine.small import small_spec
from xfeedback.engine import train
from xfeedback.engine.preempt import StopOnSignal
from xfeedback.engine.run import run_experiment
from xfeedback.errors import Preempted

EPOCHS = {"dataset": {"limit_train": 60}, "trainer": {"batch_size": 8, "max_epochs": 3}}
"""8 steps an epoch, the last of them with 4 samples."""


class SignalAt(Callback):
    """Sends the process a signal at one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, *_args):
        if trainer.global_step == self.step:
            signal.raise_signal(signal.SIGUSR1)


def stopped_at(step, spec, monkeypatch):
    build = train.build_trainer

    def with_signal(*arguments, further=(), **options):
        return build(*arguments, further=[*further, SignalAt(step)], **options)

    with monkeypatch.context() as patch:
        patch.setattr("xfeedback.engine.phases.build_trainer", with_signal)
        with pytest.raises(Preempted, match="stopped by SIGUSR1; the same command goes on where it stood"):
            run_experiment(spec)


@pytest.mark.parametrize(
    ("step", "checkpoint"),
    [(0, "epoch-000000-step-00000001"), (10, "epoch-000001-step-00000003"), (15, "epoch-000002-")],
)
def test_a_run_stopped_at_any_step_goes_on_to_the_same_bits(tmp_path, monkeypatch, step, checkpoint):
    """At the last step of an epoch it stops after the validation, with the epoch done."""
    whole = run_experiment(small_spec(tmp_path / "whole", **EPOCHS)).record
    spec = small_spec(tmp_path / "stopped", **EPOCHS)
    before = signal.getsignal(signal.SIGUSR1)
    stopped_at(step, spec, monkeypatch)
    assert signal.getsignal(signal.SIGUSR1) == before
    assert max(path.name for path in (spec.folder / "checkpoints").iterdir()).startswith(checkpoint)
    again = run_experiment(spec).record
    assert again["resumed"]
    assert again["weights_sha256"] == whole["weights_sha256"]
    histories = [s.folder / "metrics.jsonl" for s in (spec, small_spec(tmp_path / "whole", **EPOCHS))]
    found, expected = ([line.split(', "seconds"')[0] for line in path.read_text().splitlines()] for path in histories)
    assert found == expected


def test_after_the_last_step_nothing_is_stopped(tmp_path, monkeypatch):
    spec = small_spec(tmp_path, **EPOCHS)
    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "on_train_start", lambda self, *_: setattr(self, "received", None))
        patch.setattr(
            StopOnSignal, "on_train_batch_start", lambda self, trainer, *_: self._note(10, None)
            if trainer.global_step == 23 else None, raising=False,
        )  # fmt: skip
        assert run_experiment(spec).status == "done"
