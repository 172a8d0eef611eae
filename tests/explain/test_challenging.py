"""Weights and challenged tensors against hand-worked numbers and loops."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from xfeedback.explain.challenging import (
    another,
    at_random,
    challenged,
    controlled,
    matched,
    permuted,
    summed,
    weights,
)

HARD = ("top_k_zero", "top_k_noise", "mean", "swap")
H = torch.tensor([[1.0, -2.0, 0.0, 4.0]], dtype=torch.float64)
R = H * torch.tensor([[2.0, -0.5, 5.0, -1.0]], dtype=torch.float64)


def draws(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def strength(value: float, n: int = 1) -> Tensor:
    return torch.full((n,), value, dtype=torch.float64)


def close(found: Tensor, expected: list[float], tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=found.dtype), rtol=0, atol=tolerance)


def test_by_hand():
    assert R.tolist() == [[2, 1, 0, -4]]
    r = weights(R, "soft", 0.1)
    close(r, [1, 0.5, 0, 0])
    close(challenged(H, r, strength(1), "attenuate", generator=draws()), [0, -1, 0, 4])
    close(challenged(H, r, strength(2), "attenuate", generator=draws()), [-1, 0, 0, 4])
    close(challenged(H, r, strength(1), "amplify", generator=draws()), [2, -3, 0, 4])
    signed = weights(R, "signed", 0.1)
    found = challenged(H, signed, strength(1), "subtract", generator=draws())
    close(found, [-1.165064, -3.082532, 0, 8.330127])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("relevance", [torch.zeros(2, 6), -torch.rand(2, 6)])
@pytest.mark.parametrize("select", ["soft", "top_k", "quantile"])
def test_without_positive_relevance_nothing_changes(dtype, relevance, select):
    h = torch.randn(2, 6).to(dtype)
    found = challenged(h, weights(relevance, select, 0.5), strength(1.5, 2), "attenuate", generator=draws())
    assert torch.equal(found, h)


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_top_k_by_a_loop(share, sparse):
    relevance = torch.randn(8, 60, generator=draws(), dtype=torch.float64)
    if sparse:
        relevance *= torch.rand(8, 60, generator=draws(1)) < 0.1
    found = weights(relevance, "top_k", share)
    k = max(1, int(share * 60))
    for row, mask in zip(relevance.numpy(), found.numpy(), strict=True):
        order = [j for j in np.argsort(-row, kind="stable")[:k] if row[j] > 0]
        assert set(np.flatnonzero(mask)) == set(order)
        assert mask.sum() == min(k, (row > 0).sum())


def test_quantile_is_numpys_over_the_elements_that_count():
    relevance = torch.randn(5, 40, generator=draws(), dtype=torch.float64)
    valid = torch.arange(40) < torch.tensor([40, 30, 10, 5, 1])[:, None]
    found = weights(relevance * valid, "quantile", 0.25, valid)
    for row, mask, counts in zip(relevance.numpy(), found.numpy(), valid.numpy(), strict=True):
        threshold = np.quantile(row[counts], 0.75)
        assert np.array_equal(mask[counts] > 0, (row[counts] > 0) & (row[counts] > threshold))
        assert not mask[~counts].any()


def test_padding_changes_no_share():
    relevance = torch.rand(3, 10, generator=draws())
    longer = torch.cat([relevance, torch.zeros(3, 90)], 1)
    valid = (torch.arange(100) < 10).expand(3, 100)
    for select in ("soft", "top_k", "quantile", "signed"):
        assert torch.allclose(weights(longer, select, 0.3, valid)[:, :10], weights(relevance, select, 0.3))


@pytest.mark.parametrize("transform", HARD)
def test_hard_transforms_touch_what_is_selected_and_no_more(transform):
    h = torch.randn(6, 3, 4, 4, generator=draws())
    r = (torch.rand(6, 3, 4, 4, generator=draws(1)) < 0.2).float()
    found = challenged(h, r, strength(1, 6), transform, generator=draws())
    assert torch.equal(found[r == 0], h[r == 0])
    if transform == "top_k_zero":
        assert (found[r > 0] == 0).all()
    elif transform == "mean":
        assert torch.equal(found, torch.where(r > 0, h.mean((2, 3), keepdim=True), h))
    elif transform == "top_k_noise":
        low, high = h.amin((2, 3), keepdim=True), h.amax((2, 3), keepdim=True)
        assert ((found >= low) & (found <= high)).all()
        assert not torch.equal(found, h)
    else:
        assert torch.equal(found, torch.where(r > 0, h[another(6, draws())], h))


def test_means_and_extremes_are_those_of_what_is_no_padding():
    h = torch.rand(2, 10, 3, generator=draws()) + 1
    valid = (torch.arange(10) < 4)[:, None].expand(2, 10, 1)
    h, r = h * valid, valid.expand_as(h).float()
    mean = challenged(h, r, strength(1, 2), "mean", generator=draws(), valid=valid)
    close = h[:, :4].mean((1, 2), keepdim=True).expand(2, 4, 3)
    torch.testing.assert_close(mean, torch.cat([close, torch.zeros(2, 6, 3)], 1))
    noise = challenged(h, r, strength(1, 2), "top_k_noise", generator=draws(), valid=valid)
    assert (noise[:, :4] >= h[:, :4].amin((1, 2), keepdim=True)).all()
    assert not noise[:, 4:].any()


def test_zeros_stay_zeros_and_signs_differ_by_sample():
    h = torch.randn(50, 8, generator=draws()).relu()
    r = weights(torch.rand(50, 8, generator=draws(1)), "soft", 0.1)
    for transform in ("attenuate", "amplify", "symmetric"):
        assert (challenged(h, r, strength(1.7, 50), transform, generator=draws())[h == 0] == 0).all()
    grown = challenged(h, r, strength(0.5, 50), "symmetric", generator=draws()).sum(1) > h.sum(1)
    assert 10 < int(grown.sum()) < 40


def test_granularity_sums_over_axes():
    relevance = torch.randn(2, 3, 4, 5, generator=draws())
    assert torch.equal(summed(relevance, "position", 1), relevance.sum(1, keepdim=True))
    assert torch.equal(summed(relevance, "channel", 1), relevance.sum((2, 3), keepdim=True))
    sequence = relevance[:, 0]
    assert torch.equal(summed(sequence, "position", -1), sequence.sum(2, keepdim=True))
    assert torch.equal(summed(sequence, "channel", -1), sequence.sum(1, keepdim=True))


def test_controls_keep_what_they_should():
    r = torch.rand(40, 30, generator=draws())
    active = torch.rand(40, 30, generator=draws(1)) < 0.4
    every = torch.ones_like(active)

    def control(source: str, select: str = "soft") -> Tensor:
        return controlled(r, source, select, active, every, generator=draws(2))  # type: ignore[arg-type]

    assert torch.equal(control("shuffled").sort(1).values, r.sort(1).values)
    kept = control("shuffled_active")
    assert torch.equal(kept[~active], r[~active])
    for row, other, mask in zip(r, kept, active, strict=True):
        assert torch.equal(row[mask].sort().values, other[mask].sort().values)
    assert not torch.equal(kept, r)
    assert torch.allclose(control("uniform"), r.mean(1, keepdim=True).expand_as(r))
    others = control("other_sample")
    assert not any(torch.equal(a, b) for a, b in zip(others, r, strict=True))
    assert {tuple(row.tolist()) for row in others} == {tuple(row.tolist()) for row in r}
    assert (control("random_place")[~active] == 0).all()
    hard = (r > 0.8).float() * active
    assert torch.equal(at_random(hard, active, "top_k", draws(3)).sum(1), hard.sum(1))
    assert torch.equal(controlled(r, "real", "soft", active, every, generator=draws()), r)


def test_permutations_are_uniform():
    r = torch.arange(4.0).expand(4000, 4)
    found = permuted(r, torch.ones_like(r, dtype=torch.bool), draws())
    counts = torch.stack([(found == value).float().mean(0) for value in range(4)])
    assert (counts - 0.25).abs().max() < 0.04


def test_matched_changes_are_as_long_as_the_real_ones():
    h, real, control = torch.randn(3, 5, 7, dtype=torch.float64, generator=draws())
    control[0] = h[0]
    found = matched(h, control, real)
    expected = (real - h).norm(dim=1)
    torch.testing.assert_close((found - h).norm(dim=1)[1:], expected[1:], rtol=1e-6, atol=0)
    assert torch.equal(found[0], h[0])
