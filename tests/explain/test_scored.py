from functools import partial

import pytest
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion, Saliency
from torch import nn

from xfeedback.explain.attribution import enlarged, integrated_gradients, occlusion
from xfeedback.explain.scored import Explained, floor_map

numbers = torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 5, 3, padding=1), nn.Softplus(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    return nn.Sequential(nn.Sequential(*layers), *head).double().eval()


X = torch.randn(3, 2, 16, 12, dtype=torch.float64, generator=numbers)
BASELINE = torch.randn(2, 16, 12, dtype=torch.float64, generator=numbers)


def test_integrated_gradients_equal_captum(network):
    target = network(X).argmax(1)
    found = integrated_gradients(network, X, target, BASELINE, steps=50)
    oracle = IntegratedGradients(network).attribute(
        X, BASELINE.expand_as(X), target, n_steps=50, method="riemann_middle"
    )
    torch.testing.assert_close(found, oracle, rtol=1e-6, atol=1e-9)  # captum's points are rounded to single precision


def test_integrated_gradients_add_up_to_the_rise_of_the_logit(network):
    target = network(X).argmax(1)
    rise = (network(X) - network(BASELINE.expand_as(X))).gather(1, target[:, None])[:, 0]
    found = integrated_gradients(network, X, target, BASELINE, steps=400).sum((1, 2, 3))
    torch.testing.assert_close(found, rise, rtol=1e-3, atol=1e-4)


def test_occlusion_equals_captum(network):
    target = network(X).argmax(1)
    found = enlarged(occlusion(network, X, target, (4, 3), fill=0.25), (16, 12))
    oracle = Occlusion(network).attribute(X, (2, 4, 4), (2, 4, 4), 0.25, target)
    torch.testing.assert_close(found.float(), oracle[:, 0], rtol=1e-5, atol=1e-7)  # captum gives float32


@pytest.mark.parametrize(("size", "grid"), [((7, 9), (3, 4)), ((16, 12), (7, 5)), ((5, 6), (8, 6))])
def test_the_fall_of_a_cell_is_drawn_over_what_was_covered(size, grid):
    """A network that reads one pixel: the map is there at this pixel, and only in cells that were covered with it."""
    x, target = torch.ones(1, 1, *size), torch.zeros(1, dtype=torch.int64)
    for row in range(size[0]):
        for column in range(size[1]):
            found = enlarged(occlusion(partial(_pixel, row, column), x, target, grid), size)[0]
            rows, columns = (torch.arange(s) * n // s for s, n in zip(size, grid, strict=True))
            assert torch.equal(found > 0, (rows == rows[row])[:, None] & (columns == columns[column]))


def _pixel(row, column, x):
    return x[:, 0, row, column, None]


def test_cells_of_the_occlusion_cover_every_pixel_once(network):
    """On a grid that does not divide the image, of a linear network, the falls add up to the whole."""
    weights = torch.randn(2, 16, 12, dtype=torch.float64, generator=numbers)

    def linear(x):
        return (x * weights).sum((1, 2, 3))[:, None]

    falls = occlusion(linear, X, torch.zeros(3, dtype=torch.int64), (5, 7))
    torch.testing.assert_close(falls.sum((1, 2)), linear(X)[:, 0])


def test_maps_equal_captum_each(network):
    explained = Explained(network=network, layer="0", baseline=BASELINE)
    names = ("grad_cam", "gradient", "integrated_gradients", "occlusion")
    maps, logits = explained.maps(names, X)
    target = network(X).argmax(1)
    torch.testing.assert_close(logits, network(X))
    cam = LayerGradCam(network, network[0]).attribute(X, target, relu_attributions=True)
    cam = F.interpolate(cam, (16, 12), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(maps["grad_cam"], cam, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(maps["gradient"], Saliency(network).attribute(X, target).mean(1))
    path = IntegratedGradients(network).attribute(X, BASELINE.expand_as(X), target, method="riemann_middle")
    torch.testing.assert_close(maps["integrated_gradients"], path.abs().mean(1), rtol=1e-6, atol=1e-9)
    falls = Occlusion(network).attribute(X, (2, 2, 2), (2, 2, 2), 0.0, target)[:, 0].relu()
    torch.testing.assert_close(maps["occlusion"].float(), falls, rtol=1e-5, atol=1e-7)
    assert all(not m.requires_grad and m.shape == (3, 16, 12) and m.min() >= 0 for m in maps.values())
    assert all(p.grad is None for p in network.parameters())


def test_grad_cam_and_gradient_share_one_forward_pass(network):
    calls = []
    handle = network.register_forward_hook(lambda *_: calls.append(1))
    Explained(network=network, layer="0", baseline=BASELINE).maps(("grad_cam", "gradient", "uniform"), X)
    handle.remove()
    assert len(calls) == 1


def test_floors_know_nothing_of_the_network():
    uniform, random, centre = (floor_map(name, X[:, 0]) for name in ("uniform", "random", "centre"))
    assert (uniform == 1).all()
    assert torch.equal(random, floor_map("random", X[:, 0]))
    assert not torch.equal(random, floor_map("random", X[:, 0], number=1))
    assert len(set(random.flatten().tolist())) == random.numel()
    assert torch.equal(centre, centre.flip(1))
    assert torch.equal(centre, centre.flip(2))
    assert (centre[:, 0, 0] < centre[:, 4, 3]).all()
    corner = centre[0, 0, 0] / floor_map("centre", torch.zeros(1, 3, 3))[0, 1, 1]
    assert corner.item() == pytest.approx(torch.exp(torch.tensor(-4.0)).item())
