"""Time a training step of each method, and its peak memory, relative to a plain one, in turns in one process.

    python benchmarks/steps.py [--quick]

Noise of the size of the data, with boxes as annotations; one thread, CPU time. The limit by counting is the ratio of
the multiplications that the steps make, so that the first layer's input gradient, which plain training leaves out,
counts. How many passes each method makes is in tests/methods/test_cost.py.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from common import Bar, Part, Ratio, Table, main, milliseconds, peak_bytes, progress, ratio

from xfeedback import methods, models
from xfeedback.engine.cost import LATE, flops, step_times
from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule
from xfeedback.types import Batch

NETWORKS: dict[str, tuple[tuple[int, int, int], int, int]] = {
    "mnist_cnn": ((1, 28, 28), 128, 12),
    "gapnet": ((1, 32, 32), 64, 24),
    "resnet18": ((3, 32, 32), 16, 8),
}
"""Image shape, batch size and pairs by network."""
APART = ("plain", "plain_equal_time", "xai_increment", "challenger")
"""Plain steps, one whose work lies between the epochs (phases.py), and one whose place is drawn: each has a row."""
CHALLENGER_ALONE = ("resnet18",)
"""Networks on which only Challenger is timed, whose relevance has more layer types to get through there."""
VARIANTS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("saliency_guided", {"saliency_mode": "reuse"}),
    ("saliency_guided", {"variant": "paper"}),
    ("saliency_guided", {"mask_source": "random_cheap"}),
    ("challenger", {"site": "input"}),
    ("challenger", {"site": "input", "attribution": "grad_cam"}),
    ("challenger", {"site": "input", "attribution": "lrp_epsilon"}),
    ("challenger", {"site": "input", "attribution": "lrp_composite"}),
    ("challenger", {"site": "hidden", "site_index": -1}),
)
BARS = (
    ("mnist_cnn", "saliency_guided saliency_mode=reuse", "saliency_guided reuse / plain", 2.6),
    ("mnist_cnn", "xbl", "xbl / plain", 1.25),
    ("mnist_cnn", "challenger site=input", "challenger / plain", 3.0),
    ("resnet18", "challenger site=input", "challenger / plain, ResNet-18", 3.0),
)
"""Network, row, what it is called, and the most it may be."""


def batch_for(network: str, n: int | None = None) -> Batch:
    """Return noise with the right evidence in the middle and the wrong one in a corner."""
    shape, size, _ = NETWORKS[network]
    n, numbers = n or size, torch.Generator().manual_seed(0)
    mask = torch.zeros(n, *shape[1:], dtype=torch.bool)
    wrong = mask.clone()
    mask[:, 4:-4, 4:-4], wrong[:, :4, :4] = True, True
    return Batch(
        x=torch.randn(n, *shape, generator=numbers).contiguous(memory_format=torch.channels_last),
        y=torch.randint(10, (n,), generator=numbers),
        index=torch.arange(n),
        mask=mask,
        wrong=wrong,
        annotated=torch.ones(n, dtype=torch.bool),
    )


def host(network: str, method: str, options: Mapping[str, Any]) -> FeedbackModule:
    """Return a network with a method on it, channels last."""
    net = models.build(models.config_class(network)(name=network), NETWORKS[network][0], 10, 0)
    feedback = methods.feedback_class(method).with_options(**options)
    return FeedbackModule(net, [feedback], example=torch.zeros(1, *NETWORKS[network][0]), channels_last=True).train()


def one_step(module: FeedbackModule, batch: Batch, *, plain: bool) -> Callable[[], None]:
    """Return a forward and a backward pass of the method, or of plain training."""
    active: list[Any] = [] if plain else list(module.feedbacks)

    def work() -> None:
        _, terms = module.loss_terms(batch, active, ("0", 0, LATE, 0))
        torch.stack(list(terms.values())).sum().backward()
        module.zero_grad()

    work()  # what is looked up once is not part of a step
    return work


def row(
    network: str, method: str, options: Mapping[str, Any], pairs: int, n: int | None
) -> tuple[list[str], Ratio, float]:
    """Return a row of the table, the ratio of times and the limit by counting; ``n`` images, None: the network's."""
    batch = batch_for(network, n)
    module = host(network, method, options)
    plain, own = step_times(module, [batch], pairs=pairs, seconds=60)
    works = [one_step(module, batch, plain=plain) for plain in (True, False)]
    limit = _ratio_of(flops, works)
    memory = _ratio_of(peak_bytes, works)
    found = ratio(own, plain)
    cells = [title(method, options), milliseconds(plain), milliseconds(own), str(found), f"{limit:.2f}"]
    return [*cells, f"{found.value / limit:.2f}", f"{memory:.2f}"], found, limit


def _ratio_of(count: Callable[[Callable[[], None]], int], works: list[Callable[[], None]]) -> float:
    plain, own = map(count, works)
    return own / plain


def title(method: str, options: Mapping[str, Any]) -> str:
    """Return a method and its options in words."""
    return " ".join([method, *(f"{name}={value}" for name, value in options.items())])


def rows_of(network: str, quick: bool) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what is timed on a network."""
    every = [(name, {}) for name in methods.names() if name not in APART]
    if network in CHALLENGER_ALONE:
        challenger = [known for known in VARIANTS if known[0] == "challenger"]
        return challenger[:1] if quick else challenger
    return [("xbl", {}), VARIANTS[0]] if quick else [*every, *VARIANTS]


def measure(quick: bool) -> Part:
    """Return a table for each network and the bars."""
    columns = ["method", "plain", "step", "time / plain", "limit by counting", "time / limit", "memory / plain"]
    tables, found = [], {}
    for network, (shape, size, pairs) in NETWORKS.items():
        lines = []
        for method, options in rows_of(network, quick):
            try:
                cells, times, limit = row(network, method, options, 3 if quick else pairs, 8 if quick else None)
            except UserError as error:
                progress(f"{network} {title(method, options)} is left out: {error}")
                continue
            progress(f"{network} {cells[0]}: {times} x plain, limit {limit:.2f}")
            lines.append(cells)
            found[f"{network} {cells[0]}"] = {"method": method, "options": options, "ratio": times, "limit": limit}
        size_of = f"{network}, {size} images of {'x'.join(map(str, shape))}, channels last"
        tables.append(Table(title=size_of, columns=columns, rows=lines))
    bar = partial(_bar, found)
    bars = [bar(*known) for known in BARS if f"{known[0]} {known[1]}" in found]
    numbers = {name: {**values, "ratio": values["ratio"].value} for name, values in found.items()}
    return Part(title="Steps of the methods", said=(SAID,), tables=tables, bars=bars, numbers=numbers)


def _bar(found: Mapping[str, Any], network: str, name: str, what: str, most: float) -> Bar:
    values = found[f"{network} {name}"]
    return Bar.of(what, values["ratio"], bar=most, limit=f"{values['limit']:.2f}")


SAID = (
    "A step is forward, backward and optimiser step (Adam) of the method and of plain training, in turns in one "
    "process on one thread; CPU time, median of the pairs and its 95 % bootstrap interval. The limit by counting is "
    "the ratio of the multiplications that both make, first-layer input gradients included; memory is the peak of what "
    "tensors take beside the weights. The explanations of XAI-Increment lie between epochs and phases: see below. "
    "Challenger draws its place anew in each step; the input costs most."
)

if __name__ == "__main__":
    sys.exit(main("steps", measure, __doc__))
