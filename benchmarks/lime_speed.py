"""Time LIME in batches against the lime package and captum's Lime: same masks, same network, same segments.

    python benchmarks/lime_speed.py [--network small|kws] [--masks 100 1000] [--clips 8] [--repeats 5] [--out FILE]

One thread, CPU time. The three take turns and medians are taken, so that a busy machine disturbs all alike. "Forwards"
is the time inside the network's forward passes, which each calls in its own way: lime with ten images at a time (its
default), captum with as many as we take (its default is one).
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from xfeedback import models
from xfeedback.explain.chunks import chunk_size
from xfeedback.explain.lime import Lime
from xfeedback.explain.lime_masks import bernoulli_masks, cosine_kernel
from xfeedback.explain.segments import Segmenter

SHAPES = {"small": (1, 32, 32), "kws": (1, 124, 129)}
CLASSES = 10


class Timed(nn.Module):
    """A network that adds up the time of its forward passes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        start = time.process_time()
        logits = self.network(x)
        self.seconds += time.process_time() - start
        return logits


def network_of(name: str) -> nn.Module:
    """Return ``small``, a CNN of a few thousand weights on digits, or ``kws``, the ten-layer CNN of XAI-Increment."""
    model = {"small": "gapnet", "kws": "kws_cnn"}[name]
    return models.build(models.config_class(model)(name=model), SHAPES[name], CLASSES, 0).eval()


class Given(Lime):
    """LIME with masks given beforehand."""

    given: Tensor

    def masks(self, s: int, draw: int = 0) -> Tensor:
        """Return the given masks."""
        del s, draw
        return Given.given


def ours(network: Timed, x: Tensor, segmenter: Segmenter, masks: Tensor) -> Tensor:
    """Return coefficients ``(B, S, K)``."""
    Given.given = masks
    return Given(segmenter=segmenter, ridge=1.0).explain(network, x).coefficients


def limes(network: Timed, x: Tensor, segmenter: Segmenter, masks: Tensor) -> Tensor:
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

    found = []
    for image in x:
        labels = segmenter(image[None]).labels[0].numpy()
        explanation = LimeImageExplainer(random_state=Draws(0)).explain_instance(
            image[0].numpy(),
            classify,
            labels=range(CLASSES),
            top_labels=None,
            hide_color=0,
            num_samples=len(masks),
            segmentation_fn=lambda _, labels=labels: labels,
        )
        found.append([[w for _, w in sorted(explanation.local_exp[k])] for k in range(CLASSES)])
    return torch.tensor(found).mT


def captums(network: Timed, x: Tensor, segmenter: Segmenter, masks: Tensor, classes: int) -> Tensor:
    """Return coefficients of some classes by captum, which fits one class at a time."""
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime as CaptumLime

    rows, chunk = masks.float(), chunk_size(network, x[:1])
    explainer = CaptumLime(
        lambda batch: network(batch).softmax(1),
        interpretable_model=SkLearnRidge(alpha=1.0),
        similarity_func=lambda _original, _perturbed, mask, **_: cosine_kernel(mask.bool()),
    )
    options = {"n_samples": len(rows), "perturbations_per_eval": chunk, "return_input_shape": False}
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
    left = iter(rows.split(1))
    return lambda *_, **__: next(left)


def measure(network: Timed, run: Callable[[], Any]) -> tuple[float, float]:
    """Return seconds of the whole and inside the network's forward passes."""
    network.seconds, start = 0.0, time.process_time()
    run()
    return time.process_time() - start, network.seconds


def table(name: str, n: int, clips: int, repeats: int) -> list[str]:
    """Return the lines of one table: milliseconds a clip and the share outside the forwards."""
    network = Timed(network_of(name))
    torch.manual_seed(0)
    x = torch.rand(clips, *SHAPES[name])
    segmenter = Segmenter(kind="grid", grid=(3, 3))
    masks = bernoulli_masks(n, 9, torch.Generator().manual_seed(0))
    masks[0] = True
    reference = ours(network, x[:1], segmenter, masks)
    rows: dict[str, tuple[int, Callable[[], Any]]] = {
        "ours, 1 clip, all classes": (1, lambda: ours(network, x[:1], segmenter, masks)),
        f"ours, {clips} clips, all classes": (clips, lambda: ours(network, x, segmenter, masks)),
        "lime 0.2.0.1, 1 clip, all classes": (1, lambda: limes(network, x[:1], segmenter, masks)),
        "captum, 1 clip, 2 classes": (1, lambda: captums(network, x[:1], segmenter, masks, 2)),
    }
    for other in (limes(network, x[:1], segmenter, masks), captums(network, x[:1], segmenter, masks, 2)):
        torch.testing.assert_close(other.double(), reference[:, :, : other.shape[2]], rtol=0, atol=1e-4)
    times: dict[str, list[tuple[float, float]]] = {row: [] for row in rows}
    for _ in range(repeats):
        for row, (_, run) in rows.items():
            times[row].append(measure(network, run))
    lines = [f"{name}, {n} masks, chunk {chunk_size(network, x[:1])}"]
    lines += [f"{'':36}{'ms a clip':>12}{'forwards':>12}{'outside':>10}"]
    for row, (many, _) in rows.items():
        whole, inside = (1000 * median(t[i] for t in times[row]) / many for i in (0, 1))
        outside = median(1 - t[1] / t[0] for t in times[row])
        lines.append(f"{row:36}{whole:12.2f}{inside:12.2f}{outside:10.1%}")
    return lines


def main() -> None:
    """Print a table for each network and number of masks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--masks", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--clips", type=int, default=8, help="at once")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[str] = []
    for name in options.network:
        for n in options.masks:
            found = table(name, n, options.clips, options.repeats)
            sys.stdout.write("\n".join(found) + "\n\n")
            sys.stdout.flush()
            lines += [*found, ""]
    if options.out is not None:
        options.out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
