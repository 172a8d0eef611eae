"""Test a network between phases."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from xfeedback.continual.heads import competing
from xfeedback.continual.phases import Loading, Phases, Test
from xfeedback.engine.evaluate import predictions
from xfeedback.metrics import accuracy, balanced_accuracy
from xfeedback.models.running import mode


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """How good a network is between two phases.

    Attributes:
        accuracy: on each of the phases' tests, in percent.
        mistakes: how many samples of each it gets wrong.
        whole: accuracy on the whole test set, in percent.
        val: on each of the tests in the validation set, in percent; empty without one.
    """

    accuracy: list[float]
    mistakes: list[int]
    whole: float
    val: list[float]


def assess(network: nn.Module, phases: Phases, loading: Loading) -> Assessment:
    """Test the network on what the phases name, and on the whole test set in the headline view."""
    task = phases.task
    score = balanced_accuracy if task.balanced_accuracy else accuracy
    views = task.test_loaders(loading.eval_batch_size, loading.device)
    with mode(network, training=False):
        predicted = _predicted(predictions(network, next(iter(views.values()))), phases.tests)
    tested, y = predicted, task.test.y
    if task.pool is not None:
        tested, y = predicted_on_pool(network, phases, loading), task.pool.y
    hits = [(tested[test.rows], y[test.rows]) for test in phases.tests]
    return Assessment(
        accuracy=[score(found, labels) for found, labels in hits],
        mistakes=[int((found != labels).sum()) for found, labels in hits],
        whole=score(predicted, task.test.y),
        val=_val(network, phases, loading),
    )


def predicted_on_pool(network: nn.Module, phases: Phases, loading: Loading) -> Tensor:
    """Return the predicted classes of the pool ``(P,)``."""
    with mode(network, training=False):
        return predictions(network, phases.task.pool_loader(loading.eval_batch_size, loading.device)).argmax(1)


def _val(network: nn.Module, phases: Phases, loading: Loading) -> list[float]:
    """Accuracy on each of the tests in the validation set, in its first view."""
    task = phases.task
    if task.val is None:
        return []
    score = balanced_accuracy if task.balanced_accuracy else accuracy
    batches = next(iter(task.val_loaders(loading.eval_batch_size, loading.device).values()))
    with mode(network, training=False):
        predicted = _predicted(predictions(network, batches), phases.val_tests)
    return [score(predicted[test.rows], task.val.y[test.rows]) for test in phases.val_tests]


def _predicted(logits: Tensor, tests: Sequence[Test]) -> Tensor:
    """Predicted classes ``(N,)``, each among the classes that compete for its sample."""
    predicted = logits.argmax(1)
    for test in tests:
        if test.classes is not None:
            predicted[test.rows] = competing(logits[test.rows], test.classes).argmax(1)
    return predicted
