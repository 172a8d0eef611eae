"""Peers on series and texts: what they change there, against plain computations of the networks' parts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.methods import tiny
from tests.methods.test_saliency_guided_text import NETWORKS, network, texts
from xfeedback import models
from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule, Step
from xfeedback.methods.rsc import hurt_most, kept
from xfeedback.models.stages import last_features
from xfeedback.types import Batch

HERE = ("0", 0, 0, 0)
SERIES = ("tcn", "lstm", "lstm_cell_attention", "transformer")


def series_network(name: str) -> torch.nn.Module:
    config = models.config_class(name)(name=name, dropout=0.0)
    return models.build(config, (20, 2), 3, 0, kind="series")


def series() -> Batch:
    x = torch.randn(6, 20, 2, generator=torch.Generator().manual_seed(1))
    return Batch(x=x, y=torch.arange(6) % 3, index=torch.arange(6))


def host_of(name: str, model: str, **options) -> tuple[FeedbackModule, Batch]:
    """A method on a network for texts or series, and a batch for it; no dropout."""
    net, batch = (network(model, dropout=0.0), texts()) if model in NETWORKS else (series_network(model), series())
    return FeedbackModule(net, [tiny.feedback(name, **options)], example=batch.x[:1]), batch


def terms(host: FeedbackModule, batch: Batch) -> tuple[Step, dict[str, Tensor]]:
    return host.loss_terms(batch, host.active(), HERE)


@pytest.mark.parametrize("kind", [*NETWORKS, *SERIES])
def test_the_last_features_are_all_that_the_logits_depend_on(kind):
    """Held fixed, they hold the logits fixed whatever the input; and they are not the logits."""
    host, batch = host_of("rsc", kind)
    net, (layer,) = host.network.eval(), host.feedbacks[0].layers
    assert layer == last_features(net, batch.x[:1])
    held: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *run: held.append(run[2]))
    logits = net(batch.x)
    handle.remove()
    assert held[0].shape != logits.shape
    net.get_submodule(layer).register_forward_hook(lambda *_: held[0])
    other = batch.x.flip(0) if kind in SERIES else torch.where(batch.x == 0, 0, 30 - batch.x)  # texts as long as before
    torch.testing.assert_close(net(other), logits)


def test_rsc_mutes_entries_of_a_vector_of_features():
    """The text network's logits are linear in its pooled features, so the label's gradient there is its weights."""
    host, batch = host_of("rsc", "text_cnn", share=0.4)
    step, found = terms(host, batch)
    head, features = host.network.head, step.features["dropout"].detach()
    weights = head.weight.detach()[batch.y]
    stays = torch.ones_like(features, dtype=torch.bool)
    for row, weight in enumerate(weights):
        stays[row, weight.argsort(descending=True)[: round(features.shape[1] / 3)]] = False
    muted = head(features * stays)
    worst = hurt_most(step.logits, muted, batch.y, 0.4)
    assert worst.sum() == 3  # of 7
    losses = F.cross_entropy(muted, batch.y, reduction="none")
    expected = (worst * (losses - step.losses)).mean()
    assert found["rsc/challenge"].item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(host.network(batch.x), step.logits)  # the hook is at rest again


def test_rsc_mutes_steps_or_channels_of_a_map_of_series():
    gradient = torch.arange(24.0).reshape(1, 4, 6)  # steps (rows), channels last
    steps = kept(gradient, "spatial", 0.5, axis=2)
    assert steps.shape == (1, 4, 1)
    assert steps.flatten().tolist() == [True, True, False, False]
    channels = kept(gradient, "channel", 0.5, axis=2)
    assert channels.shape == (1, 1, 6)
    assert channels.flatten().tolist() == [True] * 3 + [False] * 3


def test_rsc_has_no_cells_to_mute_in_a_vector():
    with pytest.raises(UserError, match=r"method\.rsc\.kind=spatial: layer 'dropout' gives a vector.*choose channel"):
        host_of("rsc", "text_cnn", kind="spatial")


def test_manifold_mixup_blends_embeddings_of_texts():
    host, batch = host_of("manifold_mixup", "text_cnn", layers=("input",))
    net = host.network
    step, found = terms(host, batch)
    share = float(step.batch.target.gather(1, batch.y[:, None]).min())
    rows = net.embed(batch.x)
    partner = [
        min(range(7), key=lambda m: (share * rows[n] + (1 - share) * rows[m] - step.x[n]).abs().max()) for n in range(7)
    ]
    torch.testing.assert_close(step.x, share * rows + (1 - share) * rows[partner])
    labels = share * F.one_hot(batch.y, 3) + (1 - share) * F.one_hot(batch.y[partner], 3)
    torch.testing.assert_close(step.batch.target, labels)
    assert torch.equal(step.batch.valid, batch.valid | batch.valid[partner])
    assert found["ce"].item() == pytest.approx(F.cross_entropy(net(step.x), labels).item(), rel=1e-5)


def test_manifold_mixup_blends_the_masked_embeddings_of_texts_alike():
    net, batch = network("text_cnn", dropout=0.0), texts()
    feedbacks = [tiny.feedback("manifold_mixup", layers=("input",)), tiny.feedback("saliency_guided", fill="mean")]
    host = FeedbackModule(net, feedbacks, example=batch.x[:1])
    step, _ = terms(host, batch)
    share = float(step.batch.target.gather(1, batch.y[:, None]).min())
    partner = torch.randperm(7, generator=step.generator("manifold_mixup/partners"))
    rows = net.embed(feedbacks[1].masked_text(step))
    torch.testing.assert_close(step.views["saliency_guided"], net(share * rows + (1 - share) * rows[partner]))


@pytest.mark.parametrize("name", ["rsc", "manifold_mixup"])
@pytest.mark.parametrize("kind", [*NETWORKS, *SERIES])
def test_they_train_every_network(name, kind):
    host, batch = host_of(name, kind)
    _, found = terms(host, batch)
    torch.stack(list(found.values())).sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in host.network.parameters())
    assert any(p.grad is not None and p.grad.any() for p in host.network.parameters())
