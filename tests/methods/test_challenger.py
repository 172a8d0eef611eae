"""Challenger: equations against hand-worked numbers and split networks, passes that leave no trace, refusals."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam, LayerGradientXActivation
from scipy.stats import kstest
from torch import Tensor, nn

from tests.methods import tiny
from tests.methods.test_cost import Flops
from xfeedback import models
from xfeedback.config import from_mapping
from xfeedback.errors import UserError
from xfeedback.explain.lrp import relevance
from xfeedback.feedback import FeedbackModule, Step
from xfeedback.feedback.challenge import ChallengerConfig
from xfeedback.methods.challenger import ChallengerFeedback
from xfeedback.models.running import mode
from xfeedback.types import Batch

GAPNET = ("input", "features.pool1", "features.pool2", "features")


def host_of(network: nn.Module | None = None, *, kind: str = "gapnet", **options: Any) -> FeedbackModule:
    """A float64 host with the feedback alone; its place is the input unless told otherwise."""
    made = tiny.feedback("challenger", **{"site": "input", **options})
    network = tiny.network(kind) if network is None else network
    host = FeedbackModule(network, [made], example=torch.zeros(1, 1, 32, 32, dtype=next(network.parameters()).dtype))
    return host.double()


def feedback_of(host: FeedbackModule) -> ChallengerFeedback:
    (found,) = host.feedbacks
    assert isinstance(found, ChallengerFeedback)
    return found


def wide(n: int = 8) -> Batch:
    return replace(tiny.batch(n), x=tiny.batch(n).x.double())


def run(host: FeedbackModule, batch: Batch | None = None, number: int = 0) -> tuple[Step, dict[str, Tensor]]:
    return host.loss_terms(wide() if batch is None else batch, host.active(), ("0", 0, 0, number))


def test_the_default_is_gradient_times_input_at_one_place_a_step():
    host = host_of(site="random")
    assert feedback_of(host).places == GAPNET
    chosen = []
    for number in range(200):
        step = Step(host.network, wide(2), seed=0, position=("0", 0, 0, number))
        (place,) = feedback_of(host).challenged_places(step)
        chosen.append(place)
    assert all(30 <= chosen.count(place) <= 70 for place in GAPNET)


def test_a_linear_network_loses_exactly_the_evidence():
    """Without biases z_y falls by s sum (R^+)^2 / max R^+."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10, bias=False)).double()
    host = host_of(network, strength="fixed", s_max=1.3)
    step, _ = run(host)
    y = step.batch.y
    evidence = (network[1].weight[y] * step.batch.x.flatten(1)).clamp_min(0).detach()
    fall = 1.3 * evidence.square().sum(1) / (evidence.amax(1) + 1e-9)
    clean, challenged = (z.gather(1, y[:, None])[:, 0].detach() for z in (step.logits, step.views["challenger"]))
    torch.testing.assert_close(challenged, clean - fall, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("place", GAPNET[1:])
def test_a_hidden_challenge_is_the_tail_run_on_changed_features(place):
    host = host_of(site="random", sites=(place,), strength="fixed", s_max=1.0, share_forward="never")
    network = host.network
    step, terms = run(host)
    layers = list(network.features)
    names = [f"features.{name}" for name, _ in network.features.named_children()]
    cut = len(layers) if place == "features" else names.index(place) + 1
    h = nn.Sequential(*layers[:cut])(step.batch.x)
    tail = nn.Sequential(*layers[cut:], network.pool, nn.Flatten(), network.head)
    leaf = h.detach().requires_grad_()
    (grad,) = torch.autograd.grad(tail(leaf).gather(1, step.batch.y[:, None]).sum(), leaf)
    positive = (h * grad).clamp_min(0)
    factor = 1 - positive / (positive.amax((1, 2, 3), keepdim=True) + 1e-9)
    expected = tail(h * factor.detach())
    torch.testing.assert_close(step.views["challenger"], expected, rtol=1e-9, atol=1e-9)
    loss = 0.5 * F.cross_entropy(expected, step.batch.y) + 0.5 * F.cross_entropy(tail(h), step.batch.y)
    total = torch.stack(list(terms.values())).sum()
    torch.testing.assert_close(total, loss, rtol=1e-9, atol=1e-9)
    parameters = list(network.parameters())
    for found, wanted in zip(
        torch.autograd.grad(total, parameters), torch.autograd.grad(loss, parameters), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)


def test_detached_features_leave_the_layers_before_to_the_clean_loss():
    both, tail_only = (host_of(site="hidden", detach_feature=flag) for flag in (False, True))
    first = both.network.features.conv1.weight
    _, terms = run(both)
    (grad,) = torch.autograd.grad(terms["challenger/ce"], first, retain_graph=True)
    assert grad.abs().max() > 0
    _, terms = run(tail_only)
    weight = tail_only.network.features.conv1.weight
    assert torch.autograd.grad(terms["challenger/ce"], weight, allow_unused=True)[0] is None
    (head,) = torch.autograd.grad(terms["challenger/ce"], tail_only.network.head.weight)
    assert head.abs().max() > 0


@pytest.mark.parametrize("dropout", ["independent", "shared"])
@pytest.mark.parametrize("place", ["features", "above"])
def test_no_change_with_the_same_masks_is_the_clean_pass(place, dropout):
    """With dropout before the place and after it."""
    host = host_of(kind="noisy", site="random", sites=(place,), strength="fixed", s_max=1e-300, dropout=dropout)
    step, _ = run(host)
    same = torch.allclose(step.views["challenger"], step.logits, rtol=1e-12, atol=1e-12)
    assert same == (dropout == "shared" or place == "above")


@pytest.mark.parametrize("site", ["input", "random", "all"])
def test_a_vanishing_strength_trains_as_plain_does(site):
    loader = tiny.changed(lambda b: replace(b, x=b.x.double()))
    found = tiny.trained(host_of(site=site, strength="fixed", s_max=1e-300), loader, epochs=2)
    plain = tiny.trained(FeedbackModule(tiny.network(), []).double(), loader, epochs=2)
    for name, tensor in plain.network.state_dict().items():
        torch.testing.assert_close(found.network.state_dict()[name], tensor, rtol=1e-10, atol=1e-12)


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


def test_fgsm_takes_a_step_along_the_sign_of_the_losss_gradient():
    host = host_of(attribution="fgsm", strength="fixed", s_max=0.1)
    step, _ = run(host)
    x = step.batch.x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(host.network(x), step.batch.y, reduction="sum"), x)
    expected = host.network((x + 0.1 * grad.sign()).detach())
    torch.testing.assert_close(step.views["challenger"], expected, rtol=1e-9, atol=1e-9)


def test_all_places_are_changed_in_one_pass_by_maps_of_one_pass():
    host = host_of(site="all", strength="fixed", s_max=0.7)
    with tiny.Counter(host.network) as counter:
        step, _ = run(host, number=1)
    assert counter.forwards == 2
    apart = feedback_of(host).relevance(step, GAPNET, real=True)
    assert list(apart) == list(GAPNET)
    assert 0 < float(step.reports["challenger/change"]) < 1

    def weaken(h: Tensor, place: str) -> Tensor:
        r = apart[place].clamp_min(0)
        return h * (1 - 0.7 * r / (r.amax((1, 2, 3), keepdim=True) + 1e-9))

    network = host.network
    h = weaken(step.batch.x, "input")
    for name, layer in network.features.named_children():
        h = layer(h)
        h = weaken(h, f"features.{name}") if f"features.{name}" in GAPNET else h
    expected = network.head(network.pool(weaken(h, "features")).flatten(1))
    torch.testing.assert_close(step.views["challenger"], expected, rtol=1e-9, atol=1e-9)


def test_training_through_the_map_differs_in_gradient_alone():
    losses, grads = [], []
    for through in (False, True):
        host = host_of(site="hidden", site_index=0, grad_through_map=through)
        _, terms = run(host)
        losses.append(terms["challenger/ce"].detach())
        grads.append(torch.autograd.grad(terms["challenger/ce"], host.network.head.weight)[0])
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
    assert not torch.allclose(*grads)


def test_strengths_are_uniform_and_leave_the_global_generator_alone():
    host = host_of()
    state = torch.get_rng_state()
    batch = wide(1)
    many = replace(batch, x=batch.x.expand(100_000, -1, -1, -1), y=batch.y.expand(100_000))
    step = Step(nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)).double(), wide(2), seed=0, position=("0", 0, 0, 0))
    step.batch, step.losses = many, torch.zeros(100_000, dtype=torch.float64)
    torch.set_rng_state(state)
    s = feedback_of(host).strengths(step)
    assert torch.equal(torch.get_rng_state(), state)
    assert kstest(s.numpy() / 2, "uniform").pvalue > 1e-3
    assert float(s.mean()) == pytest.approx(1.0, abs=0.01)
    for options, expected in (
        ({"strength": "fixed", "s_max": 0.3}, {0.3}),
        ({"strength": "levels10", "s_max": 0.9}, {round(0.1 * level, 6) for level in range(10)}),
        ({"strength": "ramp", "s_max": 1.0, "strength_epochs": 4}, {0.25}),
        ({"strength": "fixed", "s_max": 0.3, "prob": 0.5, "prob_per": "sample"}, {0.0, 0.3}),
    ):
        assert {round(v, 6) for v in feedback_of(host_of(**options)).strengths(step).tolist()} == expected


def test_steps_that_are_not_challenged_are_plain():
    for options in ({"every_n_steps": 2}, {"loss": "alternate"}, {"prob": 0.5}):
        host, plain = host_of(**options), 0
        for number in range(20):
            _, terms = run(host, wide(2), number)
            plain += list(terms) == ["ce"]
        assert plain == 10 if "prob" not in options else 4 <= plain <= 16
    _, terms = run(host_of(loss="alternate"), wide(2), 1)
    assert float(terms["ce"]) == 0
    _, terms = run(host_of(loss="challenged_only"))
    assert float(terms["ce"]) == 0
    _, terms = run(host_of(loss="kl", lambda_kl=2.0))
    assert list(terms) == ["ce", "challenger/kl"]


CONTROLS = ["shuffled", "shuffled_active", "random_place", "uniform", "other_sample", "init_frozen"]


@pytest.mark.parametrize("source", CONTROLS)
def test_controls_move_each_sample_as_far_as_the_real_map_would(source):
    views = []
    for options in ({}, {"map_source": source}):
        host = host_of(strength="fixed", s_max=0.8, **options)
        for parameter in host.network.parameters():
            parameter.data.mul_(1.1)  # since the untrained copy was taken
        step = Step(host.network, wide(), seed=0, position=("0", 0, 0, 0), input_gradient=True)
        view = feedback_of(host).view(step)
        assert view is not None
        views.append((view.x - step.batch.x).flatten(1))
    real, control = views
    torch.testing.assert_close(control.norm(dim=1), real.norm(dim=1), rtol=1e-6, atol=0)
    if source == "init_frozen":  # scaled weights of a network of ReLUs give the same shares, biases being 0
        assert torch.allclose(real, control, rtol=1e-6)
    else:
        assert not torch.allclose(real, control, rtol=1e-3)


def test_the_untrained_map_is_not_changed_by_training():
    host = host_of(map_source="init_frozen")
    step, _ = run(host)
    before = feedback_of(host).relevance(step, ("input",), real=False)["input"]
    with torch.no_grad():
        for parameter in host.network.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert torch.equal(feedback_of(host).relevance(step, ("input",), real=False)["input"], before)
    later, _ = run(host)
    assert not torch.allclose(feedback_of(host).relevance(later, ("input",), real=True)["input"], before)
    assert len(list(host.parameters())) == len(list(host.network.parameters()))


def test_the_company_and_order_of_samples_do_not_matter():
    host, order = host_of(strength="fixed"), torch.tensor([4, 2, 0, 5, 1, 3])
    batch = wide(6)
    step, _ = run(host, batch)
    moved = replace(batch, x=batch.x[order], y=batch.y[order])
    torch.testing.assert_close(
        run(host, moved)[0].views["challenger"], step.views["challenger"][order], rtol=1e-10, atol=1e-10
    )
    one = replace(batch, x=batch.x[2:3], y=batch.y[2:3])
    torch.testing.assert_close(
        run(host, one)[0].views["challenger"], step.views["challenger"][2:3], rtol=1e-10, atol=1e-10
    )


def text_host(name: str = "text_cnn", **options: Any) -> FeedbackModule:
    config = models.config_class(name)(name=name)
    vocabulary = tuple(f"w{i}" for i in range(20))
    network = models.build(config, (8,), 3, 0, kind="text", vocabulary=vocabulary).double().eval()
    made = tiny.feedback("challenger", **options)
    return FeedbackModule(network, [made], example=torch.ones(1, 8, dtype=torch.long))


@pytest.mark.parametrize("name", ["text_cnn", "text_lstm", "text_transformer"])
@pytest.mark.parametrize("select", ["soft", "top_k"])
def test_padding_of_texts_is_never_challenged_and_longer_padding_changes_nothing(name, select):
    ids = torch.tensor([[5, 6, 7, 8, 0, 0, 0, 0], [9, 10, 11, 12, 13, 0, 0, 0]])
    terms = []
    for extra in (0, 3):
        host = text_host(name, site="input", strength="fixed", s_max=0.7, select=select)
        x = F.pad(ids, (0, extra))
        batch = Batch(x=x, y=torch.tensor([0, 2]), index=torch.arange(2), valid=x != 0)
        step, found = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
        view = feedback_of(host).view(step)
        assert view is not None
        changed = (view.x != step.x).any(-1)
        assert not changed[x == 0].any()
        assert changed[x != 0].any()
        terms.append(found["challenger/ce"])
        found["challenger/ce"].backward()
        assert host.network.embedding.weight.grad.abs().sum() > 0
        if name == "text_transformer":  # positions are learned for eight tokens
            return
    torch.testing.assert_close(*terms, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("granularity", ["element", "position", "channel"])
def test_series_are_challenged_by_elements_time_steps_or_features(granularity):
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv1d(3, 4, 3, padding=1), nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x.transpose(1, 2)).relu().mean(2))

    made = tiny.feedback("challenger", site="input", granularity=granularity, strength="fixed", s_max=0.5)
    host = FeedbackModule(Net().double(), [made], example=torch.zeros(1, 7, 3, dtype=torch.float64))
    x = torch.rand(4, 7, 3, dtype=torch.float64) + 0.5
    batch = Batch(x=x, y=torch.arange(4), index=torch.arange(4), valid=torch.arange(7).expand(4, 7) < 5)
    step, _ = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
    view = feedback_of(host).view(step)
    assert view is not None
    factor = view.x / x
    assert (factor[:, 5:] == 1).all()
    spread = {"position": factor.std(2), "channel": factor[:, :5].std(1)}
    if granularity in spread:
        assert spread[granularity].max() < 1e-12
    else:
        assert min(part.max() for part in spread.values()) > 1e-3


def flops(host: FeedbackModule) -> int:
    network_batch = tiny.batch(4)
    with Flops() as counted:
        host.training_step(replace(network_batch, x=network_batch.x.expand(-1, 1, -1, -1)), 0).backward()
    return counted.total


@pytest.mark.parametrize("model", ["gapnet", "resnet18"])
def test_a_step_costs_at_most_three_plain_ones_and_less_the_later_the_place(model):
    """Counted in multiplications."""

    def host(*feedbacks: Any) -> FeedbackModule:
        network = models.build(models.config_class(model)(name=model, width=4), (1, 32, 32), 10, 0)
        return FeedbackModule(network, feedbacks, example=torch.zeros(1, 1, 32, 32))

    plain = flops(host())
    for attribution in ("grad_x_input", "lrp_epsilon", "lrp_gamma"):
        first = flops(host(tiny.feedback("challenger", site="input", attribution=attribution))) / plain
        hidden = [
            flops(host(tiny.feedback("challenger", site="hidden", site_index=at, attribution=attribution))) / plain
            for at in range(3)
        ]
        assert first <= (3.1 if attribution == "lrp_gamma" else 3.0)
        assert first > hidden[0] > hidden[1] > hidden[2]
        assert hidden[2] < 2.0


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU()
        self.last = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 10)
        self.spare = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.conv2(self.relu(self.relu(self.conv1(x))))).mean((2, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": ("features.pol1",)}, r"unknown layer 'features.pol1' in GapNet. Did you mean 'features.pool1'\?"),
        ({"site": "hidden", "site_index": 3}, r"site_index=3: GapNet has 3 hidden places \(features.pool1, "),
    ],
)
def test_places_that_do_not_exist_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        host_of(site=options.pop("site", "random"), **options)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "relu",
            r"method.challenger.sites: layer 'relu' of Reused runs 2 times in a forward pass; name one that runs once",
        ),
        ("spare", r"layer 'spare' of Reused never runs"),
        ("conv2", r"what layer 'conv2' of Reused gives is overwritten by the next one \(inplace\); name that one"),
    ],
)
def test_layers_that_are_reused_unused_or_overwritten_are_refused(place, message):
    with pytest.raises(UserError, match=message):
        host_of(Reused().double(), site="random", sites=(place,))


def test_a_network_that_reuses_a_layer_is_challenged_elsewhere():
    host = host_of(Reused().double(), site="random")
    assert "relu" not in feedback_of(host).places
    assert "input" in feedback_of(host).places
    for attribution in ("grad_x_input", "lrp_composite"):
        _, terms = run(host_of(Reused().double(), attribution=attribution))
        assert torch.isfinite(terms["challenger/ce"])


def test_a_network_that_lrp_cannot_treat_is_refused_before_training():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(1800, 10)).double()
    with pytest.raises(UserError, match=r"LRP has no rule for 'softplus' in layer '1' \(Softplus\) of Sequential"):
        host_of(network, attribution="lrp_epsilon")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "paper"}, "method.challenger.variant=paper must be clean: the paper's text is not available"),
        ({"s_max": -1.0}, r"method.challenger.s_max=-1.0 must be at least s_min=0.0, and finite"),
        ({"s_min": 3.0}, r"s_max=2.0 must be at least s_min=3.0"),
        ({"s_max": float("nan")}, r"s_max=nan must be at least"),
        ({"lambda_challenge": 1.5}, r"lambda_challenge=1.5 must be in \[0, 1\]"),
        ({"prob": -0.1}, r"prob=-0.1 must be in \[0, 1\]"),
        ({"share": 0.0}, "share=0.0 must be above 0"),
        ({"transform": "subtract", "select": "soft"}, "select=soft must be signed for transform=subtract"),
        ({"transform": "mean", "select": "signed"}, "select=signed must be top_k or quantile"),
        ({"attribution": "lrp_gamma", "attr_mode": "train"}, "attr_mode=train must be eval for LRP"),
        ({"input_rule": "flat"}, "input_rule=flat must be null without LRP"),
        ({"attribution": "fgsm", "map_source": "uniform"}, "map_source=uniform must be real for attribution=fgsm"),
        ({"grad_through_map": True, "attribution": "grad_abs"}, "grad_through_map=True must be false unless"),
        ({"loss": "challenged_only", "transform": "top_k_zero"}, "loss=challenged_only must be mix, or allow_collapse"),
        ({"every_n_steps": 0}, "every_n_steps=0 must be 1 or more"),
        ({"transform": "atenuate"}, r"must be one of attenuate.*Did you mean 'attenuate'\?"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        from_mapping(ChallengerConfig, options, "method.challenger")


def test_grad_cam_is_for_images():
    with pytest.raises(UserError, match=r"attribution=grad_cam needs images; choose grad_x_input"):
        text_host(attribution="grad_cam")
