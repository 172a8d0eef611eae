import math

import pytest
import torch

from xfeedback.explain import explained_output, gradient
from xfeedback.losses import right_reasons


def test_worked_number():
    """Logits (x, 0) at x = ln 3: d/dx sum_k log p_k = 1 - 2 p_1 = -1/2, squared 1/4."""
    x = torch.full((1, 1, 1, 1), math.log(3), requires_grad=True)
    logits = x.flatten(1) @ torch.tensor([[1.0], [0.0]]).T
    grad = gradient(explained_output(logits, torch.tensor([0]), "sum_log_prob"), x)
    assert right_reasons(grad, torch.ones(1, 1, 1, dtype=torch.bool)).item() == pytest.approx(0.25, abs=1e-6)


def test_equals_a_plain_loop_and_is_a_mean_over_samples():
    numbers = torch.Generator().manual_seed(0)
    grad = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=numbers)
    wrong = torch.rand(3, 4, 5, generator=numbers) < 0.4
    total = 0.0
    for b in range(3):
        for i in range(4):
            for j in range(5):
                if wrong[b, i, j]:
                    total += sum(float(grad[b, c, i, j]) ** 2 for c in range(2))
    assert right_reasons(grad, wrong).item() == pytest.approx(total / 3, rel=1e-12)
    twice = right_reasons(torch.cat([grad, grad]), torch.cat([wrong, wrong]))
    assert twice.item() == pytest.approx(total / 3, rel=1e-12)


def test_nothing_wrong_costs_exactly_nothing():
    grad = torch.randn(2, 1, 3, 3, requires_grad=True)
    loss = right_reasons(grad, torch.zeros(2, 3, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert (grad.grad == 0).all()
