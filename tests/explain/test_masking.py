"""Choosing and filling positions, against sorted loops that are fed the same uniform numbers."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from xfeedback.explain.masking import fill_values, lowest


def sorted_loop(ranking, k):
    """The k smallest of each row, the first of equals, by numpy's stable sort."""
    marked = np.zeros(ranking.shape, dtype=bool)
    for row, values in enumerate(ranking.numpy()):
        marked[row, np.argsort(values, kind="stable")[:k]] = True
    return torch.from_numpy(marked)


@pytest.mark.parametrize("k", [0, 1, 7, 24, 48, 49])
@pytest.mark.parametrize("values", ["distinct", "many_ties", "all_zero", "signed_zeros"])
def test_exactly_k_lowest_as_in_a_sorted_loop(k, values):
    numbers = torch.Generator().manual_seed(0)
    ranking = {
        "distinct": torch.randn(20, 49, generator=numbers, dtype=torch.float64),
        "many_ties": torch.randint(0, 4, (20, 49), generator=numbers).double(),
        "all_zero": torch.zeros(20, 49, dtype=torch.float64),
        "signed_zeros": torch.zeros(20, 49, dtype=torch.float64) * torch.randn(20, 49, generator=numbers).sign(),
    }[values]
    found = lowest(ranking, k)
    assert (found.sum(1) == k).all()
    assert torch.equal(found, sorted_loop(ranking, k))


def test_largest_masked_is_not_above_smallest_kept():
    ranking = torch.randn(50, 64, generator=torch.Generator().manual_seed(1))
    found = lowest(ranking, 20)
    largest = torch.where(found, ranking, -torch.inf).amax(1)
    smallest = torch.where(found, torch.inf, ranking).amin(1)
    assert (largest <= smallest).all()


def test_threshold_marks_every_tie():
    ranking = torch.tensor([[0.0, 1.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert lowest(ranking, 2, ties="threshold").sum(1).tolist() == [4, 5]
    assert lowest(ranking, 2).tolist() == [[True, True, False, False, False]] * 2


def range_loop(x, fill, uniforms):
    out = torch.empty_like(x)
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            source = x[b] if fill == "uniform_sample" else x[b, c]
            low, high = source.min(), source.max()
            for j in range(x.shape[2]):
                out[b, c, j] = low + (high - low) * uniforms[b, c, j]
    return out


@pytest.mark.parametrize("fill", ["uniform_sample", "uniform_channel"])
def test_fills_equal_a_loop_fed_the_same_uniforms(fill):
    x = torch.randn(3, 2, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    uniforms = torch.rand(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = fill_values(x, fill, torch.Generator().manual_seed(3))
    assert torch.equal(found, range_loop(x, fill, uniforms))


@pytest.mark.parametrize(("fill", "axes"), [("uniform_sample", (1, 2)), ("uniform_channel", (2,))])
def test_fills_are_uniform_in_the_range_of_the_sample_or_channel(fill, axes):
    x = torch.randn(10, 2, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    x[:, 1] = 3 * x[:, 1] + 5
    low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    found = fill_values(x, fill, torch.Generator().manual_seed(5))
    assert ((found >= low) & (found <= high)).all()
    unit = ((found - low) / (high - low)).flatten().numpy()
    assert len(unit) == 100_000
    assert kstest(unit, "uniform").pvalue > 1e-3


def test_uniform01_knows_nothing_of_the_sample():
    x = 5 + torch.randn(10, 4, 2_500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = fill_values(x, "uniform01", torch.Generator().manual_seed(1))
    assert kstest(found.flatten().numpy(), "uniform").pvalue > 1e-3
    assert torch.equal(found, fill_values(-x, "uniform01", torch.Generator().manual_seed(1)))


def test_mean_and_gaussian_fills():
    x = torch.randn(10, 2, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    mean = x.mean(2, keepdim=True)
    torch.testing.assert_close(fill_values(x, "mean_channel", torch.Generator()), mean.expand_as(x), rtol=0, atol=0)
    noise = fill_values(x, "gaussian", torch.Generator().manual_seed(7)) - mean
    assert kstest(noise.flatten().numpy(), norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize("fill", ["uniform_sample", "uniform_channel", "uniform01", "mean_channel", "gaussian"])
def test_fills_leave_the_global_generator_alone(fill):
    x = torch.rand(2, 3, 4)
    before = torch.get_rng_state()
    fill_values(x, fill, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fill", ["first_corner", "own_corner", "constant"])
def test_fills_without_draws(fill):
    x = torch.rand(3, 2, 7, generator=torch.Generator().manual_seed(0))
    found = fill_values(x, fill, torch.Generator())
    for b in range(3):
        for c in range(2):
            expected = {"first_corner": x[0, c, 0], "own_corner": x[b, c, 0], "constant": torch.zeros(())}[fill]
            assert torch.equal(found[b, c], expected.expand(7))
