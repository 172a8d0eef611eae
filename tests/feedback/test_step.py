"""What one step knows: shared explanations, keyed noise, views that leave the network as it was."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from tests.methods import tiny
from xfeedback.feedback import Step


def step(network: torch.nn.Module, *, seed: int = 0, number: int = 0, epoch: int = 0, **options) -> Step:
    return Step(network, tiny.batch(), seed=seed, position=("0", 0, epoch, number), **options)


def test_losses_are_the_cross_entropy_of_each_sample():
    made = step(tiny.network())
    expected = F.cross_entropy(made.logits, made.batch.y, reduction="none")
    torch.testing.assert_close(made.losses, expected, rtol=0, atol=0)
    assert made.losses.shape == (16,)


def test_epoch_and_number_come_from_the_position():
    made = step(tiny.network(), epoch=4, number=7)
    assert (made.epoch, made.number) == (4, 7)


def test_dropout_depends_on_seed_and_position_and_on_nothing_else():
    def logits(**options):
        torch.rand(3)
        return step(tiny.network("noisy"), **options).logits

    assert torch.equal(logits(), logits())
    for other in ({"seed": 1}, {"number": 1}, {"epoch": 1}):
        assert not torch.equal(logits(), logits(**other))


def test_tapping_layers_and_input_gradients_change_no_logit():
    network = tiny.network("noisy")
    plain = step(network).logits
    rich = step(network, layers=["features"], input_gradient=True)
    assert torch.equal(plain, rich.logits)
    assert rich.features["features"].shape == (16, 6, 8, 8)
    assert rich.x.requires_grad
    assert not rich.batch.x.requires_grad


def test_explanations_are_computed_once_for_all_who_ask():
    network = tiny.network("noisy")
    made = step(network, input_gradient=True)
    with tiny.Counter(network) as counter:
        first = made.evaluation_gradient("logit", made.batch.y, "true")
        again = made.evaluation_gradient("logit", made.batch.y, "true")
        other = made.evaluation_gradient("prob", made.batch.y, "true")
        made.input_gradient("logit", made.batch.y, "true")
        made.input_gradient("logit", made.batch.y, "true")
    assert first is again
    assert other is not first
    assert (counter.forwards, counter.backwards) == (2, 3)


def test_a_view_of_the_same_input_repeats_the_clean_pass_when_noise_is_shared():
    network = tiny.network("noisy")
    made = step(network)
    shared = made.forward(made.batch.x, name="a", shared_noise=True, update_statistics=False)
    own = made.forward(made.batch.x, name="a", shared_noise=False, update_statistics=False)
    other = made.forward(made.batch.x, name="b", shared_noise=False, update_statistics=False)
    assert torch.equal(shared, made.logits)
    assert not torch.equal(own, made.logits)
    assert not torch.equal(own, other)


def test_a_view_moves_statistics_only_when_it_should():
    network = tiny.network("noisy")
    made = step(network)
    before = tiny.state(network)
    made.forward(2 * made.batch.x, name="a", shared_noise=True, update_statistics=False)
    tiny.assert_same_bits(tiny.state(network), before)
    made.forward(2 * made.batch.x, name="a", shared_noise=True, update_statistics=True)
    assert not torch.equal(network.features[1].running_mean, before["features.1.running_mean"])
    assert all(m.track_running_stats for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_generators_are_keyed_by_purpose_and_step():
    network = tiny.network()

    def draw(purpose, **options):
        return torch.rand(4, generator=step(network, **options).generator(purpose))

    assert torch.equal(draw("fill"), draw("fill"))
    assert not torch.equal(draw("fill"), draw("mask"))
    assert not torch.equal(draw("fill"), draw("fill", number=1))


def test_float64_stays_float64_and_half_precision_becomes_float32():
    wide = replace(tiny.batch(), x=tiny.batch().x.double())
    made = Step(tiny.network().double(), wide, seed=0, position=("0", 0, 0, 0))
    assert made.losses.dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = step(tiny.network())
    assert half.logits.dtype == torch.bfloat16
    assert half.losses.dtype == torch.float32
