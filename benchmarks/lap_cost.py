"""Time a training step of a ResNet-18 with attention pooling against the networks that it should be compared with.

    python benchmarks/lap_cost.py [rounds]

``minimal`` against the old network, limit 1.10; ``full`` against average pooling at the same sites behind the same
stride-1 convolutions, limit 1.15. Batches of 4 images of 128x128, channels last, one thread, CPU time, in turns; the
ratio is the median over the rounds. The exit code is 1 where a limit is passed.
"""

import sys
import time
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = (("old", "none", "lap"), ("minimal", "minimal", "lap"), ("avg", "full", "avg"), ("full", "full", "lap"))
COMPARED = (("minimal", "old", 1.10), ("full", "avg", 1.15))


def network(preset: str, row: str, x: Tensor) -> nn.Module:
    """Return torchvision's ResNet-18 for 10 classes with the sites of ``preset`` changed to ``row``."""
    from torchvision.models import resnet18

    from xfeedback.models.surgery import extend

    torch.manual_seed(0)
    found = resnet18(num_classes=10)
    extend(found, preset, example=x[:1], row=row)  # type: ignore[arg-type]
    return found.to(memory_format=torch.channels_last)  # type: ignore[call-arg]


def step(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the CPU time of a forward and a backward pass in seconds."""
    started = time.process_time()
    F.cross_entropy(net(x), y).backward()
    net.zero_grad()
    return time.process_time() - started


def main() -> int:
    """Print the ratios."""
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 128, 128, generator=numbers).contiguous(memory_format=torch.channels_last)
    y = torch.randint(10, (4,), generator=numbers)
    nets = {name: network(preset, row, x) for name, preset, row in ROWS}
    times = [{name: step(net, x, y) for name, net in nets.items()} for _ in range(rounds + 2)][2:]
    late = 0
    for name, base, limit in COMPARED:
        ratio = median(one[name] / one[base] for one in times)
        sys.stdout.write(f"{name:10} {ratio:6.3f} x {base} (limit {limit})\n")
        late += ratio > limit
    return int(late > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
