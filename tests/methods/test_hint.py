"""HINT against a plain loop with captum's map, finite differences and worked cases."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import nn

from tests.explain.nets import images, small_cam
from tests.methods import tiny
from tests.methods.differences import assert_gradients_match_finite_differences
from xfeedback.errors import UserError
from xfeedback.feedback import Step
from xfeedback.losses import disagreement, min_max
from xfeedback.methods.hint import HINTFeedback
from xfeedback.types import Batch


def masked(n: int = 5) -> Batch:
    x, y = images(n)
    mask = torch.rand(n, 16, 16, generator=torch.Generator().manual_seed(3)) < 0.3
    return Batch(x=x, y=y, index=torch.arange(n), mask=mask)


def stepped(network: nn.Module, batch: Batch, **options: object) -> tuple[Step, HINTFeedback]:
    feedback = tiny.feedback("hint", **options)
    feedback.prepare(network, batch.x[:1])
    return Step(network, batch, seed=0, position=("0", 0, 0, 0), layers=feedback.layers), feedback


def penalty(network: nn.Module, batch: Batch, **options: object) -> torch.Tensor:
    step, feedback = stepped(network, batch, **options)
    return feedback.penalty(step)["agreement"]


def test_equals_a_loop_over_captums_maps():
    """Sample 1 is not annotated and sample 2 has an empty region: the mean is over the other three."""
    network, batch = small_cam(), masked()
    batch.mask[2] = False
    batch = replace(batch, annotated=torch.tensor([True, False, True, True, True]))
    maps = LayerGradCam(network, network.features).attribute(batch.x, target=batch.y, relu_attributions=True)
    total = 0.0
    for b in (0, 3, 4):
        large = F.interpolate(maps[b : b + 1], (16, 16), mode="bilinear")[0, 0].detach()
        scaled = (large - large.min()) / (large.max() - large.min())
        cells = [(p, q) for p in range(16) for q in range(16)]
        total += sum((float(scaled[c]) - float(batch.mask[b][c])) ** 2 for c in cells) / 256
    assert penalty(network, batch, weight=2.0).item() == pytest.approx(2 * total / 3, rel=1e-12)


@pytest.mark.parametrize("mode", ["closed", "autograd"])
def test_gradients_equal_finite_differences_in_every_tensor(mode):
    network, batch = small_cam(smooth=True), masked()
    assert_gradients_match_finite_differences(
        network, lambda: penalty(network, batch, cam_mode=mode), without=("head.bias",)
    )


def test_a_perfect_map_costs_nothing_and_an_opposite_one_everything():
    region = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.4
    perfect = min_max(7.0 * region)[0]
    assert disagreement(perfect, region).tolist() == [0, 0, 0]
    assert disagreement(1 - perfect, region).tolist() == [1, 1, 1]


def test_dead_maps_cost_nothing_and_are_reported():
    network, batch = small_cam(), masked()
    with torch.no_grad():
        network.head.weight.zero_()
    step, feedback = stepped(network, batch)
    assert feedback.penalty(step)["agreement"].item() == 0
    assert step.reports["hint/dead_share"].item() == 1


def test_batches_without_masks_are_refused():
    with pytest.raises(UserError, match="method=hint needs batches with a mask of the right region"):
        penalty(small_cam(), replace(masked(), mask=None))
