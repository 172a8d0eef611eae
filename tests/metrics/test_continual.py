"""Figures worked out by hand on one matrix: three phases, three tests, accuracies in percent."""

import pytest

from xfeedback.metrics import continual

MATRIX = [[90.0, 20.0, 10.0], [70.0, 80.0, 30.0], [75.0, 50.0, 85.0]]
OWN = [0, 1, 2]


def test_average_accuracy_is_the_mean_of_the_last_row():
    assert continual.average_accuracy(MATRIX) == pytest.approx((75 + 50 + 85) / 3)


def test_backward_transfer_compares_with_the_phase_that_taught_it():
    assert continual.backward_transfer(MATRIX, OWN) == pytest.approx(((75 - 90) + (50 - 80)) / 2)


def test_forward_transfer_compares_the_phase_before_with_the_untrained_network():
    assert continual.forward_transfer(MATRIX, OWN, [12.0, 11.0, 9.0]) == pytest.approx(((20 - 11) + (30 - 9)) / 2)


def test_forgetting_is_the_loss_since_the_best_phase():
    assert continual.forgetting_of_each(MATRIX, OWN) == {0: 15.0, 1: 30.0}
    assert continual.forgetting(MATRIX, OWN) == 22.5


def test_forgetting_counts_from_the_phase_that_taught_it_and_may_be_negative():
    """Test 1 was at 95 before phase 1 taught it: chance, not knowledge; test 0 got better."""
    matrix = [[60.0, 95.0], [50.0, 70.0], [80.0, 72.0]]
    assert continual.forgetting_of_each(matrix, [0, 1]) == {0: -20.0, 1: -2.0}


def test_one_test_for_all_phases_and_slices_that_begin_with_phase_one():
    assert continual.forgetting([[60.0], [70.0], [66.0]], [0]) == 4.0
    assert continual.backward_transfer([[60.0], [70.0], [66.0]], [0]) == 6.0
    assert continual.forward_transfer([[60.0], [70.0]], [0], [10.0]) is None
    assert continual.forward_transfer([[60.0, 50.0], [70.0, 55.0]], [1, 1], [10.0, 20.0]) == 40.0
    assert continual.forgetting([[60.0]], [0]) is None


def test_mistakes_made_again():
    """Slices 1 to 3; mistakes after phases 0 to 3. Slice 3 is learned in the last phase: nothing to forget yet."""
    mistakes = [[9, 8, 7], [3, 9, 6], [5, 2, 8], [4, 6, 1]]
    assert continual.mistakes_forgotten(mistakes, [1, 2, 3]) == [4 - 3, 6 - 2, 0]
