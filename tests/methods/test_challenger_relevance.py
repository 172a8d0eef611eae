"""Challenger's relevance: as captum and the explainer have it, of which class, and from which pass."""

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam, LayerGradientXActivation
from torch import Tensor, nn

from tests.methods import tiny
from tests.methods.challenger_host import feedback_of, host_of, run, wide
from xfeedback.explain.lrp import relevance
from xfeedback.explain.relevance_maps import attributed
from xfeedback.feedback import Step
from xfeedback.models.running import mode


@pytest.mark.parametrize(("update", "grows"), [("no_update", 1), ("update", 2)])
def test_explaining_leaves_no_trace_and_one_step_moves_every_weight(update, grows):
    host = host_of(kind="noisy", bn_challenged=update)
    network = host.network
    network.above[1].eval()
    ids = {name: id(p) for name, p in network.named_parameters()}
    flags = [m.training for m in network.modules()]
    before = tiny.state(network)
    feedback = feedback_of(host)
    for number in range(4):
        step = Step(network, wide(), seed=0, position=("0", 0, 0, number), layers=feedback.layers, input_gradient=True)
        tracked = tiny.state(network)
        feedback.relevance(step, feedback.challenged_places(step), real=True)
        tiny.assert_same_bits(tiny.state(network), tracked)
    assert all(p.grad is None for p in network.parameters())
    network.load_state_dict(before)
    optimiser = torch.optim.SGD(network.parameters(), 1e-2)
    _, terms = run(host)
    torch.stack(list(terms.values())).sum().backward()
    optimiser.step()
    assert {name: id(p) for name, p in network.named_parameters()} == ids
    assert [m.training for m in network.modules()] == flags
    assert not any(m._forward_hooks or "forward" in m.__dict__ for m in network.modules())
    after = tiny.state(network)
    still = {name for name in ids if torch.equal(after[name], before[name])}
    assert still <= {"features.0.bias"}  # BatchNorm takes it out again
    assert int(after["above.0.num_batches_tracked"] - before["above.0.num_batches_tracked"]) == grows


@pytest.mark.parametrize("place", ["input", "features.pool1"])
@pytest.mark.parametrize("attribution", ["lrp_epsilon", "lrp_composite", "lrp_zplus", "lrp_gamma", "lrp_alpha_beta"])
def test_relevance_by_lrp_is_that_of_the_explainer(attribution, place):
    host = host_of(site="random", sites=(place,), attribution=attribution)
    step, _ = run(host)
    found = feedback_of(host).relevance(step, (place,), real=True)[place]
    expected = relevance(host.network, step.batch.x, step.batch.y, attribution[4:], place)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("share", ["auto", "never"])
def test_relevance_by_gradients_is_captums(share):
    place, kind = "features.pool1", {"site": "random", "sites": ("features.pool1",), "share_forward": share}
    host = host_of(**kind)
    step, _ = run(host)
    found = feedback_of(host).relevance(step, (place,), real=True)[place]
    layer = host.network.get_submodule(place)
    product = LayerGradientXActivation(host.network, layer).attribute(step.batch.x, target=step.batch.y)
    torch.testing.assert_close(found, product.detach(), rtol=1e-9, atol=1e-12)
    cam_host = host_of(**kind, attribution="grad_cam")
    cam = feedback_of(cam_host).relevance(step, (place,), real=True)[place]
    theirs = LayerGradCam(cam_host.network, cam_host.network.get_submodule(place))
    expected = theirs.attribute(step.batch.x, target=step.batch.y, relu_attributions=True).detach()
    torch.testing.assert_close(cam, expected.expand_as(cam), rtol=1e-9, atol=1e-12)


def test_grad_cam_of_a_dense_layer_is_each_samples_own():
    value, slope = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.5], [0.0, -5.0]])
    assert attributed(value, slope, "grad_cam").tolist() == [[2.0, 2.0], [0.0, 0.0]]


def test_grad_cam_at_the_input_is_the_last_map_enlarged():
    host = host_of(attribution="grad_cam")
    step, _ = run(host)
    found = feedback_of(host).relevance(step, ("input",), real=True)["input"]
    theirs = LayerGradCam(host.network, host.network.features)
    cam = theirs.attribute(step.batch.x, target=step.batch.y, relu_attributions=True).detach()
    expected = F.interpolate(cam, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_evaluation_mode_gives_the_map_even_of_a_network_with_batch_norm_and_dropout():
    host = host_of(kind="noisy")
    step, _ = run(host)
    found = feedback_of(host).relevance(step, ("input",), real=True)["input"]
    x = step.batch.x.clone().requires_grad_()
    with mode(host.network, training=False):
        (grad,) = torch.autograd.grad(host.network(x).gather(1, step.batch.y[:, None]).sum(), x)
    torch.testing.assert_close(found, (x * grad).detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("target", ["true", "predicted", "sampled", "margin"])
def test_targets(target):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)).double()
    host = host_of(network, target=target)
    step, _ = run(host)
    found = feedback_of(host).relevance(step, ("input",), real=True)["input"].flatten(1)
    rows = network[1].weight.detach()
    x, y, z = step.batch.x.flatten(1), step.batch.y, step.logits.detach()
    each = (x[:, None] * rows).unbind(1)
    if target == "sampled":
        classes = [min(range(10), key=lambda c, b=b: float((found[b] - each[c][b]).abs().max())) for b in range(len(y))]
        assert all(torch.allclose(found[b], each[c][b]) for b, c in enumerate(classes))
        assert len(set(classes)) > 1
        return
    others = z.scatter(1, y[:, None], -torch.inf).argmax(1)
    row = {"true": rows[y], "predicted": rows[z.argmax(1)], "margin": rows[y] - rows[others]}[target]
    torch.testing.assert_close(found, x * row, rtol=1e-12, atol=1e-12)


def test_training_through_the_map_differs_in_gradient_alone():
    losses, grads = [], []
    for through in (False, True):
        host = host_of(site="hidden", site_index=0, grad_through_map=through)
        _, terms = run(host)
        losses.append(terms["challenger/ce"].detach())
        grads.append(torch.autograd.grad(terms["challenger/ce"], host.network.head.weight)[0])
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
    assert not torch.allclose(*grads)


class Dropping(nn.Module):
    """Dropout behind two convolutions: in front of it evaluation mode needs no pass of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 4, 5, stride=2), nn.ReLU()
        self.conv2, self.relu2, self.pool = nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2)
        self.drop, self.hidden, self.relu3 = nn.Dropout(0.4), nn.Linear(216, 16), nn.ReLU()
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.pool(self.relu2(self.conv2(self.relu1(self.conv1(x))))).flatten(1))
        return self.head(self.relu3(self.hidden(h)))


@pytest.mark.parametrize("attribution", ["grad_x_input", "fgsm", "grad_cam", "lrp_epsilon", "lrp_composite"])
@pytest.mark.parametrize("sites", [("input",), ("relu1",), ("pool",), ("relu3",), ("input", "relu1", "relu3")])
def test_what_the_clean_pass_has_computed_is_not_computed_again_and_losses_stay(attribution, sites):
    if attribution == "grad_cam" and "relu3" in sites:
        return  # for maps
    losses = []
    for share in ("auto", "never"):
        torch.manual_seed(0)
        options = {"site": "all" if len(sites) > 1 else "random", "sites": sites, "attribution": attribution}
        host = host_of(Dropping().double(), share_forward=share, s_max=1.0, **options)
        _, terms = run(host)
        total = torch.stack(list(terms.values())).sum()
        losses.append([total.detach(), *torch.autograd.grad(total, list(host.network.parameters()))])
    for shared, apart in zip(*losses, strict=True):
        torch.testing.assert_close(shared, apart, rtol=1e-9, atol=1e-12)
