"""Filters, spreads and margins: closed forms, and numpy and scipy as oracles."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from xfeedback.metrics.diversity import effective_rank, mean_cosine, relevant_units
from xfeedback.metrics.margins import margins, narrow_share


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_cosines_of_orthogonal_equal_opposite_and_dead_filters():
    assert mean_cosine(torch.eye(5)) == pytest.approx(0, abs=1e-10)
    assert mean_cosine(torch.ones(4, 2, 3, 3)) == pytest.approx(1, abs=1e-10)
    assert mean_cosine(torch.tensor([[1.0, 2.0], [-1.0, -2.0]])) == pytest.approx(1, abs=1e-7)
    assert mean_cosine(torch.tensor([[1.0, 0.0], [0.0, 0.0]])) == 0
    with pytest.raises(ValueError, match="need two"):
        mean_cosine(torch.ones(1, 3))


def test_cosines_are_scipys():
    weight = random(7, 3, 2, 2)
    assert mean_cosine(weight) == pytest.approx(
        np.abs(1 - pdist(weight.flatten(1).numpy(), "cosine")).mean(), abs=1e-12
    )


def test_effective_rank_of_the_identity_and_of_rank_one():
    assert effective_rank(torch.eye(6)) == pytest.approx(6, abs=1e-10)
    assert effective_rank(torch.outer(torch.arange(1.0, 5.0), torch.arange(1.0, 4.0)).double()) == pytest.approx(1)
    assert effective_rank(torch.zeros(3, 4)) == 0
    weight = random(8, 2, 3)
    values = np.linalg.svd(weight.flatten(1).numpy(), compute_uv=False)
    assert effective_rank(weight) == pytest.approx(np.exp(entropy(values)), rel=1e-10)


def test_relevant_units_count_equal_shares_and_ignore_signs():
    relevance = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, -1.0, 1.0]])
    torch.testing.assert_close(relevant_units(relevance), torch.tensor([2.0, 1, 0, 4], dtype=torch.float64))
    many = random(3, 2, 5)
    np.testing.assert_allclose(relevant_units(many), np.exp(entropy(many.abs().flatten(1).numpy(), axis=1)), rtol=1e-12)


def test_margins_are_a_loop_and_their_sign_says_who_is_right():
    logits, y = random(50, 4), torch.arange(50) % 4
    found = margins(logits, y)
    for b, label in enumerate(y.tolist()):
        rest = [float(logits[b, k]) for k in range(4) if k != label]
        assert float(found[b]) == pytest.approx(float(logits[b, label]) - max(rest), abs=1e-12)
    assert torch.equal(found > 0, logits.argmax(1) == y)
    assert narrow_share(torch.tensor([0.5, -0.5, 1.0, -3.0])) == 0.5
