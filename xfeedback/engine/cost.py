"""What a method costs: its step and a plain step, timed in turns in one process, and what they multiply."""

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from xfeedback.feedback import Feedback, FeedbackModule
from xfeedback.feedback.optimise import build_optimiser
from xfeedback.types import Batch

LATE = 1_000_000
"""An epoch after every warm-up and ramp."""


def step_ratio(
    module: FeedbackModule,
    batches: Sequence[Batch],
    *,
    pairs: int = 10,
    seconds: float = 3.0,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the time of a training step with the module's feedbacks relative to a plain one.

    Both are timed in turns, see :func:`step_times`; exactly 1 without an active feedback.
    """
    if not _acting(module):
        return 1.0
    plain, own = step_times(module, batches, pairs=pairs, seconds=seconds, clock=clock)
    return median(own) / median(plain)


def step_times(
    module: FeedbackModule,
    batches: Sequence[Batch],
    *,
    pairs: int = 10,
    seconds: float = 3.0,
    clock: Callable[[], float] = time.process_time,
) -> tuple[list[float], list[float]]:
    """Return the seconds of plain training steps and of steps with the module's feedbacks, in pairs.

    They are timed in turns on the same batches, so that a busy machine slows both alike; forward, backward and
    optimiser step count, loading data does not. The module's weights, buffers and gradients stay as they were.

    Args:
        module: trained or not, on its device.
        batches: on the same device; used in turns.
        pairs: how many of each to time at most, after a quarter as many to warm up, which are left out.
        seconds: stop after this long, but not before three pairs.
        clock: what a step is timed with; ``time.process_time`` is not misled by other programs, on CPUs alone.
    """
    active = _acting(module)
    buffers = {name: tensor.clone() for name, tensor in module.network.state_dict().items()}
    mirror = _Mirror(module)
    times: tuple[list[float], list[float]] = ([], [])
    deadline = time.perf_counter() + seconds
    module.network.train()
    for number, batch in enumerate(islice(cycle(batches), pairs + pairs // 4)):
        for feedbacks, kept in zip(([], active), times, strict=True):
            kept.append(_timed_step(module, mirror, batch, feedbacks, clock))
        if number >= 3 and time.perf_counter() > deadline:
            break
    module.network.load_state_dict(buffers)
    module.zero_grad()
    warm = min(pairs // 4, len(times[0]) - 3)
    return times[0][warm:], times[1][warm:]


def _acting(module: FeedbackModule) -> list[Feedback]:
    """The feedbacks that act after every warm-up."""
    feedbacks = list(module.feedbacks)
    return [feedback for feedback in feedbacks if feedback.strength(LATE) > 0]


class Flops(TorchDispatchMode):
    """Adds up the operations of convolutions and matrix products, of forward, backward and double backward alike."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += 0 if count is None else count(*args, **(kwargs or {}), out_val=out)
        return out


def flops(work: Callable[[], object]) -> int:
    """Return the multiplications and additions of ``work`` in convolutions and matrix products."""
    with Flops() as counter:
        work()
    return counter.total


class _Mirror:
    """Copies of the parameters for an optimiser to move, so that its cost counts and the weights stay."""

    def __init__(self, module: FeedbackModule) -> None:
        self.pairs = [(p, nn.Parameter(p.detach().clone())) for p in module.parameters() if p.requires_grad]
        self.optimiser = build_optimiser(module.optimiser, [copy for _, copy in self.pairs])

    def step(self) -> None:
        """Move the copies by the module's gradients."""
        for parameter, copy in self.pairs:
            copy.grad = parameter.grad
        self.optimiser.step()


def _timed_step(
    module: FeedbackModule,
    mirror: "_Mirror",
    batch: Batch,
    feedbacks: Sequence[Feedback],
    clock: Callable[[], float],
) -> float:
    _wait(batch.x)
    started = clock()
    _, terms = module.loss_terms(batch, feedbacks, ("cost", 0, LATE, 0))
    module.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    mirror.step()
    _wait(batch.x)
    return clock() - started


def _wait(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
