"""CAIPI: what its counterexamples hold, and its loss against training on both."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.methods import tiny
from xfeedback.errors import UserError
from xfeedback.feedback import Step
from xfeedback.methods.caipi import counterexamples
from xfeedback.seeding import generator

POSITION = ("0", 0, 0, 0)


def many() -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(0)
    x = torch.rand(200, 2, 8, 8, generator=numbers) * torch.tensor([1.0, 4.0])[:, None, None] - 1
    return x, torch.rand(200, 8, 8, generator=numbers) < 0.5


def test_noise_only_in_the_wrong_region():
    x, wrong = many()
    changed = counterexamples(x, wrong, generator("cpu", 0, "test"))
    outside = ~wrong[:, None].expand_as(x)
    assert torch.equal(changed[outside], x[outside])
    assert (changed[~outside] != x[~outside]).float().mean() > 0.99


def test_noise_is_uniform_over_the_range_of_the_batch_and_tells_nothing_of_the_image():
    """Channel 0 spans [-1, 0] and channel 1 [-1, 3]; a constant image gets the same noise as any."""
    x, wrong = many()
    x[0] = -0.5
    changed = counterexamples(x, torch.ones_like(wrong), generator("cpu", 0, "test"))
    for channel, (low, high) in enumerate([(-1, 0), (-1, 3)]):
        drawn = (changed[:, channel].flatten() - low) / (high - low)
        counts = torch.histc(drawn, 10, 0, 1)
        assert counts.sum() == drawn.numel()
        assert (counts / drawn.numel() - 0.1).abs().max() < 4 * (0.09 / drawn.numel()) ** 0.5
        assert changed[0, channel].max() - changed[0, channel].min() > 0.8 * (high - low)


def test_loss_is_the_cross_entropy_of_both():
    """Without BatchNorm the step's loss is that of plain training on images and counterexamples together, twice."""
    host, batch = tiny.module(tiny.feedback("caipi")), tiny.batch()
    step, terms = host.loss_terms(batch, host.active(), POSITION)
    copies = counterexamples(batch.x, batch.wrong, step.generator("caipi"))
    both = F.cross_entropy(host.network(torch.cat([batch.x, copies])), torch.cat([batch.y, batch.y]))
    torch.testing.assert_close(sum(terms.values()), 2 * both, rtol=1e-6, atol=0)


def test_images_without_a_wrong_region_have_no_counterexample():
    host, batch = tiny.module(tiny.feedback("caipi", weight=3.0)), tiny.batch()
    part = replace(batch, annotated=torch.arange(16) < 4)
    step, terms = host.loss_terms(part, host.active(), POSITION)
    copies = counterexamples(batch.x, batch.wrong, step.generator("caipi"))
    losses = F.cross_entropy(host.network(copies), batch.y, reduction="none")
    torch.testing.assert_close(terms["caipi/counterexamples"], 3 * losses[:4].sum() / 16, rtol=1e-6, atol=0)


def test_counterexamples_of_blends_have_their_blended_labels():
    host, batch = tiny.module(tiny.feedback("mixup", alpha=1.0), tiny.feedback("caipi")), tiny.batch()
    step, terms = host.loss_terms(batch, host.active(), POSITION)
    copies = counterexamples(step.batch.x, step.batch.wrong, step.generator("caipi"))
    assert step.batch.target is not None
    expected = F.cross_entropy(host.network(copies), step.batch.target)
    torch.testing.assert_close(terms["caipi/counterexamples"], expected, rtol=1e-5, atol=0)


def test_noise_is_new_in_every_step_and_repeats_with_the_seed():
    batch = tiny.batch()
    views = []
    for seed, number in ((0, 0), (0, 0), (0, 1), (1, 0)):
        step = Step(tiny.network(), batch, seed=seed, position=("0", 0, 0, number))
        views.append(tiny.feedback("caipi").view(step).x)
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert not torch.equal(views[0], views[3])


def test_counterexamples_leave_the_running_statistics_alone():
    plain, host = tiny.module(kind="noisy"), tiny.module(tiny.feedback("caipi"), kind="noisy")
    for module in (plain, host):
        module.training_step(tiny.batch(), 0)
    statistics = {name for name in tiny.state(plain) if "running" in name}
    assert statistics
    tiny.assert_same_bits(
        {name: tiny.state(host)[name] for name in statistics}, {name: tiny.state(plain)[name] for name in statistics}
    )


def test_two_forwards_and_one_backward():
    assert tiny.passes(tiny.module(tiny.feedback("caipi"))) == (2, 1)


def test_batches_without_any_annotation_are_refused():
    with pytest.raises(UserError, match="method=caipi needs batches with a wrong or a right region"):
        tiny.module(tiny.feedback("caipi")).training_step(replace(tiny.batch(), mask=None, wrong=None), 0)
