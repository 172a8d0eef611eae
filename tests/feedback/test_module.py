"""The host of feedbacks: the loss it forms, what it logs, what it refuses, and any user's own loader."""

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.methods import tiny
from xfeedback.errors import TrainingError, UserError
from xfeedback.feedback import Feedback, FeedbackModule, Step, View


class Probe(Feedback):
    """Uses every hook of a step."""

    name = "probe"

    def __init__(self, *, weight: float = 1.0, **options: int) -> None:
        super().__init__(self.Config(**options))
        self.weight, self.steps = weight, []

    def sample_weights(self, step: Step) -> Tensor:
        return torch.arange(len(step.batch), dtype=torch.float32)

    def view(self, step: Step) -> View:
        return View(x=2 * step.batch.x, shared_noise=False)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        self.steps.append((step.epoch, step.number))
        step.reports["probe/seen"] = torch.tensor(7.0)
        strength = self.weight * self.strength(step.epoch)
        return {"view": strength * step.views["probe"].mean(), "one": torch.tensor(strength)}


POSITION = ("0", 0, 0, 0)


def test_loss_is_weighted_cross_entropy_plus_named_terms():
    host, batch = tiny.module(Probe()), tiny.batch()
    _, terms = host.loss_terms(batch, host.active(), POSITION)
    assert list(terms) == ["ce", "probe/view", "probe/one"]
    ce = F.cross_entropy(host.network(batch.x), batch.y, reduction="none")
    torch.testing.assert_close(terms["ce"], (ce * torch.arange(16)).mean(), rtol=1e-6, atol=0)
    torch.testing.assert_close(terms["probe/view"], host.network(2 * batch.x).mean(), rtol=1e-5, atol=1e-7)
    loss = host.training_step(batch, 0)
    torch.testing.assert_close(loss, terms["ce"] + terms["probe/view"] + 1, rtol=1e-6, atol=0)


def test_figures_of_an_epoch_are_logged_by_name():
    host = tiny.module(Probe())
    runner = tiny.trainer(1)
    runner.fit(host, tiny.batches(), tiny.task().test_loaders(20, "cpu")["random"])
    names = {"train/ce", "train/probe/view", "train/probe/one", "train/probe/seen", "train/loss", "train/acc"}
    assert {key for key in runner.callback_metrics if key.startswith("train/")} == names
    assert runner.callback_metrics["train/probe/one"] == 1
    assert runner.callback_metrics["train/probe/seen"] == 7
    assert 0 <= runner.callback_metrics["val/val"] <= 100


def test_a_feedback_waits_for_its_warm_up():
    probe = Probe(warmup_epochs=1, ramp_epochs=1)
    tiny.trained(tiny.module(probe), epochs=3)
    assert probe.steps == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert [probe.strength(epoch) for epoch in range(3)] == [0, 0.5, 1]


def test_validation_accuracy_counts_samples_not_batches():
    """20 images in batches of 16 and 4: the mean of the batches' accuracies would be another number."""
    host = tiny.module()
    runner = tiny.trainer(1)
    loaders = tiny.task().test_loaders(16, "cpu")
    host.val_names = ("random", "clean")
    runner.fit(host, tiny.batches(), [loaders["random"], loaders["clean"]])
    host.eval()
    for name in ("random", "clean"):
        hits = torch.cat([host(b.x).argmax(1) == b.y for b in loaders[name]])
        assert runner.callback_metrics[f"val/{name}"].item() == pytest.approx(100 * hits.double().mean().item())


def test_gradients_that_are_not_finite_are_refused_before_the_weights_move():
    class Explodes(Feedback):
        """A finite term with an infinite gradient: the root of 0."""

        name = "explodes"

        def penalty(self, step: Step) -> dict[str, Tensor]:
            return {"root": (step.logits[0, 0] - step.logits[0, 0].detach()).sqrt()}

    host = tiny.module(Explodes())
    before = tiny.state(host)
    with pytest.raises(TrainingError, match=r"the gradient of network\..* is not finite at epoch 0"):
        tiny.trained(host)
    tiny.assert_same_bits(tiny.state(host), before)


def test_two_feedbacks_that_need_the_same_layer_tap_it_once():
    host = tiny.module(tiny.feedback("xbl"), tiny.feedback("rrr"))
    step, terms = host.loss_terms(tiny.batch(), host.active(), POSITION)
    assert list(step.features) == ["features"]
    assert set(terms) == {"ce", "xbl/distance", "rrr/gradient"}
    assert step.x.requires_grad


@pytest.mark.parametrize("kind", tiny.NETWORKS)
@pytest.mark.parametrize("name", ["xbl", "rrr_g", "gain", "rsc", "challenger"])
def test_what_stands_behind_frozen_weights_is_explained_all_the_same(name, kind):
    """The head alone is trained, as the first thing to try on a trained network: its gradients are those of ever."""
    options = {"site": "hidden"} if name == "challenger" else {}
    gradients = []
    for trains in (True, False):
        host = tiny.module(tiny.feedback(name, **options), kind=kind)
        host.network.features.requires_grad_(trains)  # type: ignore[union-attr]
        _, terms = host.loss_terms(tiny.batch(), host.active(), ("0", 0, 0, 1))
        torch.stack(list(terms.values())).sum().backward()
        gradients.append(host.network.get_parameter("head.weight").grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("whole", [True, False])
def test_compiled_networks_are_refused_where_layers_are_looked_into(whole):
    network = tiny.network()
    if whole:
        network = torch.compile(network, backend="eager")  # type: ignore[assignment]
    else:
        network.features.compile(backend="eager")  # type: ignore[union-attr]
    FeedbackModule(network, [tiny.feedback("plain"), tiny.feedback("caipi")])
    with pytest.raises(UserError, match=r"^xbl looks into .* give the network itself, not torch.compile"):
        FeedbackModule(network, [tiny.feedback("caipi"), tiny.feedback("xbl")])


def test_noise_of_the_clean_pass_is_the_same_whatever_is_on():
    logits = []
    for feedbacks in ([], [Probe()], [tiny.feedback("saliency_guided"), tiny.feedback("xbl")]):
        host = tiny.module(*feedbacks, kind="noisy")
        logits.append(host.loss_terms(tiny.batch(), host.active(), POSITION)[0].logits)
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_all_methods_at_once_in_half_precision():
    host = tiny.module(tiny.feedback("xbl"), tiny.feedback("saliency_guided"), tiny.feedback("rrr"), kind="noisy")
    runner = tiny.trainer(1, precision="bf16-mixed")
    runner.fit(host, tiny.batches())
    assert torch.isfinite(runner.callback_metrics["train/loss"])
    assert {p.dtype for p in host.parameters()} == {torch.float32}


def test_accumulated_batches_give_one_step():
    host = tiny.module()
    runner = tiny.trainer(1, accumulate_grad_batches=3)
    runner.fit(host, tiny.batches())
    assert runner.global_step == 1


def test_channels_last_reaches_weights_inputs_and_views():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    host = FeedbackModule(network, [tiny.feedback("saliency_guided")], channels_last=True)
    seen: list[bool] = []

    def look(_module, inputs):
        seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

    network[0].register_forward_pre_hook(look)
    pair = (torch.rand(4, 3, 8, 8), torch.arange(4))
    host.training_step(host.transfer_batch_to_device(pair, torch.device("cpu"), 0), 0)
    host(pair[0])
    assert seen == [True, True, True, True]
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_ordinary_pairs_of_any_loader_are_accepted(precision):
    x, y = torch.rand(24, 1, 32, 32), torch.arange(24) % 10
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    host = tiny.module(tiny.feedback("saliency_guided"))
    seen: list[int] = []

    class Count(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append(len(batch))

    tiny.trained(host, loader, epochs=1, callbacks=[Count()], precision=precision)
    assert seen == [8, 8, 8]
