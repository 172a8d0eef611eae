"""The knowledge losses at the points where they must vanish, and against loops and other libraries."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation

from xfeedback.losses.knowledge import (
    black_loss,
    box_mil_loss,
    clue_loss,
    consistency_loss,
    distillation_loss,
    grown,
    of_class,
    on_grid,
    presence,
    ratio_loss,
    top_mean,
    uniq_loss,
    white_loss,
)

draws = torch.Generator().manual_seed(0)
S = torch.rand(3, 4, 6, 5, dtype=torch.float64, generator=draws)
Y = torch.tensor([0, 3, 2])
M = torch.zeros(3, 6, 5, dtype=torch.bool)
M[0, 1:4, 1:3] = True
M[1, 0, 4] = True
M[2] = True


def test_top_mean_is_the_mean_of_the_largest_cells_at_least_one():
    for share, count in ((0.05, 1), (0.1, 3), (0.5, 15), (1.0, 30)):
        expected = S.flatten(2).topk(count, 2).values.mean(2)
        torch.testing.assert_close(top_mean(S, share), expected, rtol=1e-12, atol=0)


def test_top_mean_inside_a_region():
    own = S[:, 0]
    expected = [own[b][M[b]].topk(max(1, int(0.4 * M[b].sum()))).values.mean() for b in range(3)]
    torch.testing.assert_close(top_mean(own, 0.4, M), torch.stack(expected), rtol=1e-12, atol=0)
    assert top_mean(own, 0.4, torch.zeros_like(M)).eq(0).all()


def test_presence():
    cells = S.flatten(2)
    torch.testing.assert_close(presence(S, "max"), cells.amax(2))
    torch.testing.assert_close(presence(0.1 * S, "noisy_or"), 1 - (1 - 0.1 * cells).prod(2))
    torch.testing.assert_close(presence(S, "attention"), (cells.exp() * cells).sum(2) / cells.exp().sum(2))
    assert torch.isfinite(presence(torch.ones_like(S), "noisy_or")).all()


@pytest.mark.parametrize(("classes", "weight"), [(4, 1.0), (50, 1 / 50)])
def test_clue_is_binary_cross_entropy(classes, weight):
    p = torch.rand(3, classes, dtype=torch.float64, generator=draws).clamp(0.01, 0.99)
    truth = F.one_hot(Y, classes).double()
    weights = truth + weight * (1 - truth)
    expected = F.binary_cross_entropy(p, truth, weight=weights, reduction="none").sum(1)
    torch.testing.assert_close(clue_loss(p, Y), expected, rtol=1e-9, atol=0)
    assert torch.isfinite(clue_loss(torch.ones(3, classes), Y)).all()


def test_uniq_is_a_loop_and_0_for_disjoint_maps():
    expected = [sum((S[b, Y[b]] * S[b, k]).mean() for k in range(4) if k != Y[b]) for b in range(3)]
    torch.testing.assert_close(uniq_loss(S, Y), torch.stack(expected), rtol=1e-12, atol=0)
    disjoint = torch.zeros(3, 4, 6, 5)
    for k in range(4):
        disjoint[:, k, k] = 1.0
    assert uniq_loss(disjoint, Y).eq(0).all()


def test_ratio_is_0_inside_its_bounds_and_worked_outside():
    maps = torch.full((1, 2, 10, 10), -10.0, dtype=torch.float64)
    maps[0, 0, :2] = 10.0  # r = 0.2 of a present class, 0 of an absent one
    present = torch.tensor([[True, False]])
    assert ratio_loss(maps, present, (0.02, 0.5)).item() == pytest.approx(0, abs=1e-12)
    assert ratio_loss(maps, present, (0.3, 0.5)).item() == pytest.approx(0.01, rel=1e-6)
    assert ratio_loss(maps, present, (0.02, 0.15)).item() == pytest.approx(0.0025, rel=1e-6)
    assert ratio_loss(maps, ~present, (0.02, 0.5)).item() == pytest.approx(0.04 + 0.0004, rel=1e-6)


def test_white_is_0_for_the_region_itself_and_a_loop_elsewhere():
    assert white_loss(M.double(), M).eq(0).all()
    own = S[:, 1]
    for b in range(2):
        inside, outside = own[b][M[b]], own[b][~M[b]]
        expected = max(0.0, 0.7 - inside.max().item()) ** 2 + outside.square().mean().item()
        assert white_loss(own, M)[b].item() == pytest.approx(expected, rel=1e-12)


def test_a_grown_region_is_the_dilation_by_a_square():
    for margin in (0, 1, 2):
        square = np.ones((2 * margin + 1, 2 * margin + 1), dtype=bool)
        wanted = np.stack([binary_dilation(region, square) for region in M.numpy()])
        assert (grown(M, margin).numpy() == wanted).all()


def test_black_is_0_off_the_forbidden_region_and_a_loop_inside():
    outside = S.masked_fill(M[:, None], 0.0)
    assert black_loss(outside, M).eq(0).all()
    assert black_loss(S, torch.zeros_like(M)).eq(0).all()
    for b in range(3):
        expected = torch.stack([S[b, :, i, j].max() ** 2 for i, j in M[b].nonzero().tolist()]).mean()
        torch.testing.assert_close(black_loss(S, M)[b], expected, rtol=1e-12, atol=0)


def test_box_mil_wants_a_tight_box_and_nothing_outside():
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, 1, 1] = region[0, 2, 2] = True  # its box is 2x2
    assert box_mil_loss(region.double(), region).item() == pytest.approx(0, abs=1e-5)
    half = torch.full((1, 4, 4), 0.5, dtype=torch.float64)
    assert box_mil_loss(half, region).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    one_row = torch.zeros(1, 4, 4, dtype=torch.float64)
    one_row[0, 1, 1:3] = 1.0
    assert box_mil_loss(one_row, region).item() == pytest.approx(-math.log(1e-6) / 4, rel=1e-5)


def test_consistency_compares_the_finer_map_averaged():
    coarse = torch.rand(3, 4, 3, 3, dtype=torch.float64, generator=draws)
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert consistency_loss(fine, coarse).abs().max() < 1e-12
    assert consistency_loss(fine + 0.25, coarse).tolist() == pytest.approx([0.25] * 3)


def test_distillation_is_the_divergence_of_torch():
    a, b = (torch.randn(3, 5, dtype=torch.float64, generator=draws, requires_grad=True) for _ in range(2))
    expected = F.kl_div(a.log_softmax(1), b.log_softmax(1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(distillation_loss(a, b), expected)
    distillation_loss(a, b).sum().backward()
    assert b.grad is None
    assert distillation_loss(a, a).abs().max() < 1e-12


def test_of_class_and_grid():
    assert torch.equal(of_class(S, Y), torch.stack([S[b, y] for b, y in enumerate(Y.tolist())]))
    assert torch.equal(of_class(S[:, :1], Y), S[:, 0])
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :2] = mask[0, 3, 3] = True
    assert on_grid(mask, (2, 2)).tolist() == [[[True, False], [False, False]]]
    assert on_grid(mask, (2, 2), "any").tolist() == [[[True, False], [False, True]]]
