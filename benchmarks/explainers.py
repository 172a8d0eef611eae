"""Time LIME, LRP and Grad-CAM against lime, zennit and captum: same network, inputs, masks and segments.

    python benchmarks/explainers.py [--quick]

One thread, CPU time, in turns. All give the same numbers, which is checked before anything is timed. "Forwards" is the
time inside the network's forward passes, which each calls in its own way: lime with ten images at a time (its default),
captum with as many as we take (its default is one).
"""

import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from statistics import median
from typing import Any

import numpy as np
import torch
from common import Bar, Part, Ratio, Table, in_turns, main, milliseconds, progress, ratio
from torch import Tensor, nn

from xfeedback import models
from xfeedback.explain.chunks import chunk_size
from xfeedback.explain.lime import Lime
from xfeedback.explain.lime_masks import bernoulli_masks, cosine_kernel
from xfeedback.explain.lrp import relevance
from xfeedback.explain.maps import evaluation_cam
from xfeedback.explain.segments import Segmenter

NETWORKS = {"gapnet": (1, 32, 32), "kws_cnn": (1, 124, 129)}
"""For LIME: a CNN of a few thousand weights, and the ten-layer CNN of XAI-Increment."""
CASES = (("gapnet", 100), ("gapnet", 1000), ("kws_cnn", 100))
BAR = 1.15
CLASSES, CLIPS = 10, 8


def built(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """Return a network in evaluation mode."""
    return models.build(models.config_class(name)(name=name), shape, CLASSES, 0).eval()


class Timed(nn.Module):
    """A network that adds up the CPU time of its forward passes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        start = time.process_time()
        logits = self.network(x)
        self.seconds += time.process_time() - start
        return logits

    def measured(self, work: Callable[[], object]) -> tuple[float, float]:
        """Return the seconds of the whole and inside the forward passes."""
        self.seconds, start = 0.0, time.process_time()
        work()
        return time.process_time() - start, self.seconds


class Given(Lime):
    """LIME with masks given beforehand."""

    given: Tensor

    def masks(self, s: int, draw: int = 0) -> Tensor:
        """Return the given masks."""
        del s, draw
        return Given.given


def ours(network: nn.Module, x: Tensor, segmenter: Segmenter, masks: Tensor) -> Tensor:
    """Return coefficients ``(B, S, K)``."""
    Given.given = masks
    return Given(segmenter=segmenter, ridge=1.0).explain(network, x).coefficients


def limes(network: nn.Module, x: Tensor, segmenter: Segmenter, masks: Tensor) -> Tensor:
    """Return coefficients of all classes by the lime package, which always computes both."""
    from lime.lime_image import LimeImageExplainer

    class Draws(np.random.RandomState):
        def randint(self, *args: Any, **kwargs: Any) -> Any:
            given = masks.flatten().long().numpy().copy()
            return given if args and args[-1] == given.size else super().randint(*args, **kwargs)

    def classify(rows: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(rows[..., 0].astype(np.float32))[:, None]
        with torch.no_grad():
            return network(batch).softmax(1).numpy()

    options: dict[str, Any] = {"labels": range(CLASSES), "top_labels": None, "hide_color": 0, "num_samples": len(masks)}
    found = []
    for image in x:
        labels = segmenter(image[None]).labels[0].numpy()
        explainer = LimeImageExplainer(random_state=Draws(0))
        with redirect_stderr(StringIO()):  # its progress bars
            explanation = explainer.explain_instance(
                image[0].numpy(), classify, segmentation_fn=lambda _, labels=labels: labels, **options
            )
        found.append([[w for _, w in sorted(explanation.local_exp[k])] for k in range(CLASSES)])
    return torch.tensor(found).mT


def captums(network: nn.Module, x: Tensor, segmenter: Segmenter, masks: Tensor, classes: int) -> Tensor:
    """Return coefficients of some classes by captum, which fits one class at a time."""
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime as CaptumLime

    rows, chunk = masks.float(), chunk_size(network, x[:1])
    explainer = CaptumLime(
        lambda batch: network(batch).softmax(1),
        interpretable_model=SkLearnRidge(alpha=1.0),
        similarity_func=lambda _original, _perturbed, mask, **_: cosine_kernel(mask.bool()),
    )
    options: dict[str, Any] = {"n_samples": len(rows), "perturbations_per_eval": chunk, "return_input_shape": False}
    found = []
    for image in x.split(1):
        labels = segmenter(image).labels[:, None]
        each = []
        for label in range(classes):
            explainer.perturb_func = _in_turn(rows)  # the same masks in each fit
            each.append(explainer.attribute(image, target=label, feature_mask=labels, **options)[0])
        found.append(torch.stack(each, 1))
    return torch.stack(found)


def _in_turn(rows: Tensor) -> Callable[..., Tensor]:
    left: Iterator[Tensor] = iter(rows.split(1))
    return lambda *_, **__: next(left)


def lime_table(name: str, n: int, rounds: int) -> tuple[Table, Ratio]:
    """Return milliseconds a clip, inside the forwards and in all, and our ratio of the two for one clip."""
    network, shape = Timed(built(name, NETWORKS[name])), NETWORKS[name]
    torch.manual_seed(0)
    x, segmenter = torch.rand(CLIPS, *shape), Segmenter(kind="grid", grid=(3, 3))
    masks = bernoulli_masks(n, 9, torch.Generator().manual_seed(0))
    masks[0] = True
    one = (network, x[:1], segmenter, masks)
    works: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "ours, 1 input, all classes": (1, partial(ours, *one)),
        f"ours, {CLIPS} inputs, all classes": (CLIPS, partial(ours, network, x, segmenter, masks)),
        "lime, 1 input, all classes": (1, partial(limes, *one)),
        "captum, 1 input, 2 classes": (1, partial(captums, *one, 2)),
    }
    reference = ours(*one)
    for other in (limes(*one), captums(*one, 2)):
        torch.testing.assert_close(other.double(), reference[:, :, : other.shape[2]], rtol=0, atol=1e-4)
    times: dict[str, list[tuple[float, float]]] = {row: [] for row in works}
    for _ in range(rounds):
        for row, (_, work) in works.items():
            times[row].append(network.measured(work))
    found = {row: ratio(*zip(*seen, strict=True)) for row, seen in times.items()}
    rows = []
    for row, (many, _) in works.items():
        whole, inside = (1000 * median(seen[i] for seen in times[row]) / many for i in (0, 1))
        rows.append([row, f"{whole:.1f} ms", f"{inside:.1f} ms", str(found[row])])
    title = f"LIME, {name}, {n} masks, {chunk_size(network, x[:1])} at once"
    columns = ["", "an input", "of it forwards", "whole / forwards"]
    return Table(title=title, columns=columns, rows=rows), found["ours, 1 input, all classes"]


def gradients_table(n: int, rounds: int) -> Table:
    """Return the times of LRP and Grad-CAM on ``mnist_cnn`` relative to a forward and a backward pass to the input."""
    network = built("mnist_cnn", (1, 28, 28))
    numbers = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 1, 28, 28, generator=numbers), torch.randint(CLASSES, (n,), generator=numbers)

    def passes() -> Tensor:
        point = x.clone().requires_grad_()
        return torch.autograd.grad(network(point).gather(1, y[:, None]).sum(), point)[0]

    works: dict[str, Callable[[], Tensor]] = {
        "a forward, and a backward pass to the input": passes,
        "LRP, ours": lambda: relevance(network, x, y),
        "LRP, zennit": partial(zennits_lrp, copy.deepcopy(network), x, y),
        "Grad-CAM, ours": lambda: evaluation_cam(network, "pool", x, y, kind="logit", guided=False),
        "Grad-CAM, captum": partial(captums_cam, network, x, y),
    }
    torch.testing.assert_close(works["LRP, ours"](), works["LRP, zennit"](), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(works["Grad-CAM, ours"](), works["Grad-CAM, captum"](), rtol=1e-3, atol=1e-6)
    times = in_turns(works, rounds)
    base = next(iter(times.values()))
    rows = [[name, milliseconds(own), str(ratio(own, base))] for name, own in times.items()]
    return Table(title=f"mnist_cnn, {n} images at once", columns=["", "CPU time", "ratio"], rows=rows)


def zennits_lrp(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the relevance of the input by zennit's epsilon rule."""
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite
    from zennit.rules import Epsilon, Norm, Pass
    from zennit.types import Activation, AvgPool, Convolution, Linear

    epsilon = Epsilon(1e-6)
    layers: list[Any] = [(Activation, Pass()), (AvgPool, Norm()), (Convolution, epsilon), (Linear, epsilon)]
    with Gradient(model=network, composite=LayerMapComposite(layers)) as attributor:
        return attributor(x, lambda z: torch.eye(CLASSES)[y] * z)[1]  # type: ignore[index]


def captums_cam(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return Grad-CAM of the pooled map by captum."""
    from captum.attr import LayerGradCam

    return LayerGradCam(network, network.get_submodule("pool")).attribute(x, y, relu_attributions=True)[:, 0].detach()  # type: ignore[index]


def measure(quick: bool) -> Part:
    """Return the tables."""
    tables, found = [], {}
    for name, n in (("gapnet", 30),) if quick else CASES:
        table, found[name, n] = lime_table(name, n, 2 if quick else 5)
        progress(f"{table.title}: whole / forwards {found[name, n]}")
        tables.append(table)
    tables.append(gradients_table(4 if quick else 64, 2 if quick else 12))
    bars = [
        Bar.of(f"LIME whole / forwards alone, {n} masks, {name}", value, bar=BAR, limit="1.00")
        for (name, n), value in found.items()
        if n == 1000 or quick
    ]
    return Part(title="LIME, LRP and Grad-CAM against other packages", said=(SAID,), tables=tables, bars=bars)


SAID = (
    "One thread, CPU time, in turns, same masks and segments; that all find the same is checked before. LIME: `lime` "
    "computes all classes at once and takes ten images a forward, captum fits one class at a time. LRP: the epsilon "
    "rule throughout; captum has none for the networks here, whose layers are not all modules."
)

if __name__ == "__main__":
    sys.exit(main("explainers", measure, __doc__))
