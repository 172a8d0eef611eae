"""How many threads a run computes with."""

import pytest
import torch

from xfeedback.engine.options import TrainerConfig
from xfeedback.engine.train import use_threads


@pytest.mark.parametrize(
    ("asked", "slurm", "expected"),
    [(3, "5", 3), (None, "5", 5), (None, None, 1), (None, "many", 1), (2, None, 2)],
)
def test_threads_are_those_asked_for_else_those_of_the_slurm_task(asked, slurm, expected, monkeypatch):
    """The tests start with one."""
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if slurm is not None:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", slurm)
    try:
        use_threads(TrainerConfig(threads=asked))
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(1)
