"""Time a training step of Challenger relative to a plain one: by place and attribution, and LRP alone.

    python benchmarks/challenger_cost.py

Noise of the size of the data, one thread, CPU time, which other programs change little. The exit code is 1 where a step
of the default attribution takes more than 3 plain ones, or a later place more than an earlier one.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from xfeedback import methods, models
from xfeedback.engine.cost import step_ratio
from xfeedback.engine.memory import keep_freed_memory
from xfeedback.explain.lrp import COMPOSITES, relevance
from xfeedback.feedback import FeedbackModule
from xfeedback.types import Batch

NETWORKS: dict[str, tuple[tuple[int, int, int], int]] = {"mnist_cnn": ((1, 28, 28), 128), "resnet18": ((3, 32, 32), 16)}
"""Image shape and batch size by network."""
PLACES: tuple[dict[str, Any], ...] = ({"site": "input"}, *({"site": "hidden", "site_index": at} for at in range(4)))
ATTRIBUTIONS = ("grad_x_input", "grad_cam", "lrp_epsilon", "lrp_gamma", "lrp_zplus", "lrp_composite")
LIMIT = 3.0


def batch_for(network: str) -> Batch:
    """Return noise of the size that goes with a network."""
    shape, n = NETWORKS[network]
    numbers = torch.Generator().manual_seed(0)
    return Batch(
        x=torch.randn(n, *shape, generator=numbers),
        y=torch.randint(10, (n,), generator=numbers),
        index=torch.arange(n),
    )


def built(network: str) -> nn.Module:
    """Return a fresh network for ten classes."""
    return models.build(models.config_class(network)(name=network), NETWORKS[network][0], 10, 0)


def ratio(network: str, options: dict[str, Any]) -> float:
    """Return the step time of Challenger with these options relative to plain."""
    feedback = methods.feedback_class("challenger").with_options(**options)
    module = FeedbackModule(built(network), [feedback], example=torch.zeros(1, *NETWORKS[network][0]))
    return step_ratio(module, [batch_for(network)], pairs=9, seconds=30, clock=time.process_time)


def lrp_alone(network: str, rules: str) -> float:
    """Return the time of one LRP pass relative to a forward pass and the backward pass to the input."""
    net, batch = built(network).eval(), batch_for(network)

    def plain() -> None:
        x = batch.x.clone().requires_grad_()
        torch.autograd.grad(net(x).gather(1, batch.y[:, None]).sum(), x)

    return _seconds(lambda: relevance(net, batch.x, batch.y, rules)) / _seconds(plain)


def _seconds(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(8):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return median(times[2:])


def main() -> int:
    """Print a line for each place, attribution and rule."""
    torch.set_num_threads(1)
    keep_freed_memory()
    failed = False
    for network in NETWORKS:
        found = []
        for place in PLACES[: 3 if network == "mnist_cnn" else 5]:
            found.append(ratio(network, place))
            _line(f"{network} {place['site']} {place.get('site_index', '')}", found[-1], "x plain")
        failed |= found[0] > LIMIT or found[-1] >= found[0]
        for attribution in ATTRIBUTIONS[1:]:
            _line(
                f"{network} input {attribution}",
                ratio(network, {"site": "input", "attribution": attribution}),
                "x plain",
            )
        for rules in COMPOSITES:
            _line(f"{network} LRP alone, {rules}", lrp_alone(network, rules), "x gradient times input")
    return int(failed)


def _line(name: str, found: float, unit: str) -> None:
    sys.stdout.write(f"{name:44} {found:6.2f} {unit}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
