"""Time a phase of XAI-Increment (LIME before it, weighted training, Fisher information after it) against a plain one.

    python benchmarks/phases.py [--quick]

In the paper's program a phase trains 15 epochs on 84,843 clips, explains about 62 mistakes and estimates the Fisher
information on 4,242 clips: LIME's forwards are 0.8 % of the training's passes, the estimate's 0.3 %, and 2 % find the
clips that the network gets right. A phase of a minute on a CPU can't have so little of the first, which is six times as
much here; the rest is in proportion. The network is the paper's,
narrower, on noise of the size of its clips.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from common import Bar, Part, Table, in_turns, main, milliseconds, progress, ratio

from xfeedback.data.task import Split, Task
from xfeedback.engine.callbacks import StepTimer
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.phases import Training
from xfeedback.engine.run import build_module
from xfeedback.engine.spec import RunSpec
from xfeedback.methods.xai_increment import XaiIncrementConfig

SHAPE, CLASSES, EPOCHS, ADDED, DRAWS = (1, 124, 129), 8, 15, 1, 12
BAR = 1.15
NAME = "LIME and Fisher"


def noise(n: int, seed: int, label: int | None = None) -> Split:
    """Return ``n`` spectrograms of noise; all of one class where ``label`` is given."""
    numbers = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES - 1, (n,), generator=numbers)
    y = y if label is None else torch.full_like(y, label)
    return Split(x=torch.rand(n, *SHAPE, generator=numbers), y=y, index=torch.arange(n))


def task_of(n: int, phases: int) -> Task:
    """Return a task whose pool has a clip a phase of a class that training never shows, which is a mistake."""
    return Task(
        name="noise",
        class_names=tuple(map(str, range(CLASSES))),
        mean=(0.0,),
        std=(1.0,),
        augment="none",
        stamps=(),
        fingerprint="",
        train=noise(n, 0),
        val=None,
        test=noise(CLASSES, 1),
        pool=noise(ADDED * phases, 2, label=CLASSES - 1),
    )


def training(task: Task, phases: int, outputs: Path, method: dict[str, Any], **more: Any) -> Training:
    """Return the phases of one method on the task."""
    values: dict[str, Any] = {
        "dataset": {"name": "speech_commands"},  # stands for the noise: the task is given
        "decoy": {"name": "none"},
        "model": {"name": "kws_cnn", "width": 4, "dense": 250},
        "method": method,
        "phases": {"name": "mistakes", "n": phases, "base_epochs": 1},
        "trainer": {"max_epochs": EPOCHS, "batch_size": 64, "accelerator": "cpu", "progress": False},
        "paths": {"outputs": str(outputs)},
        **more,
    }
    spec = RunSpec.from_plain(values)
    folder = RunFolder(spec)
    folder.path.mkdir(parents=True)
    return Training(spec, folder, task, build_module(spec, task), metric=None, timer=StepTimer(), logger=None)


def phase(one: Training, name: str) -> Callable[[], None]:
    """Return the next phase of a training."""

    def work() -> None:
        progress(f"{name}: phase {one.record.number}")
        one.phase(None)

    return work


def measure(quick: bool) -> Part:
    """Return the ratio of a phase's times."""
    n, rounds = (4, 1) if quick else (240, 3)
    task = task_of(n, rounds + 1)
    fewer: dict[str, Any] = {"sampling": "bernoulli", "n_masks": 8} if quick else {}
    config = XaiIncrementConfig(**fewer)
    with tempfile.TemporaryDirectory() as name:
        method = {"xai_increment": asdict(config)}
        arms = {
            "plain": training(task, rounds + 1, Path(name), {}),
            NAME: training(task, rounds + 1, Path(name), method, continual={"name": "ewc", "n": DRAWS}),
        }
        times = in_turns({name: phase(one, name) for name, one in arms.items()}, rounds, warm=1)
    found, limit = ratio(times[NAME], times["plain"]), counted(task, config)
    rows = [[name, milliseconds(own), str(ratio(own, times["plain"]))] for name, own in times.items()]
    title = f"A phase of {EPOCHS} epochs on {n} clips and {ADDED} mistake, Fisher information of {DRAWS}"
    table = Table(title=title, columns=["phase", "CPU time", "ratio"], rows=rows)
    bar = Bar.of("xai_increment phase (LIME + Fisher) / plain phase", found, bar=BAR, limit=f"{limit:.2f}")
    return Part(title="A phase of XAI-Increment", said=(SAID,), tables=[table], bars=[bar])


def counted(task: Task, config: XaiIncrementConfig) -> float:
    """Return the ratio of the passes.

    Added are a forward for each mask of the mistake, one of each clip, to find those that the network gets right, and a
    step for each draw of the Fisher information.
    """
    assert task.pool is not None  # noqa: S101 - the task is ours
    explainer, x = config.explainer(), task.pool.x
    masks = [len(explainer.masks(s)) for s in explainer.segmenter(x).counts]
    explained = ADDED * sum(masks) / len(masks)
    n = len(task.train) + ADDED
    return 1 + (explained / 3 + n / 3 + DRAWS) / (EPOCHS * n)


SAID = (
    "The network of the paper, narrower, on noise of the size of its clips; CPU time of whole phases, tests and "
    "checkpoints included, plain and with the method in turns. In the paper's program LIME's forwards are 0.8 % of the "
    "passes of a phase; here one explained mistake is six times that share. The Fisher information is in proportion."
)

if __name__ == "__main__":
    sys.exit(main("phases", measure, __doc__))
