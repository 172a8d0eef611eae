"""Margins and diversity of a trained network: against loops over its layers, and through a run."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from tests.engine.small import small_spec
from xfeedback import models
from xfeedback.engine.diversity import diversity, filters
from xfeedback.engine.evaluate import evaluate
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.run import load_task
from xfeedback.types import Batch

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)]
    return nn.Sequential(*layers).double().eval()


def batches(n: int = 10) -> list[Batch]:
    x = torch.rand(n, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return [Batch(x=x[a:b], y=torch.arange(a, b) % 3, index=torch.arange(a, b)) for a, b in pairwise((0, 4, 8, n))]


def test_values_equal_a_loop():
    net, parts = network(), batches()
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    logits = net(x).detach()
    found = diversity(net, parts, logits, y, samples=9, temperature=2.0)
    z = logits.numpy() / 2
    margin = np.array([z[b, c] - np.delete(z[b], c).max() for b, c in enumerate(y.tolist())])
    assert found["margin/median"] == pytest.approx(np.sort(margin)[4], abs=1e-12)
    assert found["margin/narrow"] == pytest.approx(100 * (np.abs(margin) < 1).mean())
    maps = [net[:1](x[:9]), net[:3](x[:9])]
    ranks = [np.exp(entropy(np.linalg.svd(m.mean((2, 3)).detach().numpy(), compute_uv=False))) for m in maps]
    assert found["diversity/activation_rank"] == pytest.approx(np.mean(ranks), rel=1e-9)
    leaf = x[:9].clone().requires_grad_()
    (grad,) = torch.autograd.grad(net(leaf).gather(1, y[:9, None]).sum(), leaf)
    units = np.exp(entropy((leaf * grad).detach().abs().flatten(1).numpy(), axis=1))
    assert found["diversity/relevant_units"] == pytest.approx(units.mean(), rel=1e-9)
    spectra = [np.linalg.svd(net[i].weight.detach().flatten(1).numpy(), compute_uv=False) for i in (0, 2)]
    assert found["diversity/filter_rank"] == pytest.approx(np.mean([np.exp(entropy(s)) for s in spectra]), rel=1e-9)


def test_networks_without_convolutions_have_linear_filters():
    assert filters(network()) == ("0", "2")
    assert filters(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))) == ("1",)


def test_a_run_reports_them_when_asked(tmp_path):
    task = load_task(small_spec(tmp_path))
    net = models.build(models.config_class("gapnet")(name="gapnet", width=2), task.in_shape, task.n_classes, seed=1)
    options = {"explained": 0, "pictures": 0}
    asked = evaluate(net, task, EvaluationConfig(diversity=True, diversity_samples=20, **options), CPU).metrics
    plain = evaluate(net, task, EvaluationConfig(**options), CPU).metrics
    names = {name for name in asked if name.startswith(("margin/", "diversity/"))}
    assert set(asked) - set(plain) == names
    assert len(names) == 6
    assert all(np.isfinite(asked[name]) for name in names)
    assert 0 <= asked["diversity/filter_cosine"] <= 1
