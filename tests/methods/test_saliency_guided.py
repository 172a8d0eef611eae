"""Saliency guided training: masks and fills against sorted loops, saliency against captum, the pass left clean."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import Tensor, nn

from tests.explain.nets import images, small_cam
from tests.methods import tiny
from xfeedback import models
from xfeedback.engine.cost import Flops
from xfeedback.explain.maps import evaluation_gradient
from xfeedback.feedback import FeedbackModule, Step
from xfeedback.methods.saliency_guided import SaliencyGuidedConfig, SaliencyGuidedFeedback
from xfeedback.models.running import mode
from xfeedback.types import Batch


def feedback(**options: Any) -> SaliencyGuidedFeedback:
    made = tiny.feedback("saliency_guided", **options)
    assert isinstance(made, SaliencyGuidedFeedback)
    return made


def batch_of(x: Tensor, y: Tensor) -> Batch:
    return Batch(x=x, y=y, index=torch.arange(len(y)))


def step_of(network: nn.Module, batch: Batch, of: SaliencyGuidedFeedback | None = None, number: int = 0) -> Step:
    reuse = of is not None and of.input_gradient
    return Step(network, batch, seed=0, position=("0", 0, 0, number), input_gradient=reuse)


def linear(n_in: int, n_classes: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(n_in, n_classes)).double()


@pytest.mark.parametrize(
    ("options", "predicted"),
    [
        ({}, (2, 2)),
        ({"saliency_mode": "reuse"}, (2, 2)),
        ({"mask_source": "random"}, (2, 2)),
        ({"mask_source": "high"}, (2, 2)),
        ({"mask_source": "none"}, (2, 1)),
        ({"mask_source": "random_cheap"}, (2, 1)),
        ({"saliency_mode": "train"}, (3, 2)),
        ({"mask_source": "random_cheap", "saliency_mode": "reuse"}, (2, 1)),
    ],
)
def test_passes_in_one_step(options, predicted):
    """Without BatchNorm and dropout the clean pass is one in evaluation mode."""
    assert tiny.passes(tiny.module(feedback(**options))) == predicted


@pytest.mark.parametrize("source", ["low", "high", "random"])
def test_a_network_with_dropout_at_its_end_is_explained_in_evaluation_mode_at_the_price_of_its_end(source):
    """The gradient is that of a pass of its own, to the last bits, and so is the loss."""
    network = models.build(models.config_class("mnist_cnn")(name="mnist_cnn"), (1, 12, 12), 10, 0).double()
    x = torch.randn(6, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch, found = batch_of(x, torch.arange(6)), []
    for example in (torch.zeros(1, 1, 12, 12, dtype=torch.float64), None):
        (method,) = (host := FeedbackModule(network, [feedback(mask_source=source)], example=example)).feedbacks
        with Flops() as flops:
            step, terms = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
        grads = torch.autograd.grad(torch.stack(list(terms.values())).sum(), list(network.parameters()))
        step = Step(network, batch, seed=0, position=("0", 0, 0, 0), layers=method.layers, input_gradient=True)
        found.append((flops.total, method.saliency(step), *terms.values(), *grads))
    (fewer, *shared), (all_of_it, *apart) = found
    assert fewer < 0.85 * all_of_it
    for ours, theirs in zip(shared, apart, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_skipped_steps_are_plain():
    host = tiny.module(feedback(every_n_steps=2))
    with tiny.Counter(host.network) as counter:
        _, terms = host.loss_terms(tiny.batch(), host.active(), ("0", 0, 0, 1))
    assert list(terms) == ["ce"]
    assert counter.forwards == 1
    assert list(host.loss_terms(tiny.batch(), host.active(), ("0", 0, 0, 2))[1]) == ["ce", "saliency_guided/kl"]


@pytest.mark.parametrize(
    ("n", "counts"),
    [(784, (78, 392, 548)), (1024, (102, 512, 716)), (2500, (250, 1250, 1750))],
)
def test_masked_counts(n, counts):
    side = int(n**0.5)
    x, y = torch.rand(2, 1, side, side, dtype=torch.float64), torch.tensor([0, 1])
    for fraction, k in zip((0.1, 0.5, 0.7), counts, strict=True):
        found = feedback(mask_fraction=fraction).masked_positions(step_of(linear(n), batch_of(x, y)))
        assert found.sum(1).tolist() == [k, k]


def test_exactly_k_are_masked_even_when_all_gradients_are_zero():
    network = linear(2 * 64, 4)
    with torch.no_grad():
        network[1].weight.zero_()
    found = feedback().masked_positions(step_of(network, batch_of(*images(5))))
    assert found.sum(1).tolist() == [32] * 5
    tied = feedback(ties="threshold").masked_positions(step_of(network, batch_of(*images(5))))
    assert tied.all()


def test_at_least_one_is_masked_unless_the_rule_allows_none():
    step = step_of(linear(128), batch_of(*images(3)))
    assert feedback(mask_fraction=0.0).masked_positions(step).sum() == 3
    assert feedback(mask_fraction=0.0, k_rule="floor").masked_positions(step).sum() == 0


@pytest.mark.parametrize("rank", ["signed", "abs"])
@pytest.mark.parametrize("reduce", ["mean_signed", "mean_abs", "l2"])
@pytest.mark.parametrize("source", ["low", "high"])
def test_mask_equals_a_sorted_loop_on_captums_saliency(rank, reduce, source):
    network = small_cam(smooth=True).eval()
    x, y = images(6)
    found = feedback(rank=rank, channel_reduce=reduce, mask_source=source).masked_positions(
        step_of(network, batch_of(x, y))
    )
    saliency = Saliency(network).attribute(x.clone().requires_grad_(), target=y, abs=False).flatten(2).numpy()
    reduced = {
        "mean_signed": saliency.mean(1),
        "mean_abs": np.abs(saliency).mean(1),
        "l2": np.sqrt((saliency**2).sum(1)),
    }
    ranking = np.abs(reduced[reduce]) if rank == "abs" else reduced[reduce]
    for row, values in enumerate(ranking):
        order = np.argsort(values if source == "low" else -values, kind="stable")
        assert set(np.flatnonzero(found[row].numpy())) == set(order[:32])


@pytest.mark.parametrize("rank", ["signed", "abs"])
def test_a_linear_network_masks_its_own_smallest_weights(rank):
    network = linear(64)
    x, y = torch.randn(5, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    found = feedback(rank=rank, channel_reduce="mean_signed", mask_fraction=0.3).masked_positions(
        step_of(network, batch_of(x, y))
    )
    for row, label in enumerate(y):
        weights = network[1].weight[label].detach()
        smallest = (weights.abs() if rank == "abs" else weights).argsort()[:19]
        assert set(found[row].nonzero().flatten().tolist()) == set(smallest.tolist())


@pytest.mark.parametrize("fill", ["uniform_sample", "uniform_channel"])
def test_view_equals_a_loop_per_sample_fed_the_same_uniforms(fill):
    network = small_cam()
    x, y = images(4)
    method, step = feedback(fill=fill), step_of(network, batch_of(x, y))
    view = method.view(step)
    masked = method.masked_positions(step)
    uniforms = torch.rand(4, 2, 64, dtype=x.dtype, generator=step.generator("fill"))
    assert view is not None
    assert not view.x.requires_grad
    for b in range(4):
        for c in range(2):
            values = x[b] if fill == "uniform_sample" else x[b, c]
            low, high = values.min(), values.max()
            for j in range(64):
                entry = view.x[b, c].flatten()[j]
                if masked[b, j]:
                    assert entry == low + (high - low) * uniforms[b, c, j]
                    assert low <= entry <= high
                else:
                    assert entry == x[b, c].flatten()[j]


def test_one_mask_serves_all_channels_and_every_sample_has_its_own():
    method, step = feedback(), step_of(small_cam(), batch_of(*images(4)))
    view = method.view(step)
    assert view is not None
    different = (view.x != step.batch.x).flatten(2)
    assert torch.equal(different[:, 0], different[:, 1])
    assert not torch.equal(different[0], different[1])


@pytest.mark.parametrize("options", [{"mask_source": "none"}, {"mask_fraction": 0.0, "k_rule": "floor"}])
def test_nothing_masked_costs_nothing_with_shared_dropout_and_something_without(options):
    batch = tiny.batch()

    def divergence(dropout: str) -> tuple[Tensor, list[Tensor]]:
        host = tiny.module(feedback(dropout=dropout, **options), kind="noisy").double()
        wide = replace(batch, x=batch.x.double())
        _, terms = host.loss_terms(wide, host.active(), ("0", 0, 0, 0))
        kl = terms["saliency_guided/kl"]
        return kl.detach(), list(torch.autograd.grad(kl, list(host.parameters())))

    kl, grads = divergence("shared")
    assert abs(kl.item()) <= 1e-12
    assert all(g.abs().max() <= 1e-12 for g in grads)
    assert divergence("independent")[0].item() > 1e-6


def test_saliency_pass_leaves_no_trace():
    host = tiny.module(feedback(), kind="noisy")
    network = host.network
    network.above[1].eval()
    flags = [m.training for m in network.modules()]
    step = step_of(network, tiny.batch())
    before = tiny.state(network)
    saliency = feedback().saliency(step)
    tiny.assert_same_bits(tiny.state(network), before)
    assert [m.training for m in network.modules()] == flags
    assert all(p.grad is None for p in network.parameters())
    assert not saliency.requires_grad
    assert not step.batch.x.requires_grad


def test_saliency_is_taken_in_evaluation_mode():
    network, batch = tiny.network("noisy"), tiny.batch()
    step = step_of(network, batch)
    found = feedback().saliency(step)
    with mode(network, training=False):
        expected = Saliency(network).attribute(batch.x.clone().requires_grad_(), target=batch.y, abs=False)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_reuse_takes_the_gradient_of_the_clean_training_pass():
    network, method = tiny.network("noisy"), feedback(saliency_mode="reuse")
    step = step_of(network, tiny.batch(), method)
    chosen = step.logits.gather(1, step.batch.y[:, None]).sum()
    (expected,) = torch.autograd.grad(chosen, step.x, retain_graph=True)
    torch.testing.assert_close(method.saliency(step), expected, rtol=0, atol=0)
    assert not torch.allclose(method.saliency(step), feedback().saliency(step_of(network, tiny.batch())))


def test_saliency_is_float32_under_autocast():
    network, batch = tiny.network(), tiny.batch()
    expected = feedback().saliency(step_of(network, batch))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = step_of(network, batch)
        assert step.logits.dtype == torch.bfloat16
        torch.testing.assert_close(feedback().saliency(step), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("bn_masked", "grows"), [("update", 2), ("no_update", 1)])
def test_running_statistics_see_the_views_they_should(bn_masked, grows):
    host = tiny.module(feedback(bn_masked=bn_masked), kind="noisy")
    for number in range(3):
        host.training_step(tiny.batch(), number)
    layers = [m for m in host.network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(layers) == 2
    assert [int(m.num_batches_tracked) for m in layers] == [3 * grows] * 2
    if bn_masked == "no_update":
        plain = tiny.module(kind="noisy")
        for number in range(3):
            plain.training_step(tiny.batch(), number)
        tiny.assert_same_bits(tiny.state(host.network), tiny.state(plain.network))


def test_order_and_company_of_samples_do_not_change_their_masks():
    network = small_cam()
    x, y = images(6)
    whole = feedback().masked_positions(step_of(network, batch_of(x, y)))
    order = [4, 2, 0, 5, 1, 3]
    permuted = feedback().masked_positions(step_of(network, batch_of(x[order], y[order])))
    assert torch.equal(permuted, whole[order])
    assert torch.equal(feedback().masked_positions(step_of(network, batch_of(x[3:4], y[3:4]))), whole[3:4])


def test_signed_ranking_masks_strong_negative_gradients_and_magnitude_masks_none():
    """The MNIST network at random weights on noise: about half of the strongest tenth of the pixels."""
    network = models.build(models.config_class("mnist_cnn")(name="mnist_cnn"), (1, 28, 28), 10, 0)
    x = torch.randn(32, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    step = step_of(network, batch_of(x, torch.arange(32) % 10))
    strength = feedback().saliency(step).flatten(1).abs()
    strongest = strength >= strength.kthvalue(784 - 78 + 1, dim=1, keepdim=True).values
    shares = {
        rank: float(feedback(rank=rank, channel_reduce="mean_signed").masked_positions(step)[strongest].double().mean())
        for rank in ("signed", "abs")
    }
    assert 0.40 <= shares["signed"] <= 0.56
    assert shares["abs"] == 0


def test_random_masks_overlap_the_lowest_as_chance_has_it():
    """Of k = 32 random ones of 64 a share of 1/2 is among the 32 lowest, hypergeometric."""
    x, y = images(200)
    step = step_of(small_cam(), batch_of(x, y))
    lowest = feedback().masked_positions(step)
    random = feedback(mask_source="random").masked_positions(step)
    assert (random.sum(1) == 32).all()
    overlap = (lowest & random).sum(1).double() / 32
    variance = 32 * 0.5 * 0.5 * (64 - 32) / (64 - 1) / 32**2
    assert abs(float(overlap.mean()) - 0.5) <= 4 * (variance / 200) ** 0.5


def test_draws_depend_on_the_step_and_not_on_the_global_generator():
    def view(number: int) -> Tensor:
        step = step_of(small_cam(), batch_of(*images(3)), number=number)
        torch.rand(7)
        found = feedback().view(step)
        assert found is not None
        return found.x

    assert torch.equal(view(0), view(0))
    assert not torch.equal(view(0), view(1))


def test_variants_set_what_the_user_left_open():
    clean, paper = SaliencyGuidedConfig(), SaliencyGuidedConfig(variant="paper", dropout="shared")
    assert (clean.rank, clean.channel_reduce, clean.dropout, clean.bn_masked) == (
        "abs",
        "mean_abs",
        "shared",
        "no_update",
    )
    assert (paper.rank, paper.channel_reduce, paper.dropout, paper.bn_masked) == (
        "signed",
        "mean_signed",
        "shared",
        "update",
    )


def test_on_grey_images_the_released_fill_is_the_default():
    """One channel: the range of the sample is the range of its channel, so both fills draw the same values."""
    views = [
        feedback(fill=f).view(step_of(tiny.network(), tiny.batch())) for f in ("uniform_sample", "uniform_channel")
    ]
    assert views[0] is not None
    assert views[1] is not None
    assert torch.equal(views[0].x, views[1].x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_fraction": 1.0}, r"mask_fraction=1.0 must be in \[0, 1\)"),
        ({"lambda_kl": -1.0}, "lambda_kl=-1.0 must be 0 or more"),
        ({"every_n_steps": 0}, "every_n_steps=0 must be 1 or more"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SaliencyGuidedConfig(**options)


def frozen_module(kind: str = "noisy"):
    return tiny.module(feedback(mask_source="init_frozen"), kind=kind)


def test_frozen_saliency_is_that_of_the_untrained_network_however_long_training_goes_on():
    host = frozen_module()
    (method,) = host.feedbacks
    before = method.saliency(step_of(host.network, tiny.batch()))
    untrained = evaluation_gradient(tiny.network("noisy"), tiny.batch().x, tiny.batch().y, kind="logit")
    assert torch.equal(before, untrained)
    tiny.trained(host)
    assert torch.equal(method.saliency(step_of(host.network, tiny.batch())), before)
    assert not torch.allclose(feedback().saliency(step_of(host.network, tiny.batch())), before)


def test_the_frozen_network_is_kept_in_checkpoints_and_never_trained():
    host = frozen_module()
    names = [name for name in host.state_dict() if name.startswith("feedbacks.0.frozen")]
    assert names
    assert not any(p.requires_grad for name, p in host.named_parameters() if name.startswith("feedbacks.0"))
    before = {name: host.state_dict()[name].clone() for name in names}
    trained = tiny.trained(host).state_dict()
    assert all(torch.equal(trained[name], before[name]) for name in names)


def test_a_random_mask_at_equal_cost_trains_as_a_cheap_one():
    """What is computed and thrown away has no other effect: the same draws, the same weights."""
    one, two = (tiny.trained(tiny.module(feedback(mask_source=s), kind="noisy")) for s in ("random", "random_cheap"))
    tiny.assert_same_bits(tiny.state(one), tiny.state(two))


def test_saliency_in_training_mode_sees_dropout_of_its_own():
    network, method = tiny.network("noisy"), feedback(saliency_mode="train")
    step = step_of(network, tiny.batch())
    before = tiny.state(network)
    found = method.saliency(step)
    tiny.assert_same_bits(tiny.state(network), before)
    reused = feedback(saliency_mode="reuse")
    clean = reused.saliency(step_of(network, tiny.batch(), reused))
    assert not torch.allclose(found, clean)
    assert not torch.allclose(found, feedback().saliency(step))
    network.above[1].p = 0.0
    torch.testing.assert_close(
        method.saliency(step_of(network, tiny.batch())), reused.saliency(step_of(network, tiny.batch(), reused))
    )


def test_each_channel_may_have_a_mask_of_its_own():
    x, y = images(5)
    step = step_of(small_cam(smooth=True).eval(), batch_of(x, y))
    method = feedback(channel_reduce="none", mask_fraction=0.25)
    found, saliency = method.masked_positions(step), method.saliency(step).flatten(2).abs()
    assert found.shape == (5, 2, 64)
    for b in range(5):
        for c in range(2):
            assert set(found[b, c].nonzero().flatten().tolist()) == set(saliency[b, c].argsort()[:16].tolist())
    view = method.view(step)
    assert view is not None
    assert torch.equal((view.x != x).flatten(2), found)


@pytest.mark.parametrize("source", ["random", "random_cheap", "high", "init_frozen", "none", "low"])
def test_controls_are_stamped(source):
    assert feedback(mask_source=source).stamps == (() if source == "low" else (f"control=mask_{source}",))


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_a_softmax_before_cross_entropy_keeps_the_loss_up(name):
    """As the released networks for series do: with two classes the loss can't fall below ln(1 + 1/e)."""
    options = models.config_class(name)(name=name, output="softmax")
    network = models.build(options, (50, 50), 2, 0, kind="series").eval()
    with torch.no_grad():
        network.head.weight.mul_(1e4)
        logits = network(torch.rand(64, 50, 50, generator=torch.Generator().manual_seed(0)))
    least = torch.nn.functional.cross_entropy(logits, logits.argmax(1), reduction="none")
    assert float(least.min()) == pytest.approx(np.log(1 + 1 / np.e), abs=1e-6)
    assert float(least.min()) >= 0.313262 - 1e-6
