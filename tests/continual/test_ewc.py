import pytest
import torch
from torch import nn

from xfeedback.continual.ewc import EwcFeedback, correct_rows, drawn, mixed
from xfeedback.continual.fisher import fisher
from xfeedback.continual.heads import OUT, among, competing
from xfeedback.feedback import FeedbackModule, Step
from xfeedback.losses.ewc import ewc_penalty, merged
from xfeedback.types import Batch, Phase


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()


def batches(n=20, size=8, seed=1):
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, dtype=torch.float64, generator=numbers)
    y = torch.randint(3, (n,), generator=numbers)
    return [Batch(x=x[r], y=y[r], index=r) for r in torch.arange(n).split(size)]


def phase(number=0, count=3, seed=0, **more):
    return Phase(name=str(number), train=(), val={}, number=number, count=count, seed=seed, ordered=batches(), **more)


def ewc(**options):
    return EwcFeedback.with_options(**{"fisher": "true_exact", "pool": "all_train", "n": None, **options})


def penalty(feedback, net):
    step = Step(net, batches()[0], seed=0, position=("1", 0, 0, 0))
    return feedback.penalty(step)


def springs(feedback, part):
    return [getattr(feedback, f"{part}_{k}") for k in range(4)]


def moved(net, by=0.3):
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.add_(by * (k + 1) * torch.randn_like(p))


def test_the_penalty_and_its_gradient():
    """Zero at the anchor; lambda/2 F_k for a shift of 1 in one weight; gradient lambda F (theta - theta*)."""
    net, feedback = network(), ewc(weight=3.0)
    assert penalty(feedback, net) == {}
    feedback.phase_end(net, phase())
    term = penalty(feedback, net)["penalty"]
    assert term == 0
    assert not any(g.any() for g in torch.autograd.grad(term, net.parameters()))
    expected = fisher(net, batches(), "true_exact")
    with torch.no_grad():
        net[0].weight[1, 2] += 1
    assert penalty(feedback, net)["penalty"].item() == pytest.approx(1.5 * expected["0.weight"][1, 2].item(), rel=1e-12)
    anchors = [p.clone() for p in springs(feedback, "anchor")]
    moved(net)
    found = torch.autograd.grad(penalty(feedback, net)["penalty"], list(net.parameters()))
    for g, p, a, f in zip(found, net.parameters(), anchors, expected.values(), strict=True):
        torch.testing.assert_close(g, 3 * f * (p - a), rtol=1e-12, atol=0)
    whole = ewc(weight=3.0, half=False)
    whole.load_state_dict(feedback.state_dict(), strict=False)
    for name, value in feedback.named_buffers():
        whole.register_buffer(name, value)
    assert penalty(whole, net)["penalty"].item() == pytest.approx(2 * penalty(feedback, net)["penalty"].item())


def test_two_springs_are_one():
    numbers = torch.Generator().manual_seed(0)
    a1, f1, a2, f2 = (torch.rand(50, dtype=torch.float64, generator=numbers) for _ in range(4))
    f1[:5], f2[3:8] = 0, 0
    anchor, total, rest = merged(a1, f1, a2, f2)
    for _ in range(3):
        theta = 5 * torch.randn(50, dtype=torch.float64, generator=numbers)
        both = ewc_penalty([theta], [a1], [f1]) + ewc_penalty([theta], [a2], [f2])
        torch.testing.assert_close(ewc_penalty([theta], [anchor], [total]) + rest, both, rtol=1e-12, atol=0)


@pytest.mark.parametrize("anchors", ["last", "all", "online"])
def test_anchors_of_three_phases(anchors):
    """The penalty after three phases, written out from each phase's own F and weights."""
    net, feedback = network(), ewc(anchors=anchors, gamma=0.5, weight=2.0)
    past = []
    for number in range(3):
        feedback.phase_end(net, phase(number, count=4))
        past.append(
            ([p.detach().clone() for p in net.parameters()], list(fisher(net, batches(), "true_exact").values()))
        )
        moved(net)
    theta = list(net.parameters())
    (_, f0), (_, f1), (a2, f2) = past
    expected = {
        "last": ewc_penalty(theta, a2, f2),
        "all": sum(ewc_penalty(theta, a, f) for a, f in past),
        "online": ewc_penalty(theta, a2, [0.25 * x + 0.5 * y + z for x, y, z in zip(f0, f1, f2, strict=True)]),
    }[anchors]
    torch.testing.assert_close(penalty(feedback, net)["penalty"], expected, rtol=1e-12, atol=0)


def test_springs_stay_with_their_weights_while_some_are_frozen():
    """LAP's frozen_epochs freeze weights at the start of a phase that the phase before has trained."""
    net, feedback = network(), ewc()
    feedback.phase_end(net, phase())
    moved(net)
    expected = penalty(feedback, net)["penalty"]
    net[0].weight.requires_grad_(False)
    found = penalty(feedback, net)["penalty"]
    assert found == expected
    (gradient,) = torch.autograd.grad(found, [net[2].bias])
    torch.testing.assert_close(gradient, feedback.fisher_3 * (net[2].bias - feedback.anchor_3), rtol=1e-12, atol=0)


def test_the_last_phase_needs_no_estimate():
    feedback = ewc()
    feedback.phase_end(network(), phase(2, count=3))
    assert feedback.rest is None


def test_the_pool_holds_what_the_network_gets_right():
    net, other = network(), network(5)
    right = correct_rows(net, batches())
    x, y = (torch.cat([getattr(b, name) for b in batches()]) for name in ("x", "y"))
    assert torch.equal(right, net(x).argmax(1) == y)
    wanted = fisher(net, [Batch(x=x[right], y=y[right], index=y[right])], "empirical")
    feedback = ewc(fisher="empirical", pool="correct")
    feedback.phase_end(net, phase())
    torch.testing.assert_close(springs(feedback, "fisher")[0], wanted["0.weight"])
    last = ewc(fisher="empirical", pool="correct_last")
    last.epochs_end(other, phase())
    last.phase_end(net, phase())
    theirs = correct_rows(other, batches())
    assert not torch.equal(theirs, right)
    wanted = fisher(net, [Batch(x=x[theirs], y=y[theirs], index=y[theirs])], "empirical")
    torch.testing.assert_close(springs(last, "fisher")[0], wanted["0.weight"])


def test_draws_are_with_replacement_and_keyed_by_the_phase():
    numbers = torch.bincount(torch.randint(20, (50,), generator=torch.Generator().manual_seed(2)), minlength=20)
    parts = list(drawn(batches(), numbers, size=6))
    assert max(map(len, parts)) <= 6
    assert torch.equal(torch.bincount(torch.cat([p.index for p in parts]), minlength=20), numbers)
    shuffled = list(mixed(iter(parts), torch.Generator().manual_seed(0), size=6))
    assert [len(p) for p in shuffled] == [6] * 8 + [2]
    assert torch.equal(torch.bincount(torch.cat([p.index for p in shuffled]), minlength=20), numbers)
    found = []
    for seed in (0, 0, 1):
        feedback = ewc(n=7, fisher="batched", batch_size=4)
        feedback.phase_end(network(), phase(seed=seed))
        found.append(springs(feedback, "fisher")[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("estimator", ["empirical", "batched"])
def test_nothing_right_means_no_spring(estimator):
    net = network()
    wrong = [Batch(x=b.x, y=(net(b.x).argmax(1) + 1) % 3, index=b.index) for b in batches()]
    feedback = ewc(pool="correct", n=10, fisher=estimator)
    feedback.phase_end(net, Phase(name="0", train=(), val={}, count=2, ordered=wrong))
    moved(net)
    assert penalty(feedback, net)["penalty"] == 0


def test_it_stands_beside_any_method_and_is_logged_by_name():
    net, feedback = network().float(), ewc()
    with torch.no_grad():
        feedback.phase_end(net.double(), phase())  # whoever calls it may have switched gradients off
    host = FeedbackModule(net, [feedback])
    batch = batches()[0]
    moved(net)
    _, terms = host.loss_terms(batch, host.active(), ("1", 0, 0, 0))
    assert list(terms) == ["ce", "ewc/penalty"]
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_only_some_classes_compete():
    logits = torch.randn(6, 5, requires_grad=True)
    found = competing(logits, [1, 3])
    assert (found[:, [0, 2, 4]] == OUT).all()
    torch.testing.assert_close(found.softmax(1)[:, [1, 3]], logits[:, [1, 3]].softmax(1))
    (g,) = torch.autograd.grad(found.logsumexp(1).sum(), logits)
    assert not g[:, [0, 2, 4]].any()
    kl = torch.nn.functional.kl_div(
        found.log_softmax(1), competing(logits.flip(0), [1, 3]).log_softmax(1), log_target=True, reduction="batchmean"
    )
    assert torch.isfinite(kl)
    net, x = network(), torch.randn(4, 4, dtype=torch.float64)
    whole = net(x)
    with among(net, [2]):
        assert (net(x).argmax(1) == 2).all()
    assert torch.equal(net(x), whole)
    with among(net, None):
        assert torch.equal(net(x), whole)
