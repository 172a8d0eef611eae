"""Time a training step of each method relative to a plain one, in turns in one process.

    python benchmarks/step_cost.py [method ...]

Digits with decoys, gapnet, batch 64, one thread. Forwards and backwards are counted in tests/methods/test_cost.py; this
measures what they take.
"""

import sys
from itertools import islice
from pathlib import Path

import torch

from xfeedback import methods
from xfeedback.engine.cost import step_ratio
from xfeedback.engine.run import build_module, load_task
from xfeedback.engine.spec import RunSpec


def ratio(method: str) -> float:
    """Return the step time of ``method`` relative to plain."""
    spec = RunSpec.from_plain(
        {
            "dataset": {"name": "digits"},
            "decoy": {"name": "corner"},
            "model": {"name": "gapnet"},
            "method": {method: {}},
            "trainer": {"batch_size": 64, "channels_last": True},
        }
    )
    task = load_task(spec)
    batches = list(islice(task.train_loader(spec.trainer.batch_size, "cpu", seed=0), 4))
    return step_ratio(build_module(spec, task), batches, pairs=40, seconds=20)


def main() -> None:
    """Print a line for each method."""
    torch.set_num_threads(1)
    for method in sys.argv[1:] or methods.names():
        sys.stdout.write(f"{method:20} {ratio(method):6.2f} x plain\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
