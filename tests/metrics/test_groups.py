import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from xfeedback.metrics import accuracy, balanced_accuracy, decoy_effect, worst_group

numbers = torch.Generator().manual_seed(0)
Y = torch.randint(0, 4, (300,), generator=numbers)
PREDICTED = torch.where(torch.rand(300, generator=numbers) < 0.6, Y, torch.randint(0, 4, (300,), generator=numbers))
SHOWN = torch.randint(0, 4, (300,), generator=numbers)


def test_accuracies_equal_sklearn():
    assert accuracy(PREDICTED, Y) == pytest.approx(100 * accuracy_score(Y, PREDICTED))
    assert balanced_accuracy(PREDICTED, Y) == pytest.approx(100 * balanced_accuracy_score(Y, PREDICTED))
    some = Y != 2
    assert balanced_accuracy(PREDICTED[some], Y[some]) == pytest.approx(
        100 * np.mean([(PREDICTED[k == Y] == k).double().mean() for k in (0, 1, 3)])
    )


@pytest.mark.parametrize("least", [1, 15, 60])
def test_worst_group_equals_a_loop(least):
    found = []
    for label in range(4):
        for agrees in (True, False):
            rows = [i for i in range(300) if Y[i] == label and (SHOWN[i] == Y[i]).item() is agrees]
            if len(rows) >= least:
                found.append(np.mean([int(PREDICTED[i] == Y[i]) for i in rows]))
    assert 2 <= len(found) <= 8
    assert worst_group(PREDICTED, Y, SHOWN, least) == pytest.approx(100 * min(found))


def test_worst_class_and_groups_that_are_too_small():
    worst = min(float((PREDICTED[k == Y] == k).double().mean()) for k in range(4))
    assert worst_group(PREDICTED, Y) == pytest.approx(100 * worst)
    assert worst_group(PREDICTED[:19], torch.zeros(19), None) is None
    assert worst_group(PREDICTED[:20], torch.zeros(20), None) is not None


def test_decoy_effect_by_hand():
    """Two images: p of the predicted class falls from 0.8 to 0.3 and rises from 0.6 to 0.7."""
    before = torch.tensor([[0.8, 0.2], [0.4, 0.6]]).log()
    after = torch.tensor([[0.3, 0.7], [0.3, 0.7]]).log()
    assert decoy_effect(before, after) == pytest.approx(100 * (0.5 - 0.1) / 2, abs=1e-5)
    assert decoy_effect(before, before) == 0
