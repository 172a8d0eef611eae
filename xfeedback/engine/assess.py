"""Test a network between phases."""

from dataclasses import dataclass

from torch import Tensor, nn

from xfeedback.continual.heads import competing
from xfeedback.continual.phases import Loading, Phases
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
    """

    accuracy: list[float]
    mistakes: list[int]
    whole: float


def assess(network: nn.Module, phases: Phases, loading: Loading) -> Assessment:
    """Test the network on what the phases name, and on the whole test set in the headline view."""
    task = phases.task
    score = balanced_accuracy if task.balanced_accuracy else accuracy
    views = task.test_loaders(loading.eval_batch_size, loading.device)
    with mode(network, training=False):
        predicted = _predicted(predictions(network, next(iter(views.values()))), phases)
    tested, y = (
        (predicted, task.test.y) if task.pool is None else (predicted_on_pool(network, phases, loading), task.pool.y)
    )
    hits = [(tested[test.rows], y[test.rows]) for test in phases.tests]
    return Assessment(
        accuracy=[score(found, labels) for found, labels in hits],
        mistakes=[int((found != labels).sum()) for found, labels in hits],
        whole=score(predicted, task.test.y),
    )


def predicted_on_pool(network: nn.Module, phases: Phases, loading: Loading) -> Tensor:
    """Return the predicted classes of the pool ``(P,)``."""
    with mode(network, training=False):
        return predictions(network, phases.task.pool_loader(loading.eval_batch_size, loading.device)).argmax(1)


def _predicted(logits: Tensor, phases: Phases) -> Tensor:
    """Predicted classes ``(N,)`` of the test set, each among the classes that compete for its sample."""
    predicted = logits.argmax(1)
    for test in phases.tests:
        if test.classes is not None:
            predicted[test.rows] = competing(logits[test.rows], test.classes).argmax(1)
    return predicted
