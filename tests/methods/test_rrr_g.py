"""RRR-G against a plain loop with captum's map, finite differences and worked numbers."""

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
from xfeedback.losses import min_max, upsampled
from xfeedback.types import Batch

WRONG = torch.rand(5, 16, 16, generator=torch.Generator().manual_seed(2)) < 0.2


def marked() -> Batch:
    """Images of 8x8 whose wrong region is given at 16x16, so that the map has to be enlarged."""
    x, y = images()
    return Batch(x=x, y=y, index=torch.arange(5), wrong=WRONG)


def penalty(network: nn.Module, batch: Batch, **options: object) -> torch.Tensor:
    feedback = tiny.feedback("rrr_g", **options)
    feedback.prepare(network, batch.x[:1])
    step = Step(network, batch, seed=0, position=("0", 0, 0, 0), layers=feedback.layers)
    return feedback.penalty(step)["cam"]


@pytest.mark.parametrize("deep", [False, True])
def test_equals_a_loop_over_captums_signed_maps(deep):
    network, batch = small_cam(deep=deep), marked()
    network.gap_head = None if deep else "head"
    with torch.no_grad():
        predicted = network(batch.x).argmax(1)
    maps = LayerGradCam(network, network.features).attribute(batch.x, target=predicted, relu_attributions=False)
    assert (maps < 0).any()
    total = 0.0
    for b in range(5):
        large = F.interpolate(maps[b : b + 1], (16, 16), mode="bilinear")[0, 0].detach()
        scaled = (large - large.min()) / (large.max() - large.min())
        total += sum(float(scaled[p, q]) ** 2 for p, q in WRONG[b].nonzero().tolist())
    assert penalty(network, batch, weight=3.0).item() == pytest.approx(3 * total / 5, rel=1e-12)


@pytest.mark.parametrize("mode", ["closed", "autograd"])
def test_gradients_equal_finite_differences_in_every_tensor(mode):
    network, batch = small_cam(smooth=True), marked()
    assert_gradients_match_finite_differences(
        network, lambda: penalty(network, batch, cam_mode=mode), without=("head.bias",)
    )


def test_worked_numbers_of_scaling():
    """-2, 0, 2 become 0, 1/2, 1; a constant map becomes 0 and sends no gradient."""
    maps = torch.tensor([[[-2.0, 0.0, 2.0]], [[3.0, 3.0, 3.0]]], requires_grad=True)
    scaled, alive = min_max(maps)
    assert scaled.tolist() == [[[0.0, 0.5, 1.0]], [[0.0, 0.0, 0.0]]]
    assert alive.tolist() == [True, False]
    scaled[1].sum().backward()
    assert not maps.grad.any()


def test_enlarging_keeps_a_map_of_the_same_size():
    maps = torch.rand(2, 4, 4)
    assert torch.equal(upsampled(maps, (4, 4)), maps)


def test_one_backward_more_only_without_the_closed_form():
    assert tiny.passes(tiny.module(tiny.feedback("rrr_g"))) == (1, 1)
    assert tiny.passes(tiny.module(tiny.feedback("rrr_g"), kind="noisy")) == (1, 2)


def test_a_map_is_computed_once_for_methods_that_ask_alike():
    """HINT asks for the label, RRR-G by default for the prediction, and without the ReLU: nothing is shared."""
    same = tiny.module(tiny.feedback("hint"), tiny.feedback("xbl", target="logit", guided=False), kind="noisy")
    other = tiny.module(tiny.feedback("hint"), tiny.feedback("rrr_g", cam_class="label"), kind="noisy")
    assert tiny.passes(same) == (1, 2)
    assert tiny.passes(other) == (1, 3)


def test_batches_without_any_annotation_are_refused():
    x, y = images()
    with pytest.raises(UserError, match="method=rrr_g needs batches with a wrong or a right region"):
        penalty(small_cam(), Batch(x=x, y=y, index=torch.arange(5)))
