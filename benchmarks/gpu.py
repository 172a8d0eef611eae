"""On a GPU: images a second, many seeds as one program, and the time to 94 % on CIFAR-10.

    python benchmarks/gpu.py [--quick]

Refuses in a line where torch sees no CUDA device. CIFAR-10 is looked for in ``$XFEEDBACK_DATA``, ``data`` and
``../shared/data``. Accuracy is that of the validation set. Times of commands are those of the epochs they write down,
so start and evaluation don't count.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from commands import run
from common import ROOT, Part, Table, main, progress
from steps import title

from xfeedback import methods, models
from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule
from xfeedback.feedback.optimise import build_optimiser
from xfeedback.types import Batch

SEEDS = (1, 8, 32, 128)
GOAL = 94.0
METHODS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("plain", {}),
    ("saliency_guided", {"saliency_mode": "reuse"}),
    ("xbl", {}),
    ("challenger", {}),
    ("lap", {}),
)
CIFAR = (
    "dataset=cifar",
    "decoy=none",
    "model=resnet18",
    "trainer=gpu",
    "trainer.batch_size=512",
    "trainer.max_epochs=40",
    "trainer.precision=bf16-mixed",
    "trainer.channels_last=true",
    "trainer.progress=false",
    "optimiser=sgd",
    "optimiser.lr=0.4",
    "optimiser.momentum=0.9",
    "optimiser.nesterov=true",
    "optimiser.weight_decay=0.0005",
    "optimiser.schedule=one_cycle",
    "evaluation.explained=0",
    "evaluation.pictures=0",
)
DIGITS = ("trainer=gpu", "trainer.progress=false", "evaluation.explained=0", "evaluation.pictures=0")


def images_a_second(network: str, size: int, n: int, device: str, steps: int) -> list[list[str]]:
    """Return training images a second of each method, in bfloat16 and channels last, beside milliseconds a step."""
    rows = []
    for method, options in METHODS:
        work = step_of(network, method, options, torch.device(device), (size, n))
        for _ in range(3):
            work()
        times = [timed(work, device) for _ in range(steps)]
        rows.append([title(method, options), f"{1000 * median(times):.1f} ms", f"{n / median(times):,.0f}"])
        progress(f"{network} {rows[-1][0]}: {rows[-1][2]} images a second")
    return rows


def timed(work: Callable[[], None], device: str) -> float:
    """Return the seconds of a piece of work until the device has done it."""
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def step_of(
    network: str, method: str, options: Mapping[str, Any], device: torch.device, sizes: tuple[int, int]
) -> Callable[[], None]:
    """Return a training step on noise, with boxes in the middle as annotations."""
    size, n = sizes
    net = models.build(models.config_class(network)(name=network), (3, size, size), 10, 0)
    feedback = methods.feedback_class(method).with_options(**options)
    module = FeedbackModule(net, [feedback], example=torch.zeros(1, 3, size, size), channels_last=True)
    module = module.to(device).train()
    mask = torch.zeros(n, size, size, dtype=torch.bool, device=device)
    mask[:, size // 4 : -size // 4, size // 4 : -size // 4] = True
    batch = Batch(
        x=torch.randn(n, 3, size, size, device=device).contiguous(memory_format=torch.channels_last),
        y=torch.randint(10, (n,), device=device),
        index=torch.arange(n, device=device),
        mask=mask,
        wrong=~mask,
        annotated=torch.ones(n, dtype=torch.bool, device=device),
    )
    optimiser, number = build_optimiser(module.optimiser, module.parameters()), iter(range(10**9))

    def work() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            _, terms = module.loss_terms(batch, module.active(), ("0", 0, 0, next(number)))
            loss = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return work


def epochs(folder: Path) -> list[list[dict[str, Any]]]:
    """Return what each run in a folder wrote down of its epochs."""
    found = sorted(folder.glob("outputs/runs/*/metrics.jsonl"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in found]


def many_seeds(counts: tuple[int, ...], method: str) -> list[list[str]]:
    """Return what an epoch of K seeds as one program takes, in all and a seed."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            ended = run("-m", *DIGITS, f"method={method}", f"seeds={count}", "execution=vmap", folder=Path(name))
            seconds = [line["seconds"] for line in epochs(Path(name))[0]]
        epoch = median(seconds[1:] or seconds)
        rows.append([method, str(count), f"{ended.wall:.1f} s", f"{epoch:.3f} s", f"{1000 * epoch / count:.2f} ms"])
        progress(f"{method}, {count} seeds: an epoch takes {epoch:.3f} s")
    return rows


def time_to_goal(method: str, options: Mapping[str, Any]) -> list[str]:
    """Return after how many epochs and seconds of training the validation set is at 94 %."""
    own = [f"method.{method}.{name}={value}" for name, value in options.items()]
    marked = ["dataset.annotation.object_mask=center"] if methods.feedback_class(method).annotation != "none" else []
    places = [f"paths.data={ROOT / 'data'}", f"paths.shared_data=[{ROOT.parent / 'shared' / 'data'}]"]
    with tempfile.TemporaryDirectory() as name:
        ended = run(f"method={method}", *CIFAR, *own, *marked, *places, folder=Path(name))
        (lines,) = epochs(Path(name))
    cells = goal_of(lines)
    progress(f"{method}: {GOAL:.0f} % after {cells[1]}")
    return [title(method, options), *cells, f"{ended.wall:.0f} s"]


def goal_of(lines: list[dict[str, Any]]) -> list[str]:
    """Return epochs and seconds to the goal, and the best accuracy, of a run's history."""
    (metric,) = {key for key in lines[0] if key.startswith("val/")}
    best = f"{max(line[metric] for line in lines):.2f} %"
    for number, line in enumerate(lines, 1):
        if line[metric] >= GOAL:
            return [str(number), f"{sum(one['seconds'] for one in lines[:number]):.1f} s", best]
    return ["not reached", "not reached", best]


def measure(quick: bool) -> Part:
    """Return the tables.

    Raises:
        UserError: there is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise UserError("benchmarks/gpu.py needs a CUDA device, and torch sees none on this machine")
    torch.backends.cudnn.benchmark = True
    name, steps = torch.cuda.get_device_name(), 3 if quick else 30
    images = images_a_second("resnet18", 32, 512, "cuda", steps)
    large = images_a_second("timm", 224, 128, "cuda", steps)
    seeds = [row for method in ("plain", "saliency_guided") for row in many_seeds(SEEDS[: 1 if quick else 4], method)]
    goals = [] if quick else [time_to_goal(method, options) for method, options in METHODS]
    pace = ["method", "a step", "images a second"]
    tables = [
        Table(title=f"ResNet-18, 512 images of 3x32x32, bfloat16, {name}", columns=pace, rows=images),
        Table(title=f"timm's default network, 128 images of 3x224x224, bfloat16, {name}", columns=pace, rows=large),
        Table(
            title=f"K seeds as one program, digits with decoys, gapnet, {name}",
            columns=["method", "K", "the command", "an epoch of all", "an epoch a seed"],
            rows=seeds,
        ),
        Table(
            title=f"{GOAL:.0f} % of CIFAR-10's validation set, ResNet-18, one-cycle SGD, bfloat16, {name}",
            columns=["method", "epochs", "seconds of training", "best", "the command"],
            rows=goals,
        ),
    ]
    return Part(title="On a GPU", said=(), tables=tables)


if __name__ == "__main__":
    sys.exit(main("gpu", measure, __doc__))
