"""Images a second of the device-resident loader against a torch DataLoader: same images, same augmentation.

    python benchmarks/loaders.py [--quick]

CIFAR-sized images in memory as bytes. The DataLoader's samples are cropped, flipped and normalised one by one, as most
programs do it; with workers its wall time counts, and what the workers take of the cores is beside it.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from common import Part, Table, in_turns, main, progress, ratio
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xfeedback.data.device import DeviceLoader, Samples

SHAPE, BATCH = (3, 32, 32), 128
MEAN, STD = torch.tensor([0.5, 0.5, 0.5]).view(3, 1, 1), torch.tensor([0.25, 0.25, 0.25]).view(3, 1, 1)


class OneByOne(Dataset[tuple[Tensor, Tensor]]):
    """Samples as a torch Dataset gives them, each cropped, flipped and normalised by itself."""

    def __init__(self, x: Tensor, y: Tensor, *, augment: bool) -> None:
        self.x, self.y, self.augment = x, y, augment

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        x = self.x[row].float().div_(255)
        if self.augment:
            padded = torch.nn.functional.pad(x, (4, 4, 4, 4))
            top, left = torch.randint(9, (2,)).tolist()
            x = padded[:, top : top + 32, left : left + 32]
            x = x.flip(2) if torch.rand(()) < 0.5 else x
        return (x - MEAN) / STD, self.y[row]


def drained(loader: Iterable[Any]) -> Callable[[], None]:
    """Return a pass over a loader."""

    def work() -> None:
        for _ in loader:
            pass

    return work


def loaders(n: int, *, augment: bool, workers: int) -> dict[str, Iterable[Any]]:
    """Return what is compared, by name."""
    numbers = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, *SHAPE), dtype=torch.uint8, generator=numbers)
    y = torch.randint(10, (n,), generator=numbers)
    samples = Samples(x=x, y=y, index=torch.arange(n), mean=MEAN, std=STD)
    own = DeviceLoader(samples, BATCH, seed=0, augment="crop_flip" if augment else "none")
    items = OneByOne(x, y, augment=augment)
    found: dict[str, Iterable[Any]] = {"ours, on the device": own, "DataLoader": DataLoader(items, BATCH, shuffle=True)}
    for count in range(2, workers + 1, 2):
        found[f"DataLoader, {count} workers"] = DataLoader(items, BATCH, shuffle=True, num_workers=count)
    return found


def table(n: int, rounds: int, *, augment: bool, workers: int) -> Table:
    """Return images a second, and CPU seconds of this process and its workers."""
    works = {name: drained(loader) for name, loader in loaders(n, augment=augment, workers=workers).items()}
    wall = in_turns(works, rounds, warm=1, clock=time.perf_counter)
    cpu = in_turns(works, 1, warm=0, clock=_all_cpu)
    base = wall["ours, on the device"]
    rows = [
        [
            name,
            f"{n / sorted(times)[len(times) // 2]:,.0f}",
            f"{1e6 * cpu[name][0] / n:.1f} µs",
            str(ratio(times, base)),
        ]
        for name, times in wall.items()
    ]
    what = "cropped and flipped" if augment else "as they are"
    title = f"{n} images of {'x'.join(map(str, SHAPE))}, {what}, batch {BATCH}"
    return Table(title=title, columns=["", "images a second", "CPU time an image", "wall time / ours"], rows=rows)


def _all_cpu() -> float:
    """CPU seconds of this process and of children that have ended, i.e. of the workers of a pass."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure(quick: bool) -> Part:
    """Return a table without and one with augmentation."""
    n, rounds, workers = (256, 1, 0) if quick else (10_000, 5, 2)
    tables = []
    for augment in (False, True):
        tables.append(table(n, rounds, augment=augment, workers=workers))
        progress(f"{tables[-1].title}: {tables[-1].rows[0][1]} images a second")
    return Part(title="Data", said=(SAID,), tables=tables)


SAID = (
    "Wall time of a pass over images in memory. Ours makes whole batches on the device, here the CPU on one thread; "
    "the DataLoader's samples are made one by one, in this process or in two workers."
)

if __name__ == "__main__":
    sys.exit(main("loaders", measure, __doc__))
