"""Challenger's controls: as strong as the real map, and blind to what the network learns."""

import pytest
import torch

from tests.methods.challenger_host import feedback_of, host_of, run, text_host, wide
from xfeedback.feedback import Step
from xfeedback.types import Batch

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


def test_the_untrained_map_of_texts_is_at_the_untrained_embeddings():
    host, ids = text_host(site="input", map_source="init_frozen"), torch.tensor([[5, 6, 7, 8, 9, 0, 0, 0]])
    points = host.network.embed(ids).detach().requires_grad_()
    (grads,) = torch.autograd.grad(host.network(points)[:, 1].sum(), points)
    with torch.no_grad():
        host.network.embedding.weight.add_(torch.randn_like(host.network.embedding.weight))
    step, _ = run(host, Batch(x=ids, y=torch.tensor([1]), index=torch.arange(1), valid=ids != 0))
    found = feedback_of(host).relevance(step, ("input",), real=False)["input"]
    torch.testing.assert_close(found, (points * grads).detach(), rtol=1e-10, atol=1e-14)
