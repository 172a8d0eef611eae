"""What every method promises, whichever it is: the same tests run on each file in `xfeedback/methods`."""

import gc
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import Callback

from tests.conftest import ROOT
from tests.methods import tiny
from xfeedback import methods
from xfeedback.config import from_mapping
from xfeedback.engine.checkpoint import AtomicCheckpointIO, RandomState, SaveForResume, latest
from xfeedback.errors import TrainingError
from xfeedback.feedback import FeedbackModule, PresetModule

NAMES = methods.names()
ANNOTATED = [name for name in NAMES if methods.feedback_class(name).annotation != "none"]
WEIGHTED = [name for name in NAMES if methods.feedback_class(name).strength_option is not None]
every_method = pytest.mark.parametrize("name", NAMES)
every_network = pytest.mark.parametrize("kind", tiny.NETWORKS)


def partner(name: str) -> str:
    return "rrr" if name == "saliency_guided" else "saliency_guided"


@pytest.fixture(scope="module")
def plain() -> Any:
    """Weights after 21 plain steps on each network."""
    return {kind: tiny.state(tiny.trained(tiny.module(kind=kind), epochs=7)) for kind in tiny.NETWORKS}


@every_method
def test_a_method_is_a_feedback_and_a_module_of_the_same_name(name):
    feedback, module = methods.feedback_class(name), methods.module_class(name)
    assert feedback.name == name
    assert issubclass(module, PresetModule)
    assert module.feedback_class is feedback
    assert getattr(methods, module.__name__) is module


@every_method
def test_yaml_equals_the_dataclass_defaults(name):
    text = (ROOT / "conf" / "method" / f"{name}.yaml").read_text().replace("${variant}", "clean")
    values, config = yaml.safe_load(text), methods.feedback_class(name).Config
    assert list(values) == [name]
    assert set(values[name]) == {f.name for f in fields(config)}
    assert from_mapping(config, values[name], f"method.{name}") == config()


@every_network
@every_method
def test_loss_is_finite_and_every_parameter_gets_a_gradient(name, kind):
    host = tiny.module(tiny.feedback(name), kind=kind)
    loss = host.training_step(tiny.batch(), 0)
    loss.backward()
    assert torch.isfinite(loss)
    trainable = {n: p.grad for n, p in host.named_parameters() if p.requires_grad}
    assert trainable
    for parameter, grad in trainable.items():
        assert grad is not None, parameter
        assert torch.isfinite(grad).all(), parameter
        assert grad.abs().max() > 0, parameter


@every_network
@pytest.mark.parametrize("name", WEIGHTED)
def test_a_method_with_weight_changes_training(name, kind, plain):
    found = tiny.state(tiny.trained(tiny.module(tiny.feedback(name), kind=kind), epochs=7))
    assert any(not torch.equal(found[key], plain[kind][key]) for key in plain[kind])


@every_network
@pytest.mark.parametrize("name", WEIGHTED)
def test_strength_0_equals_plain_bit_for_bit(name, kind, plain):
    """A feedback that changes the network is plain training of the changed network."""
    feedback = tiny.feedback(name, **{methods.feedback_class(name).strength_option: 0.0})
    assert feedback.full_strength == 0
    assert tiny.passes(tiny.module(feedback, kind=kind)) == (1, 1)
    expected = plain[kind]
    if feedback.changes_network:
        changed = tiny.module(feedback, kind=kind)
        changed.feedbacks = torch.nn.ModuleList()
        expected = tiny.state(tiny.trained(changed, epochs=7))
    found = tiny.trained(tiny.module(feedback, kind=kind), epochs=7)
    tiny.assert_same_bits(tiny.state(found.network), {k.removeprefix("network."): v for k, v in expected.items()})


@pytest.mark.parametrize("name", WEIGHTED)
def test_between_its_steps_a_feedback_changes_nothing(name):
    """With every_n_steps=2 even steps are as always, odd ones plain training of the same network, to the bit."""
    always, sparse = (tiny.module(tiny.feedback(name, every_n_steps=n), kind="noisy") for n in (1, 2))
    for number in (0, 1, 2):
        expected, found = (
            {key: float(value.detach()) for key, value in host.loss_terms(tiny.batch(), active, _at(number))[1].items()}
            for host, active in ((always, always.active() if number % 2 == 0 else []), (sparse, sparse.active()))
        )
        assert found == expected, number


def _at(number: int) -> tuple[str, int, int, int]:
    return "0", 0, 0, number


@every_network
@pytest.mark.parametrize("name", ANNOTATED)
def test_nothing_annotated_equals_plain_bit_for_bit(name, kind):
    loader = tiny.changed(lambda b: replace(b, annotated=torch.zeros(len(b), dtype=torch.bool)))
    found = tiny.trained(tiny.module(tiny.feedback(name), kind=kind), loader, epochs=7)
    expected = tiny.trained(tiny.module(kind=kind), loader, epochs=7)
    tiny.assert_same_bits(tiny.state(found), tiny.state(expected))


@every_network
@every_method
def test_same_seed_same_bits(name, kind):
    one, two = (tiny.state(tiny.trained(tiny.module(tiny.feedback(name), kind=kind))) for _ in range(2))
    tiny.assert_same_bits(one, two)
    other = tiny.state(tiny.trained(tiny.module(tiny.feedback(name), kind=kind, seed=1)))
    assert any(not torch.equal(one[key], other[key]) for key in one)


class KilledError(Exception):
    """Stands for the power going off."""


class KillAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise KilledError


@every_method
def test_kill_and_resume_equals_an_uninterrupted_run_bit_for_bit(name, tmp_path):
    """Killed in the middle of the third of four epochs, during the ramp; draws from the global generator go on too."""

    def host() -> FeedbackModule:
        return tiny.module(tiny.feedback(name, warmup_epochs=1, ramp_epochs=3), kind="noisy")

    def run(*more: Callback, checkpoint: Any = None) -> dict[str, torch.Tensor]:
        callbacks = [RandomState(), SaveForResume(tmp_path, 1), *more]
        fresh = host()
        runner = tiny.trainer(4, callbacks=callbacks, plugins=[AtomicCheckpointIO()])
        runner.fit(fresh, tiny.batches(), ckpt_path=checkpoint, weights_only=True)
        moments = runner.optimizers[0].state_dict()["state"]
        return tiny.state(fresh) | {f"moment/{i}": s["exp_avg_sq"] for i, s in moments.items()}

    expected = run()
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(KilledError):
        run(KillAt(7))
    checkpoint, notes = latest(tmp_path)
    assert checkpoint is not None
    assert not notes
    tiny.assert_same_bits(run(checkpoint=checkpoint), expected)


@every_network
@every_method
@pytest.mark.parametrize("channels_last", [False, True])
def test_bf16_and_channels_last(name, kind, channels_last):
    host = tiny.module(tiny.feedback(name), kind=kind, channels_last=channels_last)
    runner = tiny.trainer(1, precision="bf16-mixed")
    runner.fit(host, tiny.batches())
    figures = {key: float(value) for key, value in runner.callback_metrics.items()}
    assert "train/loss" in figures
    assert all(torch.isfinite(torch.tensor(value)) for value in figures.values()), figures
    assert all(torch.isfinite(p).all() for p in host.parameters())
    assert {p.dtype for p in host.parameters()} == {torch.float32}


@every_method
def test_channels_last_gives_the_same_loss_in_float64(name):
    """Without dropout, whose masks follow the memory format."""
    losses = []
    for channels_last in (False, True):
        host = tiny.module(tiny.feedback(name), kind="noisy", channels_last=channels_last).double()
        host.network.above[1].p = 0.0
        wide = replace(tiny.batch(), x=tiny.batch().x.double())
        moved = host.transfer_batch_to_device(wide, torch.device("cpu"), 0)
        assert moved.x.is_contiguous(memory_format=torch.channels_last) or not channels_last
        losses.append(host.training_step(moved, 0))
    assert losses[0].dtype == torch.float64
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)


@every_network
@every_method
def test_combines_with_another_method_on_one_clean_forward(name, kind):
    own, other = tiny.feedback(name), tiny.feedback(partner(name))
    alone, both = tiny.module(own, kind=kind), tiny.module(own, other, kind=kind)
    position = ("0", 0, 0, 0)
    _, terms_alone = alone.loss_terms(tiny.batch(), alone.active(), position)
    _, terms_both = both.loss_terms(tiny.batch(), both.active(), position)
    assert any(key.startswith(f"{partner(name)}/") for key in terms_both)
    for key, value in terms_alone.items():
        assert torch.equal(terms_both[key], value), key
    forwards_alone, _ = tiny.passes(tiny.module(tiny.feedback(name), kind=kind))
    others = "noisy" if own.changes_network else kind  # a changed network has BatchNorm, behind which nothing is shared
    forwards_other, _ = tiny.passes(tiny.module(tiny.feedback(partner(name)), kind=others))
    forwards_both, _ = tiny.passes(tiny.module(own, other, kind=kind))
    assert forwards_both <= forwards_alone + forwards_other - 1
    trained = tiny.trained(tiny.module(tiny.feedback(name), tiny.feedback(partner(name)), kind=kind))
    assert all(torch.isfinite(p).all() for p in trained.parameters())


@every_method
def test_a_loss_that_is_not_finite_is_refused_before_the_weights_move(name):
    poisoned = tiny.changed(lambda b: replace(b, x=torch.full_like(b.x, torch.nan)))
    host = tiny.module(tiny.feedback(name))
    before = tiny.weights(host)
    with pytest.raises(TrainingError, match=r"term 'ce'.*lr"):
        tiny.trained(host, poisoned)
    tiny.assert_same_bits(tiny.weights(host), before)


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_term_that_is_not_finite_is_named(name):
    """Unless the option is a share, which is refused before."""
    option = methods.feedback_class(name).strength_option
    try:
        feedback = tiny.feedback(name, **{option: 1e39})
    except ValueError as error:
        assert str(error) == f"{option}=1e+39 must be in [0, 1]"  # noqa: PT017
        return
    host = tiny.module(feedback)
    before = tiny.weights(host)
    with pytest.raises(TrainingError, match=f"epoch 0, step 0: term '{name}/"):
        tiny.trained(host)
    tiny.assert_same_bits(tiny.weights(host), before)


@every_method
def test_a_run_leaves_nothing_alive_that_grows(name):
    """Tensors alive after 50 steps are those alive after 10."""
    host, batch = tiny.module(tiny.feedback(name)), tiny.batch(2)
    counts = []
    for number in range(50):
        host.training_step(batch, number).backward()
        host.zero_grad()
        if number in (9, 49):
            counts.append(_tensors_alive())
    assert counts[1] <= counts[0]


def _tensors_alive() -> int:
    gc.collect()
    return sum(1 for thing in gc.get_objects() if type(thing) is torch.Tensor)
