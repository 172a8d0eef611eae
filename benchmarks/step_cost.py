"""Time a training step of each method relative to a plain one, in turns in one process.

    python benchmarks/step_cost.py [method ...]     digits with decoys, gapnet, batch 64
    python benchmarks/step_cost.py --mnist          saliency guided training on its MNIST network, batch 512

One thread. Forwards and backwards are counted in tests/methods/test_cost.py; this measures what they take. By counting,
a step of saliency guided training costs 2.67 plain ones, 2.33 with ``saliency_mode=reuse`` and 2 with a mask that needs
no saliency; the released program takes 2.9. With --mnist, in CPU time, which other programs don't change much, the exit
code is 1 where the limits 3.0 and 2.6 are passed.
"""

import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from xfeedback import methods
from xfeedback.engine.cost import step_ratio
from xfeedback.engine.memory import keep_freed_memory
from xfeedback.engine.run import build_module, load_task
from xfeedback.engine.spec import RunSpec
from xfeedback.types import Batch

DIGITS = {
    "dataset": {"name": "digits"},
    "decoy": {"name": "corner"},
    "model": {"name": "gapnet"},
    "trainer": {"batch_size": 64, "channels_last": True},
}
MNIST = {
    "dataset": {"name": "digits"},
    "decoy": {"name": "none"},
    "model": {"name": "mnist_cnn"},
    "optimiser": {"name": "adadelta", "lr": 1.0},
}
VARIANTS: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("default", {}, 3.0),
    ("saliency_mode=reuse", {"saliency_mode": "reuse"}, 2.6),
    ("variant=paper", {"variant": "paper"}, 3.0),
    ("mask_source=random", {"mask_source": "random"}, 3.0),
    ("mask_source=random_cheap", {"mask_source": "random_cheap"}, 2.6),
)
"""Name, options and limit of each way to run saliency guided training."""


def ratio(method: str) -> float:
    """Return the step time of ``method`` on the digits relative to plain."""
    spec = RunSpec.from_plain({**DIGITS, "method": {method: {}}})
    task = load_task(spec)
    batches = list(islice(task.train_loader(spec.trainer.batch_size, "cpu", seed=0), 4))
    return step_ratio(build_module(spec, task), batches, pairs=40, seconds=20)


def mnist_ratio(options: dict[str, Any]) -> float:
    """Return the step time of saliency guided training relative to plain on noise of the size of MNIST."""
    spec = RunSpec.from_plain({**MNIST, "method": {"saliency_guided": options}})
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(512, 1, 28, 28, generator=numbers)
    batch = Batch(x=x, y=torch.randint(10, (512,), generator=numbers), index=torch.arange(512))
    module = methods.module_class("saliency_guided")(
        _mnist_network(spec),
        feedback=methods.feedback_class("saliency_guided")(spec.methods["saliency_guided"]),
        example=torch.zeros(1, 1, 28, 28),
    )
    return step_ratio(module, [batch], pairs=12, seconds=60, clock=time.process_time)


def _mnist_network(spec: RunSpec) -> torch.nn.Module:
    from xfeedback import models

    return models.build(spec.model, (1, 28, 28), 10, 0)


def main() -> int:
    """Print a line for each method, or for each way to run saliency guided training."""
    torch.set_num_threads(1)
    keep_freed_memory()
    names = sys.argv[1:]
    if names != ["--mnist"]:
        for method in names or methods.names():
            _line(method, ratio(method))
        return 0
    late = 0
    for name, options, limit in VARIANTS:
        found = mnist_ratio(options)
        _line(name, found)
        late += found > limit
    return int(late > 0)


def _line(name: str, found: float) -> None:
    sys.stdout.write(f"{name:26} {found:6.2f} x plain\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
