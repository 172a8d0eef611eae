"""Estimates of the diagonal of the Fisher information, F_k = mean_j (d s_j / d theta_k)^2 over samples j.

=============== ===================================================================================================
estimator       s_j
=============== ===================================================================================================
empirical       log p(y_j given x_j)
true_exact      log p_c, weighted by p_c and summed over all classes c: the Fisher information itself
true_sampled    log p_c of one class c drawn from p
batched         mean of log p(y given x) over a mini-batch j, F the mean over mini-batches: about 1/B of ``empirical``
official        sum_c log_softmax(p)_c with p softmax already, as in the released program of Mazumder et al. (2022);
                its gradient is that of -C logsumexp(p), and F is no Fisher information
=============== ===================================================================================================

Equations after Mazumder et al. 2022 (arXiv 2211.01413) and Kirkpatrick et al. 2017.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call, grad, vmap

from xfeedback.types import Batch

MOST = 2**25
"""Entries of per-sample gradients at a time."""

Score = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(B, N)`` and classes ``(B,)`` to s ``(B,)``."""
Squares = dict[str, Tensor]


def log_likelihood(logits: Tensor, classes: Tensor) -> Tensor:
    """Return log p of the given classes, ``(B,)``."""
    return -F.cross_entropy(logits, classes, reduction="none")


def official_score(logits: Tensor, classes: Tensor) -> Tensor:
    """Return sum_c log_softmax(p)_c with p = softmax(logits), ``(B,)``; the classes don't matter."""
    del classes
    return logits.softmax(1).log_softmax(1).sum(1)


@torch.enable_grad()
def fisher(
    network: nn.Module, batches: Iterable[Batch], estimator: str, *, numbers: torch.Generator | None = None
) -> Squares:
    """Return F by parameter name, float64 or the parameters' own wider type; 0 without any sample.

    Args:
        network: in evaluation mode, so that samples don't depend on each other.
        batches: the samples; for ``batched`` the mini-batches themselves.
        estimator: see the table above.
        numbers: source of the drawn classes on the CPU, for ``true_sampled``.
    """
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in trained.items()}
    count = 0
    for batch in batches:
        if estimator == "batched":
            found, n = _batch_square(network, trained, batch), 1
        else:
            found, n = _squares(network, batch, estimator, numbers), len(batch)
        for name, values in found.items():
            total[name] += values
        count += n
    return {name: values / max(count, 1) for name, values in total.items()}


def _squares(network: nn.Module, batch: Batch, estimator: str, numbers: torch.Generator | None) -> Squares:
    """Sum over a batch of the squared gradients of an estimator."""
    if estimator == "empirical":
        return square_gradients(network, batch.x, batch.y, log_likelihood)
    if estimator == "official":
        return square_gradients(network, batch.x, batch.y, official_score)
    with torch.no_grad():
        p = network(batch.x).softmax(1)
    if estimator == "true_sampled":
        drawn = torch.multinomial(p.double().cpu(), 1, generator=numbers)[:, 0].to(p.device)
        return square_gradients(network, batch.x, drawn, log_likelihood)
    total: Squares = {}
    for label in range(p.shape[1]):
        same = torch.full_like(batch.y, label)
        found = square_gradients(network, batch.x, same, log_likelihood, p[:, label])
        total = {name: values + total[name] if total else values for name, values in found.items()}
    return total


def _batch_square(network: nn.Module, trained: Mapping[str, nn.Parameter], batch: Batch) -> Squares:
    score = log_likelihood(network(batch.x), batch.y).mean()
    found = torch.autograd.grad(score, list(trained.values()), allow_unused=True)
    gradients = cast("tuple[Tensor | None, ...]", found)  # torch's type leaves out that None is an unused weight's
    return {name: g.square() for name, g in zip(trained, gradients, strict=True) if g is not None}


def square_gradients(
    network: nn.Module, x: Tensor, classes: Tensor, score: Score, weights: Tensor | None = None
) -> Squares:
    """Return sum_b w_b (d s_b / d theta)^2 by name of the trained parameters.

    Dense layers that are used once, on one row of each sample, by the exact product of factors: the gradient of
    sample b is delta_b a_b^T, so the sum is (w delta^2)^T (a^2) and no sample's matrix is formed. All others by
    per-sample gradients, vectorised where PyTorch can.

    Args:
        network: in evaluation mode.
        x: inputs ``(B, ...)``.
        classes: ``(B,)`` int64.
        score: s.
        weights: w ``(B,)``; None: 1.
    """
    w = torch.ones(len(x), device=x.device) if weights is None else weights
    with _dense_inputs(network) as seen:
        total = score(network(x), classes).sum()
    dense = {name: calls[0] for name, calls in seen.items() if [a.shape[:-1] for a, _ in calls] == [x.shape[:1]]}
    outputs = [output for _, output in dense.values()]
    deltas = torch.autograd.grad(total, outputs, allow_unused=True) if outputs else ()
    found: Squares = {}
    for (name, (a, _)), delta in zip(dense.items(), deltas, strict=True):
        found |= _factorised(network.get_submodule(name), name, a.detach(), delta, w)
    left = [name for name, p in network.named_parameters() if p.requires_grad and name not in found]
    return found | (_one_by_one(network, left, x, classes, score=score, w=w) if left else {})


def _factorised(layer: nn.Module, name: str, a: Tensor, delta: Tensor | None, w: Tensor) -> Squares:
    prefix = f"{name}." if name else ""
    if delta is None:
        return {f"{prefix}{n}": torch.zeros_like(p) for n, p in layer.named_parameters()}
    weighted = w.to(delta.dtype)[:, None] * delta.square()
    found = {f"{prefix}weight": weighted.T @ a.square()}
    if getattr(layer, "bias", None) is not None:
        found[f"{prefix}bias"] = weighted.sum(0)
    return found


@contextmanager
def _dense_inputs(network: nn.Module) -> Generator[dict[str, list[tuple[Tensor, GradientEdge]]]]:
    """Collect every call of the dense layers whose weights are trained and nobody else's.

    Of each the input, and where in the graph the output stands: a next layer that works in place changes the tensor.
    """
    users: dict[int, int] = {}
    for _, p in network.named_parameters(remove_duplicate=False):
        users[id(p)] = users.get(id(p), 0) + 1
    seen: dict[str, list[tuple[Tensor, GradientEdge]]] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen.setdefault(name, []).append((inputs[0], get_gradient_edge(output)))

        return hook

    handles = [
        layer.register_forward_hook(keep(name))
        for name, layer in network.named_modules()
        if type(layer) is nn.Linear and all(p.requires_grad and users[id(p)] == 1 for p in layer.parameters())
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _one_by_one(
    network: nn.Module, names: Sequence[str], x: Tensor, classes: Tensor, *, score: Score, w: Tensor
) -> Squares:
    """Weighted sum of squared per-sample gradients of the named parameters, in parts of :data:`MOST` entries."""
    own = {name: network.get_parameter(name) for name in names}
    rows = max(1, MOST // sum(p.numel() for p in own.values()))

    def one(parameters: Squares, sample: Tensor, label: Tensor) -> Tensor:
        return score(functional_call(network, parameters, (sample[None],)), label[None])[0]

    each = vmap(grad(one), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in own.items()}
    plain = {name: p.detach() for name, p in own.items()}
    for part, labels, weights in zip(x.split(rows), classes.split(rows), w.split(rows), strict=True):
        try:
            gradients = each(plain, part, labels)
        except RuntimeError:  # an operation that PyTorch can't vectorise
            single = [grad(one)(plain, sample, label) for sample, label in zip(part, labels, strict=True)]
            gradients = {name: torch.stack([g[name] for g in single]) for name in names}
        for name, values in gradients.items():
            total[name] += torch.einsum("b,b...->...", weights.to(values.dtype), values.square())
    return total
