"""No step waits for the device: nothing in it asks for a value, which on a GPU means waiting for all before it."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.methods import tiny
from xfeedback import methods
from xfeedback.types import Phase

aten = torch.ops.aten
ASKS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.equal, aten.is_nonzero}
"""Behind item(), float(), int(), bool(), if, and shapes that depend on values."""


class WaitedError(Exception):
    """A value was asked for."""


class NoWaiting(TorchDispatchMode):
    """Refuses operations for which a GPU would have to be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        chosen = args[1] if func._overloadpacket in (aten.index, aten.index_put, aten.index_put_) else ()
        if func._overloadpacket in ASKS or any(i is not None and i.dtype == torch.bool for i in chosen):
            raise WaitedError(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", tiny.NETWORKS)
@pytest.mark.parametrize("name", methods.names())
def test_a_step_asks_for_no_value(name, kind, monkeypatch):
    """From the second step on: XAI-Increment explains in the first of an epoch.

    ``one_hot`` looks at its values on a CPU alone, where looking is free.
    """
    monkeypatch.setattr(torch.nn.functional, "one_hot", lambda y, n: (y[..., None] == torch.arange(n)).long())
    host, batches = tiny.module(tiny.feedback(name), kind=kind), list(tiny.batches())
    host.feedbacks[0].phase_start(host.network, Phase(name="0", train=batches, val={}, ordered=batches))
    host.training_step(batches[0], 0).backward()
    host.zero_grad()
    with NoWaiting():
        step, terms = host.loss_terms(batches[1], host.active(), ("0", 0, 0, 1))
        loss = torch.stack(list(terms.values())).sum()
        host._train.add(len(step.batch), {**terms, **step.reports, "loss": loss})
        loss.backward()


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
    ],
)
def test_the_guard_sees_what_it_should(ask):
    with NoWaiting(), pytest.raises(WaitedError):
        ask(torch.ones(3))


def test_the_loader_makes_batches_without_waiting():
    loader = tiny.batches()
    loader.set_epoch(1)
    loader.order(1)  # drawn on the host
    with NoWaiting():
        loader.batch(1, 0)
