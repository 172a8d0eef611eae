"""RRR against plain loops, hand-worked numbers and finite differences."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.explain.nets import images, small_cam
from tests.methods import tiny
from tests.methods.differences import assert_gradients_match_finite_differences
from xfeedback.errors import UserError
from xfeedback.feedback import Step
from xfeedback.feedback.regions import wrong_region
from xfeedback.types import Batch


def batch_of(x: torch.Tensor, y: torch.Tensor, **masks: torch.Tensor) -> Batch:
    return Batch(x=x, y=y, index=torch.arange(len(y)), **masks)


def penalty(network: nn.Module, batch: Batch, **options: float | str) -> torch.Tensor:
    step = Step(network, batch, seed=0, position=("0", 0, 0, 0), input_gradient=True)
    return tiny.feedback("rrr", **options).penalty(step)["gradient"]


def test_two_backward_runs_on_one_forward():
    assert tiny.passes(tiny.module(tiny.feedback("rrr"))) == (1, 2)


def test_equals_a_plain_loop_over_samples_pixels_and_classes():
    """d/dx sum_k log p_k from one gradient for each class and sample."""
    network = small_cam()
    x, y = images(3)
    wrong = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3
    total = 0.0
    for b in range(3):
        one = x[b : b + 1].clone().requires_grad_()
        log_p = network(one).log_softmax(1)[0]
        grad = sum(torch.autograd.grad(log_p[k], one, retain_graph=True)[0][0] for k in range(4))
        total += sum(float(g) ** 2 for g in grad[:, wrong[b]].flatten())
    found = penalty(network, batch_of(x, y, wrong=wrong), weight=7.0)
    assert found.item() == pytest.approx(7 * total / 3, rel=1e-12)


@pytest.mark.parametrize("target", ["true_class", "cross_entropy"])
def test_other_targets_equal_a_loop_over_samples(target):
    network = small_cam()
    x, y = images(3)
    wrong = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3
    total = 0.0
    for b in range(3):
        one = x[b : b + 1].clone().requires_grad_()
        logits = network(one)
        output = logits[0, y[b]] if target == "true_class" else nn.functional.cross_entropy(logits, y[b : b + 1])
        (grad,) = torch.autograd.grad(output, one)
        total += sum(float(g) ** 2 for g in grad[0][:, wrong[b]].flatten())
    found = penalty(network, batch_of(x, y, wrong=wrong), weight=7.0, target=target)
    assert found.item() == pytest.approx(7 * total / 3, rel=1e-12)


@pytest.mark.parametrize(("target", "expected"), [("true_class", 10.0), ("cross_entropy", 0.625)])
def test_worked_numbers_of_the_other_targets(target, expected):
    """Logits (x, 0) at x = ln 3, class 0: the logit's gradient is 1 and that of cross-entropy p - 1 = -1/4."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    network[1].weight = nn.Parameter(torch.tensor([[1.0], [0.0]]))
    x = torch.full((1, 1, 1, 1), 3.0).log()
    batch = batch_of(x, torch.tensor([0]), wrong=torch.ones(1, 1, 1, dtype=torch.bool))
    assert penalty(network, batch, target=target).item() == pytest.approx(expected, abs=1e-5)


def test_worked_number_of_a_linear_network():
    """Logits (x, 0) at x = ln 3: the gradient is -1/2; with weight 10 the penalty is 2.5."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    network[1].weight = nn.Parameter(torch.tensor([[1.0], [0.0]]))
    x = torch.full((1, 1, 1, 1), 3.0).log()
    found = penalty(network, batch_of(x, torch.tensor([0]), wrong=torch.ones(1, 1, 1, dtype=torch.bool)))
    assert found.item() == pytest.approx(2.5, abs=1e-5)


def test_gradients_equal_finite_differences():
    network = small_cam(smooth=True)
    x, y = images()
    batch = batch_of(x, y, wrong=torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3)
    assert_gradients_match_finite_differences(network, lambda: penalty(network, batch))


MASK = torch.tensor([[[True, False]], [[False, False]], [[True, True]]])
X, Y = torch.zeros(3, 1, 1, 2), torch.zeros(3, dtype=torch.long)


def test_wrong_region_is_the_annotated_one():
    wrong = torch.tensor([[[False, True]], [[True, False]], [[False, False]]])
    assert torch.equal(wrong_region(batch_of(X, Y, mask=MASK, wrong=wrong), "rrr"), wrong)


def test_wrong_region_is_what_lies_outside_the_right_one_and_an_empty_one_says_nothing():
    expected = torch.tensor([[[False, True]], [[False, False]], [[False, False]]])
    assert torch.equal(wrong_region(batch_of(X, Y, mask=MASK), "rrr"), expected)


def test_samples_without_annotation_have_no_wrong_region():
    batch = batch_of(X, Y, mask=MASK, annotated=torch.tensor([False, True, True]))
    assert not wrong_region(batch, "rrr").any()
    assert not wrong_region(replace(batch, mask=None, wrong=~MASK), "rrr")[0].any()


def test_batches_without_any_annotation_are_refused():
    with pytest.raises(UserError, match="method=rrr needs batches with a wrong or a right region"):
        wrong_region(batch_of(X, Y), "rrr")
    with pytest.raises(UserError, match="give the data set annotations"):
        tiny.trained(tiny.module(tiny.feedback("rrr")), tiny.changed(lambda b: replace(b, mask=None, wrong=None)))


def test_the_gradient_is_shared_and_computed_once():
    network = tiny.network()
    step = Step(network, tiny.batch(), seed=0, position=("0", 0, 0, 0), input_gradient=True)
    feedback = tiny.feedback("rrr")
    feedback.penalty(step)
    with tiny.Counter(network) as counter:
        feedback.penalty(step)
    assert (counter.forwards, counter.backwards) == (0, 0)
