"""XBL-D: its gradient against finite differences, its map against captum, its refusals."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn

from tests.explain.nets import images, small_cam
from tests.methods import tiny
from tests.methods.differences import assert_gradients_match_finite_differences
from xfeedback import models
from xfeedback.errors import UserError
from xfeedback.feedback import Step
from xfeedback.losses import distance_aware, distance_to_region, pool_mask
from xfeedback.methods import XBL
from xfeedback.methods.xbl import XBLConfig, XBLFeedback
from xfeedback.models.running import tapped
from xfeedback.types import Batch

TARGETS = ("prob", "logit", "centred")


def masked(n: int = 5) -> Batch:
    x, y = images(n)
    mask = torch.rand(n, 8, 8, generator=torch.Generator().manual_seed(3)) < 0.15
    mask[:, 2, 2] = True
    return Batch(x=x, y=y, index=torch.arange(n), mask=mask)


def prepared(network: nn.Module, **options: Any) -> XBLFeedback:
    feedback = tiny.feedback("xbl", **options)
    feedback.prepare(network, torch.zeros(1, 2, 8, 8, dtype=torch.float64))
    assert isinstance(feedback, XBLFeedback)
    return feedback


def step_of(network: nn.Module, batch: Batch, feedback: XBLFeedback) -> Step:
    return Step(network, batch, seed=0, position=("0", 0, 0, 0), layers=feedback.layers)


def distance_term(network: nn.Module, batch: Batch, **options: Any) -> torch.Tensor:
    feedback = prepared(network, **options)
    return feedback.penalty(step_of(network, batch, feedback))["distance"]


@pytest.mark.parametrize(("mode", "predicted"), [("closed", (1, 1)), ("autograd", (1, 2)), ("auto", (1, 1))])
def test_passes_in_one_step(mode, predicted):
    assert tiny.passes(tiny.module(tiny.feedback("xbl", cam_mode=mode))) == predicted


def test_passes_beside_saliency_guided():
    host = tiny.module(tiny.feedback("xbl"), tiny.feedback("saliency_guided"))
    assert tiny.passes(host) == (2, 2)  # one network, two inputs: the clean pass serves both explanations


@pytest.mark.parametrize("mode", ["closed", "autograd"])
@pytest.mark.parametrize("target", TARGETS)
def test_gradients_equal_finite_differences_in_every_tensor(target, mode):
    """Softplus keeps the map smooth; the head's bias moves the softmax, so only `prob` reaches it."""
    network, batch = small_cam(smooth=True), masked()
    without = () if target == "prob" else ("head.bias",)
    assert_gradients_match_finite_differences(
        network,
        lambda: distance_term(network, batch, target=target, cam_mode=mode, guided=False),
        without=without,
    )


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_closed_form_and_autograd_give_the_same_term_and_gradients(target, guided):
    network, batch = small_cam(), masked()
    terms = [distance_term(network, batch, target=target, guided=guided, cam_mode=m) for m in ("closed", "autograd")]
    torch.testing.assert_close(*terms, rtol=1e-12, atol=0)
    grads = [torch.autograd.grad(t, list(network.parameters()), allow_unused=True) for t in terms]
    for closed, automatic in zip(*grads, strict=True):
        torch.testing.assert_close(
            torch.zeros(()) if closed is None else closed,
            torch.zeros(()) if automatic is None else automatic,
            rtol=1e-12,
            atol=1e-13,
        )


@pytest.mark.parametrize("deep", [False, True])
def test_map_equals_captum(deep):
    network, batch = small_cam(deep=deep), masked()
    if deep:
        network.gap_head = None
    feedback = prepared(network, target="logit", guided=False)
    found = feedback.cam(step_of(network, batch, feedback))
    oracle = LayerGradCam(network, network.features).attribute(batch.x, target=batch.y, relu_attributions=True)[:, 0]
    torch.testing.assert_close(found, oracle, rtol=1e-12, atol=1e-12)


def test_term_is_the_weighted_mean_over_samples_that_count():
    """Of five samples one is not annotated and one has an empty region: the mean is over three."""
    network, batch = small_cam(), masked()
    batch.mask[1] = False
    batch = replace(batch, annotated=torch.tensor([True, True, True, False, True]))
    feedback = prepared(network, c_exp=3.0)
    step = step_of(network, batch, feedback)
    found = feedback.penalty(step)["distance"]
    cam, total = feedback.cam(step).detach(), 0.0
    for b in (0, 2, 4):
        distance = distance_to_region(pool_mask(batch.mask[b : b + 1], (8, 8)))
        total += float(distance_aware(cam[b : b + 1], distance, torch.tensor([True]))[0])
    assert found.item() == pytest.approx(3 * total / 3, rel=1e-12)
    assert step.reports["xbl/annotated_share"].item() == pytest.approx(0.6)
    assert step.reports["xbl/dead_share"].item() == 0


@pytest.mark.parametrize("mode", ["closed", "autograd"])
@pytest.mark.parametrize("target", ["logit", "centred"])
def test_scaling_the_features_changes_nothing(target, mode):
    """A -> 10 A scales the map, whose expected distance stays; with `prob` the softmax would change too."""
    network, batch = small_cam(rectified=True), masked()
    one = distance_term(network, batch, target=target, cam_mode=mode)
    with torch.no_grad():
        network.features[2].weight *= 10
        network.features[2].bias *= 10
    ten = distance_term(network, batch, target=target, cam_mode=mode)
    assert one > 0
    torch.testing.assert_close(ten, one, rtol=1e-10, atol=0)


@pytest.mark.parametrize("mode", ["closed", "autograd"])
def test_empty_full_and_missing_annotations_mix_in_a_batch(mode):
    """An empty mask and a sample without annotation count nowhere; an all-true mask counts, with l = 0 exactly."""
    network, batch = small_cam(), masked()
    batch.mask[0], batch.mask[1] = False, True
    batch = replace(batch, annotated=torch.tensor([True, True, False, True, True]))
    feedback = prepared(network, cam_mode=mode, c_exp=1.0)
    step = step_of(network, batch, feedback)
    term = feedback.penalty(step)["distance"]
    values, counts, alive = feedback._values(step)
    assert counts.tolist() == alive.tolist() == [False, True, False, True, True]
    assert values[:3].tolist() == [0, 0, 0]
    assert term.item() == pytest.approx((values[3] + values[4]).item() / 3, rel=1e-12)
    (grad,) = torch.autograd.grad(term, network.features[0].weight)
    assert torch.isfinite(grad).all()
    assert grad.abs().max() > 0


def test_order_and_company_of_samples_do_not_matter():
    network, batch = small_cam(), masked()
    feedback = prepared(network)

    def losses(rows: list[int]) -> torch.Tensor:
        part = replace(batch, x=batch.x[rows], y=batch.y[rows], mask=batch.mask[rows])
        cam = feedback.cam(step_of(network, part, feedback))
        return distance_aware(cam, distance_to_region(part.mask), torch.ones(len(rows), dtype=torch.bool))[0]

    whole = losses([0, 1, 2, 3, 4])
    torch.testing.assert_close(losses([3, 0, 4, 1, 2]), whole[[3, 0, 4, 1, 2]], rtol=1e-12, atol=0)
    torch.testing.assert_close(losses([2]), whole[[2]], rtol=1e-12, atol=0)


def test_predicted_class_can_be_explained():
    network, batch = small_cam(), masked()
    feedback = prepared(network, cam_class="pred", cam_mode="autograd")
    predicted = replace(batch, y=network(batch.x).argmax(1))
    assert not torch.equal(predicted.y, batch.y)
    of_label = prepared(network, cam_class="label", cam_mode="autograd")
    expected = of_label.cam(step_of(network, predicted, of_label))
    torch.testing.assert_close(feedback.cam(step_of(network, batch, feedback)), expected, rtol=0, atol=0)


def test_without_second_order_the_head_gets_nothing():
    network, batch = small_cam(), masked()
    term = distance_term(network, batch, second_order=False)
    head, below = torch.autograd.grad(term, [network.head.weight, network.features[0].weight], allow_unused=True)
    assert head is None
    assert below.abs().max() > 0


@pytest.mark.parametrize("mode", ["closed", "autograd"])
def test_map_is_float32_under_bf16_autocast_and_huge_logits_stay_finite(mode):
    network, batch = tiny.network(), tiny.batch()
    with torch.no_grad():
        network.head.weight *= 1e6
    feedback = prepared(network, cam_mode=mode)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = step_of(network, batch, feedback)
        assert step.logits.dtype == torch.bfloat16
        assert step.logits.abs().max() > 1e4
        cam, term = feedback.cam(step), feedback.penalty(step)["distance"]
    assert cam.dtype == torch.float32
    assert torch.isfinite(term)
    grads = torch.autograd.grad(term, list(network.parameters()), allow_unused=True)
    assert all(torch.isfinite(g).all() for g in grads if g is not None)


@pytest.mark.parametrize("mode", ["closed", "autograd"])
def test_saturated_predictions_have_dead_maps_and_cost_nothing(mode):
    network, batch = small_cam(), masked()
    with torch.no_grad():
        network.head.bias[:] = torch.tensor([1e4, 0, 0, 0])
    batch = replace(batch, y=torch.zeros(5, dtype=torch.long))
    feedback = prepared(network, cam_mode=mode)
    step = step_of(network, batch, feedback)
    term = feedback.penalty(step)["distance"]
    assert term.item() == 0
    assert step.reports["xbl/dead_share"].item() == 1
    grads = torch.autograd.grad(term, list(network.parameters()), allow_unused=True)
    assert all(g is None or not g.any() for g in grads)


def test_only_cells_that_see_the_patch_react_to_its_colour():
    """`gapnet` sees 26 pixels, so at most 9 of the 36 cells of a centred 24-pixel box change with a corner patch."""
    network = models.build(models.config_class("gapnet")(name="gapnet", init="he"), (1, 32, 32), 10, 0)
    x = torch.rand(4, 1, 32, 32)
    recoloured = x.clone()
    recoloured[:, :, :4, :4] = 1 - recoloured[:, :, :4, :4]
    maps = []
    for image in (x, recoloured):
        with tapped(network, ["features"]) as features:
            network(image)
        maps.append(features["features"])
    changed = (maps[0] != maps[1]).any(1)[:, 1:7, 1:7]
    assert 0 < changed.flatten(1).sum(1).max() <= 9
    assert not changed[:, 3:, :].any()
    assert not changed[:, :, 3:].any()


def test_the_closed_form_is_refused_where_it_does_not_apply():
    with pytest.raises(UserError, match=r"cam_mode=closed needs .* choose method.xbl.cam_mode=autograd"):
        prepared(tiny.network("noisy"), cam_mode="closed")
    with pytest.raises(ValueError, match="second_order=False must be true when cam_mode=closed"):
        XBLConfig(cam_mode="closed", second_order=False)


def test_unknown_layers_are_refused_before_training():
    with pytest.raises(UserError, match=r"unknown layer 'featurs'.*Did you mean 'features'"):
        XBL(tiny.network(), layer="featurs")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("6", r"layer '6' gives \(1, 2\), no map \(1, K, h, w\)"),
        ("0", "what layer '0' of Sequential gives is overwritten by the next one"),
        ("2", "layer '2' of Sequential runs 2 times"),
        ("2.idle", "layer '2.idle' of Sequential never runs"),
    ],
)
def test_layers_that_give_no_map_of_their_own_are_refused_before_training(layer, message):
    same = nn.Identity()
    same.idle = nn.Conv2d(4, 4, 1)
    convolution = nn.Conv2d(1, 4, 3)
    network = nn.Sequential(
        convolution, nn.ReLU(inplace=True), same, same, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    with pytest.raises(UserError, match=f"method.xbl.layer: .*{message}"):
        XBL(network, example=torch.zeros(1, 1, 12, 12), layer=layer)


def test_a_network_that_declares_nothing_needs_an_example_or_a_layer():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UserError, match=r"give example=.* or name the layer"):
        XBL(network)
    assert XBL(network, example=torch.zeros(1, 1, 12, 12)).feedbacks[0].layers == ("1",)
    assert XBL(network, layer="0").feedbacks[0].layers == ("0",)


def test_batches_without_masks_are_refused():
    with pytest.raises(UserError, match="method=xbl needs batches with a mask"):
        tiny.trained(tiny.module(tiny.feedback("xbl")), tiny.changed(lambda b: replace(b, mask=None)))
