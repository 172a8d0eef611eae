"""Time a training step of a ResNet-18 with attention pooling against the networks that it should be compared with.

    python benchmarks/lap.py [--quick]

``minimal`` against the old network, ``full`` against average pooling at the same sites behind the same stride-1
convolutions. Batches of 4 images of 128x128, channels last, one thread, CPU time, in turns.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from common import Bar, Part, Table, in_turns, main, milliseconds, progress, ratio
from torch import Tensor, nn

from xfeedback.engine.cost import flops
from xfeedback.models.surgery import extend

ROWS = (("vanilla", "none", "lap"), ("minimal", "minimal", "lap"), ("average", "full", "avg"), ("full", "full", "lap"))
"""Name, preset and row of each network."""
COMPARED = (("minimal", "vanilla", 1.10), ("full", "average", 1.15))
"""Network, what it is compared with, and the most it may cost."""


def network(preset: Any, row: Any, x: Tensor) -> nn.Module:
    """Return torchvision's ResNet-18 for 10 classes with the sites of ``preset`` changed to ``row``."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    found = resnet18(num_classes=10)
    extend(found, preset, example=x[:1], row=row)
    return found.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def step(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a forward and a backward pass."""

    def work() -> None:
        F.cross_entropy(net(x), y).backward()
        net.zero_grad()

    return work


def measure(quick: bool) -> Part:
    """Return the ratios."""
    numbers = torch.Generator().manual_seed(0)
    size = 32 if quick else 128
    x = torch.randn(4, 3, size, size, generator=numbers).contiguous(memory_format=torch.channels_last)
    y = torch.randint(10, (4,), generator=numbers)
    works = {name: step(network(preset, row, x), x, y) for name, preset, row in ROWS}
    counts = {name: flops(work) for name, work in works.items()}
    times = in_turns(works, 2 if quick else 15)
    rows, bars = [], []
    for name, base, most in COMPARED:
        found, limit = ratio(times[name], times[base]), counts[name] / counts[base]
        progress(f"{name}: {found} x {base}")
        rows.append([name, base, milliseconds(times[base]), milliseconds(times[name]), str(found), f"{limit:.2f}"])
        bars.append(Bar.of(f"lap {name} / {base}", found, bar=most, limit=f"{limit:.2f}"))
    columns = ["network", "against", "its step", "step", "ratio", "limit by counting"]
    table = Table(title=f"ResNet-18, 4 images of 3x{size}x{size}, channels last", columns=columns, rows=rows)
    return Part(title="Local attention pooling", said=(SAID,), tables=[table], bars=bars)


SAID = (
    "A forward and a backward pass on one thread, CPU time, in turns. `minimal` replaces the poolings that a ResNet-18 "
    "has, `full` strided convolutions too; these are compared with average pooling at the same places, which pays for "
    "the removed strides as well."
)

if __name__ == "__main__":
    sys.exit(main("lap", measure, __doc__))
