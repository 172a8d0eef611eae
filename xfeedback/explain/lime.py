"""LIME for whole batches: one flat series of forwards, one factorisation, all classes at once (Ribeiro et al. 2016).

Letters: B samples, S segments, n masks, K outputs. Equations (1) to (3): `docs/methods/xai_increment.md`.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.explain.chunks import Chunk, chunk_size
from xfeedback.explain.lime_masks import (
    antithetic_masks,
    bernoulli_masks,
    cosine_kernel,
    exhaustive_masks,
    shapley_kernel,
    surrogate,
)
from xfeedback.explain.segments import Segmenter, Segments
from xfeedback.models.running import mode
from xfeedback.precision import widened
from xfeedback.seeding import generator

Sampling = Literal["exhaustive", "bernoulli", "antithetic"]
Hide = Literal["zero", "mean"]
KEPT_DESIGNS = 32
"""How many sets of masks an explainer remembers with their factorisation."""


@dataclass(frozen=True, kw_only=True)
class LimeMaps:
    """Surrogates of a batch.

    Attributes:
        coefficients: ``(B, S, K)`` float64; 0 beyond a sample's own segments.
        present: which of them belong to a segment ``(B, S)`` bool.
        segments: what they are coefficients of.
    """

    coefficients: Tensor
    present: Tensor
    segments: Segments

    def of(self, target: Tensor) -> Tensor:
        """Return the coefficients of one class a sample ``(B, S)``; ``target`` ``(B,)``."""
        return self.coefficients.gather(2, target[:, None, None].expand(-1, self.coefficients.shape[1], 1))[..., 0]

    def maps(self, target: Tensor) -> Tensor:
        """Return them as a map over the input, signed, of the shape of the segments' labels; ``target`` ``(B,)``."""
        return self.segments.spread(self.of(target))


@torch.no_grad()
def hidden(x: Tensor, labels: Tensor, masks: Tensor, fill: Tensor | None, out: Tensor) -> Tensor:
    """Write one input with segments switched off into ``out``, a row a mask, and return it.

    Args:
        x: ``(...)``, e.g. ``(C, H, W)``.
        labels: ``(...)``, the last axes of ``x``; -1: never hidden.
        masks: ``(n, S + 1)`` of the dtype of ``x``, 1: shown; the last column is all 1, for the label -1.
        fill: what stands in hidden places, broadcasts to ``x``; None: 0.
        out: ``(n, ...)``.
    """
    kept = masks.index_select(1, labels.flatten() % masks.shape[1])
    kept = kept.view(len(masks), *[1] * (x.ndim - labels.ndim), *labels.shape)
    torch.mul(x, kept, out=out)
    return out if fill is None else out.add_((1 - kept) * fill)  # one of the two summands is 0


@torch.no_grad()
def masked_outputs(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    labels: Tensor,
    masks: Sequence[Tensor],
    *,
    fill: Tensor | None = None,
    chunk: int = 64,
) -> list[Tensor]:
    """Return the outputs of every masked input, ``(n_b, K)`` a sample; chunks run across samples.

    Args:
        function: maps inputs ``(m, ...)`` to outputs ``(m, K)``.
        x: ``(B, ...)``.
        labels: segments ``(B, ...)``.
        masks: of each sample ``(n_b, S_b)`` bool; the same tensor may stand for many samples.
        fill: ``(B, ...)``, or None for 0.
        chunk: inputs a forward.
    """
    ones = {id(m): torch.cat([m, m.new_ones(len(m), 1)], 1).to(x.dtype) for m in masks}
    rows = [len(m) for m in masks]
    buffer = torch.empty((min(chunk, sum(rows)), *x.shape[1:]), dtype=x.dtype, device=x.device)
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        buffer = buffer.contiguous(memory_format=torch.channels_last)
    outputs, filled = [], 0
    for sample, of_sample in enumerate(masks):
        start = 0
        while start < rows[sample]:
            taken = min(rows[sample] - start, len(buffer) - filled)
            some = ones[id(of_sample)][start : start + taken]
            own = None if fill is None else fill[sample]
            hidden(x[sample], labels[sample], some, own, buffer[filled : filled + taken])
            start, filled = start + taken, filled + taken
            if filled == len(buffer):
                outputs.append(function(buffer))
                filled = 0
    if filled:
        outputs.append(function(buffer[:filled]))
    return list(torch.cat(outputs).split(rows)) if outputs else []


def segment_means(x: Tensor, segments: Segments) -> Tensor:
    """Return inputs with each segment at its mean, by channel, as the ``lime`` package hides by default.

    Args:
        x: ``(B, C, H, W)`` or ``(B, T, F)``.
        segments: of ``x``.
    """
    width = max(segments.counts) + 1
    of_label = (segments.labels.flatten(1) % width)[:, None]
    values = x.view(len(x), -1, of_label.shape[2])
    of_label = of_label.expand(values.shape)
    sums = values.new_zeros(*values.shape[:2], width).scatter_add_(2, of_label, values)
    counts = torch.zeros_like(sums).scatter_add_(2, of_label, torch.ones_like(values))
    return (sums / counts.clamp_min(1)).gather(2, of_label).view(x.shape)


@dataclass(frozen=True, kw_only=True)
class Lime:
    """Explains a batch by linear surrogates of its probabilities over segments that are hidden or shown.

    Attributes:
        segmenter: cuts inputs.
        sampling: ``exhaustive`` takes all 2^S masks up to ``exhaustive_up_to`` segments and ``antithetic`` pairs above;
            ``bernoulli``: fair coins.
        n_masks: how many are drawn.
        exhaustive_up_to: S up to which all masks are taken.
        include_original: make the first drawn mask show all, as the ``lime`` package does.
        hide: hidden segments become 0 or, not for texts, their mean.
        kernel: weights of masks: ``cosine`` as the ``lime`` package, or ``shapley``.
        kernel_width: of the cosine kernel.
        ridge: as the ``lime`` package's alpha, which is 1; 0: least squares.
        index_bug: as in the released program: segment j follows mask entry j + 1 and the last one is always hidden.
        chunk: inputs a forward: ``auto`` by a rule that is the same on all machines, ``measured``: the fastest here, or
            a number.
        seed: of the draws, which are the same for all samples with as many segments.
    """

    segmenter: Segmenter = field(default_factory=Segmenter)
    sampling: Sampling = "exhaustive"
    n_masks: int = 1024
    exhaustive_up_to: int = 10
    include_original: bool = False
    hide: Hide = "zero"
    kernel: Literal["cosine", "shapley"] = "cosine"
    kernel_width: float = 0.25
    ridge: float = 0.0
    index_bug: bool = False
    chunk: Chunk = "auto"
    seed: int = 0
    _known: OrderedDict[tuple[int, int], tuple[Tensor, Tensor]] = field(
        default_factory=OrderedDict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require(self.n_masks >= 2, "n_masks", self.n_masks, "2 or more")
        require(0 <= self.exhaustive_up_to <= 20, "exhaustive_up_to", self.exhaustive_up_to, "from 0 to 20")
        require(self.kernel_width > 0, "kernel_width", self.kernel_width, "above 0")
        require(self.ridge >= 0, "ridge", self.ridge, "0 or more")

    def masks(self, s: int, draw: int = 0) -> Tensor:
        """Return the masks for samples of S segments, ``(n, S)`` bool on the CPU; ``draw`` numbers independent sets."""
        if s == 0:
            return torch.ones(1, 0, dtype=torch.bool)
        if self.sampling == "exhaustive" and s <= self.exhaustive_up_to:
            return exhaustive_masks(s)
        draws = generator("cpu", self.seed, "lime", s, draw)
        drawn = (bernoulli_masks if self.sampling == "bernoulli" else antithetic_masks)(self.n_masks, s, draws)
        if self.include_original:
            drawn[0] = True
        return drawn

    def seen(self, masks: Tensor) -> Tensor:
        """Return the masks ``(n, S)`` as the segments obey them: the same, but for the released program's index bug."""
        return torch.cat([masks[:, 1:], torch.zeros_like(masks[:, :1])], 1) if self.index_bug else masks

    def design(self, s: int, draw: int = 0) -> tuple[Tensor, Tensor]:
        """Return masks ``(n, S)`` bool and the matrix from outputs to coefficients ``(S, n)`` float64, on the CPU."""
        if (s, draw) not in self._known:
            masks = self.masks(s, draw)
            weights = shapley_kernel(masks) if self.kernel == "shapley" else cosine_kernel(masks, self.kernel_width)
            self._known[s, draw] = masks, surrogate(masks, weights, self.ridge)
            if len(self._known) > KEPT_DESIGNS:
                self._known.popitem(last=False)
        return self._known[s, draw]

    def explain(
        self,
        network: nn.Module,
        x: Tensor,
        valid: Tensor | None = None,
        *,
        draw: int = 0,
        segments: Segments | None = None,
    ) -> LimeMaps:
        """Explain every class of each sample by the same masks, in evaluation mode and float32 or wider.

        Args:
            network: maps inputs to logits ``(B, K)``; in any mode, which it keeps.
            x: images ``(B, C, H, W)``, series ``(B, T, F)`` or ids ``(B, L)``.
            valid: real positions, as in :class:`~xfeedback.types.Batch`.
            draw: which of the independent sets of masks.
            segments: of ``x``; None: as the segmenter cuts it.

        Raises:
            UserError: the segments do not fit this kind of input.
        """
        segments = segments or self.segmenter(x, valid)
        designs = {s: self.design(s, draw) for s in sorted(set(segments.counts))}
        seen = {s: self.seen(masks).to(x.device) for s, (masks, _) in designs.items()}
        fill = segment_means(x, segments) if self.hide == "mean" and x.is_floating_point() else None
        wide = torch.autocast(x.device.type, enabled=False)
        with torch.no_grad(), mode(network, training=False), wide:
            outputs = masked_outputs(
                lambda rows: widened(network(rows)).softmax(1),
                x,
                segments.labels,
                [seen[s] for s in segments.counts],
                fill=fill,
                chunk=chunk_size(network, x[:1], self.chunk),
            )
        return _solved(segments, {s: matrix for s, (_, matrix) in designs.items()}, outputs)


def _solved(segments: Segments, matrices: dict[int, Tensor], outputs: list[Tensor]) -> LimeMaps:
    """Solve for all samples that share a design at once; equation (3)."""
    counts = torch.tensor(segments.counts)
    width, k, device = max(1, *segments.counts), outputs[0].shape[1], outputs[0].device
    coefficients = torch.zeros(len(counts), width, k, dtype=torch.float64, device=device)
    for s, matrix in matrices.items():
        rows = torch.nonzero(counts == s).flatten()
        values = torch.stack([outputs[row] for row in rows.tolist()]).double()
        coefficients[rows.to(device), :s] = matrix.to(device) @ (values - values[:, :1])
    present = (torch.arange(width) < counts[:, None]).to(device)
    return LimeMaps(coefficients=coefficients, present=present, segments=segments)
