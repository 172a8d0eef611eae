"""The Kullback-Leibler consistency against scipy and its logit gradients against their closed form."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import entropy

from xfeedback.losses import kl_consistency

CLEAN, MASKED = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def scipy_kl(p, q):
    return float(np.mean([entropy(a, b) for a, b in zip(p, q, strict=True)]))


@pytest.mark.parametrize("direction", ["clean_masked", "masked_clean", "js"])
def test_value_equals_scipy(direction):
    p, q = softmax(CLEAN.numpy(), axis=1), softmax(MASKED.numpy(), axis=1)
    middle = (p + q) / 2
    expected = {
        "clean_masked": scipy_kl(p, q),
        "masked_clean": scipy_kl(q, p),
        "js": (scipy_kl(p, middle) + scipy_kl(q, middle)) / 2,
    }[direction]
    assert kl_consistency(CLEAN, MASKED, direction=direction).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("direction", "expected"), [("clean_masked", 0.368064), ("masked_clean", 0.510826)])
def test_worked_numbers(direction, expected):
    p, q = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert kl_consistency(p, q, direction=direction).item() == pytest.approx(expected, abs=1e-6)


def test_logit_gradients_equal_their_closed_form():
    clean, masked = CLEAN.clone().requires_grad_(), MASKED.clone().requires_grad_()
    kl_consistency(clean, masked).backward()
    p, q = CLEAN.softmax(1), MASKED.softmax(1)
    of_sample = (p * (p / q).log()).sum(1, keepdim=True)
    torch.testing.assert_close(masked.grad, (q - p) / 6, rtol=0, atol=1e-10)
    torch.testing.assert_close(clean.grad, p * ((p / q).log() - of_sample) / 6, rtol=0, atol=1e-10)


@pytest.mark.parametrize("direction", ["clean_masked", "masked_clean", "js"])
def test_gradcheck(direction):
    inputs = (CLEAN.clone().requires_grad_(), MASKED.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda z, zt: kl_consistency(z, zt, direction=direction), inputs)


@pytest.mark.parametrize("direction", ["clean_masked", "masked_clean", "js"])
def test_a_detached_reference_gets_no_gradient(direction):
    clean, masked = CLEAN.clone().requires_grad_(), MASKED.clone().requires_grad_()
    kl_consistency(clean, masked, direction=direction, detach_reference=True).backward()
    assert clean.grad is None
    attached = MASKED.clone().requires_grad_()
    kl_consistency(CLEAN, attached, direction=direction).backward()
    torch.testing.assert_close(masked.grad, attached.grad, rtol=0, atol=0)


def test_equal_views_give_exactly_zero():
    assert kl_consistency(CLEAN, CLEAN.clone()).item() == 0
    assert kl_consistency(CLEAN, CLEAN.clone(), direction="js").item() == pytest.approx(0, abs=1e-16)


def test_a_sigmoid_head_is_a_softmax_head_with_a_zero_logit():
    z, zt = CLEAN[:, 0], MASKED[:, 0]
    p, q = expit(z.numpy()), expit(zt.numpy())
    expected = np.mean([entropy([1 - a, a], [1 - b, b]) for a, b in zip(p, q, strict=True)])
    pair, other = (torch.stack([torch.zeros_like(v), v], 1) for v in (z, zt))
    assert kl_consistency(pair, other).item() == pytest.approx(expected, abs=1e-10)


def test_half_precision_logits_are_compared_in_float32():
    clean, masked = (1e4 * CLEAN).bfloat16().requires_grad_(), (1e4 * MASKED).bfloat16().requires_grad_()
    loss = kl_consistency(clean, masked)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(clean.grad).all()
    assert torch.isfinite(masked.grad).all()


@pytest.mark.parametrize("direction", ["clean_masked", "masked_clean", "js"])
def test_a_sigmoid_head_is_a_two_class_head_with_logits_0_and_z(direction):
    z = torch.randn(5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    w = torch.randn(5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    both = [torch.cat([torch.zeros_like(t), t], 1) for t in (z, w)]
    found = kl_consistency(z, w, direction=direction)
    torch.testing.assert_close(found, kl_consistency(*both, direction=direction), rtol=0, atol=1e-10)
    if direction == "clean_masked":
        p, q = torch.sigmoid(z), torch.sigmoid(w)
        closed = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
        torch.testing.assert_close(found, closed, rtol=0, atol=1e-10)
