"""Class activation maps by plain loops, by hand and by identities; none of them on networks without a map."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.nets import SmallCam, images, small_cam
from tests.models.helpers import small
from xfeedback import models
from xfeedback.explain import explained_output, grad_cam
from xfeedback.explain.cams import (
    CAMS,
    activation_norm,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    score_cam,
)
from xfeedback.explain.scored import NEED_LAYER, SLOW, Explained
from xfeedback.models.running import tapped
from xfeedback.models.surgery import extend

X, Y = images(3)
NAMES = (*CAMS, "score_cam")


def passed(network):
    """Logits of the classes and features with their graph, and by autograd of each sample alone their gradients."""
    with tapped(network, ["features"]) as features:
        logits = network(X)
    output, a = explained_output(logits, Y, "logit"), features["features"]
    grads = [torch.autograd.grad(output[b], a, retain_graph=True)[0][b] for b in range(len(X))]
    return output, a, torch.stack(grads)


def test_grad_cam_plus_plus_by_hand():
    """A = [[1, 2], [0, 1]] sums to 4; G is 1 in the top row, -1 below: alpha = 1 / (2 + 4) there, so w = 1/3."""
    a = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]]]], dtype=torch.float64, requires_grad=True)
    output = (a[:, 0] * torch.tensor([[1.0, 1.0], [-1.0, -1.0]])).sum((1, 2))
    torch.testing.assert_close(grad_cam_plus_plus(output, a), a.detach()[:, 0] / 3)


def test_alpha_is_0_where_its_denominator_is():
    a = torch.tensor([[[[-1.0, -1.0]]]], requires_grad=True)  # 2 + 1 * (-2) = 0
    found = grad_cam_plus_plus(a.sum((1, 2, 3)), a)
    assert torch.equal(found, torch.zeros(1, 1, 2))


@pytest.mark.parametrize("deep", [False, True])
def test_grad_cam_plus_plus_equals_a_loop_by_the_published_equation(deep):
    network = small_cam(deep=deep, rectified=True)
    output, a, g = passed(network)
    for b in range(len(X)):
        total = torch.zeros(8, 8, dtype=torch.float64)
        for k in range(a.shape[1]):
            weight = 0.0
            for grad in g[b, k].flatten().tolist():
                below = 2 * grad**2 + float(a[b, k].detach().sum()) * grad**3
                weight += grad**2 / below * max(grad, 0) if below else 0.0
            total += weight * a[b, k].detach()
        found = grad_cam_plus_plus(output, a)[b].detach()
        assert (found > 0).any()
        torch.testing.assert_close(found, total.relu(), rtol=1e-10, atol=1e-12)


def test_each_cell_by_its_own_gradient_equals_a_loop():
    output, a, g = passed(small_cam(deep=True))
    layer, hires = torch.zeros(3, 8, 8, dtype=torch.float64), torch.zeros(3, 8, 8, dtype=torch.float64)
    for k in range(a.shape[1]):
        layer += g[:, k].clamp_min(0) * a[:, k].detach()
        hires += g[:, k] * a[:, k].detach()
    torch.testing.assert_close(layer_cam(output, a).detach(), layer.clamp_min(0))
    torch.testing.assert_close(hires_cam(output, a).detach(), hires)
    assert (hires < 0).any()


def test_behind_pooling_and_a_linear_layer_hires_cam_is_grad_cam_and_cam():
    network = small_cam()
    output, a, _ = passed(network)
    cam = torch.einsum("bkhw,bk->bhw", a, network.head.weight[Y]) / 64  # Zhou et al. 2016
    torch.testing.assert_close(hires_cam(output, a), cam)
    torch.testing.assert_close(grad_cam(output, a, signed=True), cam)
    torch.testing.assert_close(hires_cam(output, a).sum((1, 2)) + network.head.bias[Y], output)


def test_where_no_gradient_is_negative_layer_cam_is_hires_cam():
    network = small_cam(rectified=True)
    with torch.no_grad():
        network.head.weight.abs_()
    output, a, _ = passed(network)
    torch.testing.assert_close(layer_cam(output, a), hires_cam(output, a))


@pytest.mark.parametrize("chunk", [1, 4, "auto"])
def test_score_cam_equals_a_loop_over_images_and_channels(chunk):
    network = small_cam(deep=True)
    a = passed(network)[1].detach()[:, :, ::2, ::2].clone()
    a[1, 2] = 0.5  # a constant channel hides the whole image
    expected = torch.zeros(3, 4, 4, dtype=torch.float64)
    empty = network(torch.zeros_like(X[:1]))[0]
    for b in range(3):
        rises = []
        for k in range(6):
            large = F.interpolate(a[b, k][None, None], (8, 8), mode="bilinear", align_corners=False)
            spread = large.max() - large.min()
            mask = (large - large.min()) / spread if spread > 0 else torch.zeros_like(large)
            rises.append(float((network(X[b : b + 1] * mask)[0] - empty)[Y[b]].detach()))
        shares = torch.tensor(rises, dtype=torch.float64).exp()
        expected[b] = sum(share * a[b, k] for k, share in enumerate((shares / shares.sum()).tolist())).clamp_min(0)
    found = score_cam(network, X, Y, a, chunk=chunk)
    assert (found > 0).any()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_activation_norm_knows_neither_class_nor_head():
    network = small_cam()
    explained = Explained(network=network, layer="features", baseline=None)
    first = explained.maps(["activation_norm"], X, target=Y)[0]["activation_norm"]
    torch.testing.assert_close(first, passed(network)[1].detach().square().sum(1).sqrt())
    with torch.no_grad():
        network.head.weight.mul_(-3)
    assert torch.equal(first, explained.maps(["activation_norm"], X, target=(Y + 1) % 4)[0]["activation_norm"])


def test_all_come_from_one_pass_as_maps_of_the_input():
    network = small_cam(dtype=torch.float32).eval()
    x, calls = X.float(), []
    handle = network.register_forward_hook(lambda *_: calls.append(1))
    maps, logits = Explained(network=network, layer="features", baseline=None).maps(tuple(CAMS), x)
    handle.remove()
    assert len(calls) == 1
    assert all(m.shape == (3, 8, 8) and m.min() >= 0 and not m.requires_grad for m in maps.values())
    output, features = explained_output(logits, logits.argmax(1), "logit"), network.features(x)
    output = explained_output(network.head(features.mean((2, 3))), logits.argmax(1), "logit")
    torch.testing.assert_close(maps["hires_cam"], hires_cam(output, features).relu().detach())


def test_all_explain_a_vanilla_network_and_one_with_attention_pooling():
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for attention in (False, True):
        network = models.build(small("resnet18"), (3, 32, 32), 4, seed=0)
        if attention:
            extend(network, example=x[:1])
        explained = Explained(network=network.eval(), layer="layer1", baseline=None)
        names = (*CAMS, "guided_backprop")
        assert explained.usable(names, x) == (names, ())
        maps, _ = explained.maps(names, x)
        assert all(m.shape == (2, 32, 32) and m.isfinite().all() and m.sum() > 0 for m in maps.values())
        assert len({float(m.sum()) for m in maps.values()}) == len(names)


def test_score_cam_takes_a_pass_a_channel_and_counts_as_slow():
    assert "score_cam" in SLOW
    network, seen = small_cam().eval(), []
    handle = network.head.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
    found = Explained(network=network, layer="features", baseline=None).maps(["score_cam"], X)[0]["score_cam"]
    handle.remove()
    assert sum(seen) == len(X) + 1 + 6 * len(X)  # the pass, one example for the size of a chunk, each channel
    assert found.shape == (3, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_refused_where_there_is_no_map(name):
    assert name in NEED_LAYER
    flat = nn.Sequential(nn.Flatten(), nn.Linear(128, 4)).double()
    kept, notes = Explained(network=flat, layer=None, baseline=None).usable([name], X)
    assert (kept, notes) == ((), (f"{name} was left out: Sequential has no feature map that it could explain",))
    for kind, words in (("series", "series"), ("text", "texts")):
        notes = Explained(network=flat, layer=None, baseline=None, kind=kind).usable([name], X)[1]
        assert notes == (f"{name} was left out: it is for images, not for {words}",)


@pytest.mark.parametrize("name", CAMS)
def test_half_precision_maps_are_float32(name):
    network = SmallCam().to(torch.bfloat16)
    features = network.features(X.to(torch.bfloat16))
    output = explained_output(network.head(features.mean((2, 3))), Y, "logit")
    assert CAMS[name](output, features).dtype == torch.float32
    assert activation_norm(features).dtype == torch.float32
