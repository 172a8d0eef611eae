"""BatchNorm's statistics after recalibration are those of the batches, and nothing else changes."""

import torch
from torch import nn

from tests.methods import tiny
from xfeedback.methods.lap import LAPConfig, LAPFeedback
from xfeedback.models.recalibrate import recalibrate
from xfeedback.types import Batch, Phase

draws = torch.Generator().manual_seed(0)


def batches(n: int = 4) -> list[Batch]:
    x = 3 + 2 * torch.randn(n, 8, 3, 5, 5, generator=draws)
    return [Batch(x=part, y=torch.zeros(8, dtype=torch.long), index=torch.arange(8)) for part in x]


def test_statistics_are_means_over_the_batches_and_weights_stay():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = batches()
    assert recalibrate(network, given, 17) == 24
    first = network[0]
    torch.testing.assert_close(first.running_mean, torch.stack([b.x.mean((0, 2, 3)) for b in given[:3]]).mean(0))
    torch.testing.assert_close(first.running_var, torch.stack([b.x.var((0, 2, 3)) for b in given[:3]]).mean(0))
    assert (first.momentum, network[3].momentum) == (0.1, 0.1)
    assert not any(module.training for module in network.modules())
    for name, value in network.state_dict().items():
        assert "running" in name or "tracked" in name or value.equal(before[name])


def test_a_network_without_batch_norm_sees_nothing():
    assert recalibrate(nn.Conv2d(3, 1, 1), batches(), 100) == 0


def test_the_method_recalibrates_every_row_at_the_end_of_a_phase():
    for row in ("lap", "avg", "strided"):
        network = tiny.network("noisy").eval()
        before = network.features[1].running_mean.clone()  # type: ignore[union-attr]
        loader = tiny.batches()
        loader.set_epoch(5)
        for images in (0, 20):
            feedback = LAPFeedback(LAPConfig(row=row, recalibrate=images))  # type: ignore[arg-type]
            feedback.phase_end(network, Phase(name="0", train=loader, val={}))
            now = network.features[1].running_mean  # type: ignore[union-attr]
            assert torch.equal(now, before) == (images == 0)
        assert loader.epoch == 0
