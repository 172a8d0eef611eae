"""Challenger: its equations against hand-worked numbers and split networks."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from tests.methods import tiny
from tests.methods.challenger_host import GAPNET, feedback_of, host_of, run, wide
from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule, Step


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
    sparse = [list(run(host_of(loss="alternate", every_n_steps=3), wide(2), number)[1]) for number in range(9)]
    assert [number for number, terms in enumerate(sparse) if "challenger/ce" in terms] == [3]
    _, terms = run(host_of(loss="alternate"), wide(2), 1)
    assert float(terms["ce"]) == 0
    _, terms = run(host_of(loss="challenged_only"))
    assert float(terms["ce"]) == 0
    _, terms = run(host_of(loss="kl", lambda_kl=2.0))
    assert list(terms) == ["ce", "challenger/kl"]


@pytest.mark.parametrize(("n", "every"), [(1, 1), (3, 1), (4, 1), (3, 2), (5, 4)])
def test_clean_and_challenged_steps_take_turns_over_the_epochs(n, every):
    """Whatever the number of an epoch's steps, and of the steps in which the method acts."""
    host, seen = host_of(loss="alternate", every_n_steps=every), []
    loss_terms = host.loss_terms

    def noted(*given):
        step, terms = loss_terms(*given)
        if step.number % every == 0:
            seen.append("challenger/ce" in terms)
        return step, terms

    host.loss_terms = noted
    tiny.trained(host, DataLoader([wide(2)] * n, batch_size=None), epochs=4)
    assert len(seen) == 4 * -(-n // every)
    assert seen == [number % 2 == 1 for number in range(len(seen))]


def test_turns_over_epochs_of_unknown_length_are_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            yield wide(2)

    with pytest.raises(UserError, match=r"method\.challenger\.loss=alternate must know how many steps an epoch has"):
        tiny.trained(host_of(loss="alternate"), DataLoader(Endless(), batch_size=None))


@pytest.mark.parametrize("transform", ["attenuate", "top_k_zero", "swap"])
def test_single_samples_are_spared_whatever_the_transform(transform):
    host = host_of(transform=transform, prob=0.5, prob_per="sample", strength="fixed", share=0.5)
    step, _ = run(host)
    view, chosen = feedback_of(host).view(step), feedback_of(host).chosen(step)
    assert view is not None
    assert 0 < int(chosen.sum()) < len(chosen)
    assert torch.equal((view.x != step.x).flatten(1).any(1), chosen)
