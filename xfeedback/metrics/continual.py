"""What a network has kept, lost and gained over phases of training.

R[i][j] is the accuracy on test set j after phase i, in percent. Test set j is *learned* in phase l(j), usually j; T is
the last phase.
"""

from collections.abc import Sequence
from statistics import fmean

Matrix = Sequence[Sequence[float]]


def average_accuracy(matrix: Matrix) -> float:
    """Return ACC = mean_j R[T][j] (Lopez-Paz & Ranzato 2017, equation 2), in percent.

    >>> average_accuracy([[90.0, 10.0], [60.0, 80.0]])
    70.0
    """
    return fmean(matrix[-1])


def backward_transfer(matrix: Matrix, learned: Sequence[int]) -> float | None:
    """Return BWT = mean over test sets learned before T of R[T][j] - R[l(j)][j] (Lopez-Paz & Ranzato 2017, eq. 3).

    Args:
        matrix: R.
        learned: l(j).

    Returns:
        Points; negative where training has made the network forget; None when nothing was learned before T.

    >>> backward_transfer([[90.0, 10.0], [60.0, 80.0]], [0, 1])
    -30.0
    """
    last = len(matrix) - 1
    gains = [matrix[last][j] - matrix[phase][j] for j, phase in enumerate(learned) if phase < last]
    return fmean(gains) if gains else None


def forward_transfer(matrix: Matrix, learned: Sequence[int], initial: Sequence[float]) -> float | None:
    """Return FWT = mean over test sets learned after phase 0 of R[l(j) - 1][j] - b[j] (Lopez-Paz & Ranzato, eq. 4).

    Args:
        matrix: R.
        learned: l(j).
        initial: b, the accuracies of the network before any training.

    Returns:
        Points; None when everything is learned in phase 0.

    >>> forward_transfer([[90.0, 15.0], [60.0, 80.0]], [0, 1], [12.0, 10.0])
    5.0
    """
    gains = [matrix[phase - 1][j] - initial[j] for j, phase in enumerate(learned) if phase > 0]
    return fmean(gains) if gains else None


def forgetting_of_each(matrix: Matrix, learned: Sequence[int]) -> dict[int, float]:
    """Return f_j = max over l(j) <= i < T of R[i][j] - R[T][j], by test set learned before T (Chaudhry et al. 2018).

    Equation 2 there, with l(j) <= i: what a network could do before it was taught is nothing it forgets.

    >>> forgetting_of_each([[90.0, 10.0], [60.0, 80.0]], [0, 1])
    {0: 30.0}
    """
    last = len(matrix) - 1
    return {
        j: max(row[j] for row in matrix[phase:last]) - matrix[last][j]
        for j, phase in enumerate(learned)
        if phase < last
    }


def forgetting(matrix: Matrix, learned: Sequence[int]) -> float | None:
    """Return F = mean_j f_j (Chaudhry et al. 2018, equation 3), in points; None when nothing was learned before T."""
    each = forgetting_of_each(matrix, learned)
    return fmean(each.values()) if each else None


def mistakes_forgotten(mistakes: Sequence[Sequence[int]], learned: Sequence[int]) -> list[int]:
    """Return forgetting_j = M[T][j] - min over l(j) <= i <= T of M[i][j], mistakes on slice j made again.

    Mazumder et al. 2022 count mistakes on every slice of the validation list after every phase.

    >>> mistakes_forgotten([[9, 8], [4, 7], [6, 5]], [1, 2])
    [2, 0]
    """
    return [mistakes[-1][j] - min(row[j] for row in mistakes[phase:]) for j, phase in enumerate(learned)]
