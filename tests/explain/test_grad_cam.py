"""Grad-CAM against captum, against a plain loop, and its closed form against automatic differentiation."""

import itertools

import pytest
import torch
from captum.attr import LayerGradCam

from tests.explain.nets import SmallCam, images, small_cam, weights_of
from xfeedback.explain import closed_form_grad_cam, explained_output, grad_cam
from xfeedback.models.running import tapped

KINDS = ("prob", "logit", "centred", "log_prob", "sum_log_prob")


def forward(network, x):
    with tapped(network, ["features"]) as features:
        logits = network(x)
    return logits, features["features"]


def autograd_cam(network, x, y, kind="logit", **options):
    logits, features = forward(network, x)
    return grad_cam(explained_output(logits, y, kind), features, create_graph=True, **options)


def closed_cam(network, x, y, kind="logit", **options):
    logits, features = forward(network, x)
    return closed_form_grad_cam(logits, features, network.head.weight, y, kind=kind, **options)


def gradients(network, cam):
    """Gradients of a loss that weighs every cell differently."""
    weights = torch.arange(cam.numel(), dtype=cam.dtype).reshape(cam.shape).cos()
    found = torch.autograd.grad((cam * weights).sum(), weights_of(network), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(weights_of(network), found, strict=True)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("deep", [False, True])
def test_value_and_gradients_equal_captum(dtype, tolerance, deep):
    network = small_cam(dtype=dtype, deep=deep)
    x, y = images(dtype=dtype)
    oracle = LayerGradCam(network, network.features).attribute(
        x, target=y, relu_attributions=True, grad_kwargs={"create_graph": True}
    )[:, 0]
    found = autograd_cam(network, x, y)
    assert (found > 0).any()
    torch.testing.assert_close(found, oracle, rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(gradients(network, found), gradients(network, oracle), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max() + 1))


def test_captums_default_call_leaves_the_head_without_gradient_and_ours_does_not():
    network = small_cam()
    x, y = images()
    default = LayerGradCam(network, network.features).attribute(x, target=y, relu_attributions=True)
    assert torch.autograd.grad(default.sum(), network.head.weight, allow_unused=True) == (None,)
    (ours,) = torch.autograd.grad(autograd_cam(network, x, y).sum(), network.head.weight)
    assert ours.abs().max() > 0


@pytest.mark.parametrize("guided", [False, True])
def test_value_equals_a_plain_loop(guided):
    network = small_cam()
    x, y = images(3)
    for b in range(3):
        logits, features = forward(network, x[b : b + 1])
        (grad,) = torch.autograd.grad(logits[0, y[b]], features)
        total = torch.zeros(8, 8, dtype=torch.float64)
        for k in range(features.shape[1]):
            a, g = features[0, k].detach(), grad[0, k]
            counted = g * (a > 0) * (g > 0) if guided else g
            total += sum(counted.flatten().tolist()) / 64 * a
        found = autograd_cam(network, x, y, guided=guided)[b].detach()
        torch.testing.assert_close(found, total.clamp_min(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "guided"), list(itertools.product(KINDS, [False, True])))
@pytest.mark.parametrize("rectified", [False, True])
def test_closed_form_equals_autograd_in_value_and_gradient(kind, guided, rectified):
    network = small_cam(rectified=rectified)
    x, y = images(7)
    ours, oracle = (cam(network, x, y, kind, guided=guided) for cam in (closed_cam, autograd_cam))
    assert (ours > 0).any()
    torch.testing.assert_close(ours, oracle, rtol=1e-12, atol=1e-13)
    for found, expected in zip(gradients(network, ours), gradients(network, oracle), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_guided_needs_cells_of_both_signs_to_be_told_from_unguided():
    """The network above has negative activations, so that `guided` is tested where it matters."""
    network = small_cam()
    x, y = images()
    _, features = forward(network, x)
    assert 0.1 < float((features > 0).double().mean()) < 0.9
    assert not torch.allclose(autograd_cam(network, x, y), autograd_cam(network, x, y, guided=True))


def test_first_order_has_the_same_value_and_constant_channel_weights():
    network = small_cam()
    x, y = images()
    full, first = autograd_cam(network, x, y), autograd_cam(network, x, y, second_order=False)
    torch.testing.assert_close(first, full, rtol=0, atol=0)
    assert torch.autograd.grad(first.sum(), network.head.weight, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(full.sum(), network.head.weight, retain_graph=True)[0].abs().max() > 0
    below = network.features[0].weight
    # a linear head, the logit and no BatchNorm: below the map both gradients agree
    (of_first,), (of_full,) = (torch.autograd.grad(cam.sum(), below) for cam in (first, full))
    torch.testing.assert_close(of_first, of_full, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["logit", "centred"])
def test_map_scales_with_the_features(kind):
    torch.manual_seed(0)
    features = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    head = torch.nn.Linear(6, 4).double()
    y = torch.tensor([1, 3])
    one, ten = (
        closed_form_grad_cam(head(a.mean((2, 3))), a, head.weight, y, kind=kind) for a in (features, 10 * features)
    )
    torch.testing.assert_close(ten, 10 * one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_are_float32(dtype):
    network = SmallCam().to(dtype)
    x, y = images(dtype=dtype)
    logits, features = forward(network, x)
    closed = closed_form_grad_cam(logits, features, network.head.weight, y, kind="prob", guided=True)
    by_autograd = grad_cam(explained_output(logits, y, "prob"), features, guided=True, create_graph=True)
    assert closed.dtype == by_autograd.dtype == torch.float32
    torch.testing.assert_close(closed, by_autograd, rtol=0.1, atol=0.02 * float(closed.detach().max()))


@pytest.mark.parametrize("kind", ["prob", "logit", "centred"])
def test_huge_logits_give_finite_maps(kind):
    features = torch.rand(2, 3, 8, 8, requires_grad=True)
    weight = torch.tensor([[1e4, 0.0, 0.0], [0.0, 1e4, 0.0]], requires_grad=True)
    cam = closed_form_grad_cam(features.mean((2, 3)) @ weight.T, features, weight, torch.tensor([0, 1]), kind=kind)
    cam.sum().backward()
    assert torch.isfinite(cam).all()
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("kind", ["prob", "log_prob"])
@pytest.mark.parametrize("form", ["closed", "autograd"])
def test_certain_predictions_have_exact_maps_in_float32(kind, form):
    """At 1 - p = 1e-3 to 1e-9 the softmax's own gradient would lose up to all digits in float32."""
    numbers = torch.Generator().manual_seed(0)
    a = torch.rand(8, 6, 8, 8, generator=numbers, dtype=torch.float64)
    weight = torch.randn(4, 6, generator=numbers, dtype=torch.float64)
    weight[1] = 2
    bias = torch.zeros(8, 4, dtype=torch.float64)
    bias[:, 1] = torch.linspace(1, 15, 8)
    y = torch.ones(8, dtype=torch.long)

    def cam_and_gradient(dtype):
        features, head = a.to(dtype).requires_grad_(), weight.to(dtype)
        logits = features.mean((2, 3)) @ head.T + bias.to(dtype)
        if form == "closed":
            cam = closed_form_grad_cam(logits, features, head, y, kind=kind)
        else:
            cam = grad_cam(explained_output(logits, y, kind), features, create_graph=True)
        cam = cam / cam.detach().amax((1, 2), keepdim=True)
        (grad,) = torch.autograd.grad(cam.square().sum(), features)
        return cam.detach().double(), grad.double()

    for found, expected in zip(cam_and_gradient(torch.float32), cam_and_gradient(torch.float64), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
