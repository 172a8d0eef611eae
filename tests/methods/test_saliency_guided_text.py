"""Saliency guided training on texts: masks and replaced tokens against a plain loop, captum's saliency, padding."""

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import Tensor

from tests.methods import tiny
from tests.methods.test_saliency_guided import feedback, step_of
from xfeedback import models
from xfeedback.data.text import PADDING, SEPARATOR, UNKNOWN
from xfeedback.feedback import FeedbackModule, OptimiserConfig
from xfeedback.methods.saliency_guided import SaliencyGuidedConfig
from xfeedback.models.text_base import TextNetwork
from xfeedback.types import Batch

VOCABULARY = tuple(f"t{i}" for i in range(30))
LENGTHS = (10, 7, 4, 3, 1, 1, 2)
NETWORKS = ("text_cnn", "text_lstm", "text_transformer")


def network(name: str = "text_cnn", dropout: float = 0.4) -> TextNetwork:
    options = {"text_cnn": {"filters": 8}, "text_lstm": {"hidden": 8}, "text_transformer": {"heads": 2}}[name]
    config = models.config_class(name)(name=name, width=8, dropout=dropout, **options)
    made = models.build(config, (10,), 3, 0, kind="text", vocabulary=VOCABULARY)
    assert isinstance(made, TextNetwork)
    return made


def texts() -> Batch:
    """Texts of 10, 7, 4, 3, 1, 1 and 2 tokens; some have a separator, one is nothing but a separator, one unknown."""
    ids = torch.randint(3, 30, (7, 10), generator=torch.Generator().manual_seed(0))
    ids[0, 4] = ids[1, 2] = ids[5, 0] = SEPARATOR
    ids[4, 0] = UNKNOWN
    for row, length in enumerate(LENGTHS):
        ids[row, length:] = PADDING
    return Batch(x=ids, y=torch.arange(7) % 3, index=torch.arange(7), valid=ids != PADDING)


def score(gradient: np.ndarray, reduce: str, rank: str) -> np.ndarray:
    """Of one text ``(L, E)``."""
    value = {
        "mean_signed": gradient.mean(1),
        "mean_abs": np.abs(gradient).mean(1),
        "l2": np.sqrt((gradient**2).sum(1)),
    }[reduce]
    return np.abs(value) if rank == "abs" else value


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("variant", "reduce", "rank"), [("clean", "l2", "abs"), ("paper", "mean_signed", "signed")])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.9])
def test_masks_equal_a_plain_loop_on_captums_saliency(name, variant, reduce, rank, fraction):
    net, batch = network(name).double(), texts()
    found = feedback(variant=variant, mask_fraction=fraction).masked_positions(step_of(net, batch))
    net.eval()
    x = net.embed(batch.x).detach()
    gradient = Saliency(net).attribute(x.clone().requires_grad_(), target=batch.y, abs=False).numpy()
    for row in range(len(batch)):
        places = [p for p, token in enumerate(batch.x[row].tolist()) if token not in (PADDING, SEPARATOR)]
        k = min(len(places), max(1, int(fraction * len(places))))
        ranking = score(gradient[row], reduce, rank)
        expected = sorted(places, key=lambda p, ranking=ranking: ranking[p])[:k]
        assert sorted(found[row].nonzero().flatten().tolist()) == sorted(expected)


@pytest.mark.parametrize("source", ["low", "high", "random"])
def test_padding_and_separators_are_never_masked_and_count_nothing(source):
    batch = texts()
    found = feedback(mask_source=source).masked_positions(step_of(network(), batch))
    assert not found[(batch.x == PADDING) | (batch.x == SEPARATOR)].any()
    assert found.sum(1).tolist() == [4, 3, 2, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("fraction", "rule", "expected"), [(0.0, "floor", 0), (0.0, "floor_min1", 6), (0.5, "floor", 11)]
)
def test_rule_for_k(fraction, rule, expected):
    found = feedback(mask_fraction=fraction, k_rule=rule).masked_positions(step_of(network(), texts()))
    assert found.sum() == expected


def test_longer_padding_changes_no_mask():
    batch = texts()
    wide = Batch(x=torch.nn.functional.pad(batch.x, (0, 5)), y=batch.y, index=batch.index)
    for source in ("low", "high"):
        method, net = feedback(mask_source=source), network()
        short, long = (method.masked_positions(step_of(net, b)) for b in (batch, wide))
        assert torch.equal(long[:, :10], short)
        assert not long[:, 10:].any()


def test_ties_of_zero_gradients_mask_exactly_k():
    net = network()
    torch.nn.init.zeros_(net.head.weight)
    found = feedback().masked_positions(step_of(net, texts()))
    assert found.sum(1).tolist() == [4, 3, 2, 1, 1, 0, 1]
    first = [[p for p, t in enumerate(row) if t not in (PADDING, SEPARATOR)] for row in texts().x.tolist()]
    for row, places in enumerate(first):
        assert found[row].nonzero().flatten().tolist() == places[: int(found[row].sum())]


def replaced_by_a_loop(tokens: list[int], masked: list[bool], how: str) -> list[int]:
    if how == "delete":
        left = [t for t, m in zip(tokens, masked, strict=True) if not m and t != PADDING] or [UNKNOWN]
        return left + [PADDING] * (len(tokens) - len(left))
    result = list(tokens)
    for place in np.flatnonzero(masked):
        result[place] = {"unk": UNKNOWN, "pad": PADDING}.get(how, UNKNOWN)
        if how == "previous_kept":
            start = max([p for p in range(place) if tokens[p] == SEPARATOR], default=-1)
            end = min([p for p in range(place, len(tokens)) if tokens[p] == SEPARATOR], default=len(tokens))
            kept = [p for p in range(start + 1, end) if not masked[p] and tokens[p] != PADDING]
            earlier, later = [p for p in kept if p < place], [p for p in kept if p > place]
            if kept:
                result[place] = tokens[earlier[-1] if earlier else later[0]]
    return result


@pytest.mark.parametrize("how", ["previous_kept", "unk", "pad", "delete"])
@pytest.mark.parametrize("fraction", [0.5, 0.9])
def test_view_equals_a_plain_loop(how, fraction):
    method, step = feedback(text_replace=how, mask_fraction=fraction), step_of(network(), texts())
    view, masked = method.view(step), method.masked_positions(step)
    assert view is not None
    for row in range(len(step.batch)):
        expected = replaced_by_a_loop(step.batch.x[row].tolist(), masked[row].tolist(), how)
        assert view.x[row].tolist() == expected


def test_random_tokens_come_from_the_vocabulary_and_the_step():
    method = feedback(text_replace="random_vocab")
    views = [method.view(step_of(network(), texts(), number=number)) for number in (0, 0, 1)]
    assert all(view is not None for view in views)
    assert torch.equal(views[0].x, views[1].x)
    assert not torch.equal(views[0].x, views[2].x)
    changed = views[0].x[views[0].x != texts().x]
    assert changed.min() >= 3
    assert changed.max() < len(VOCABULARY)


def module(name: str, **options) -> FeedbackModule:
    example = torch.ones(1, 10, dtype=torch.long)
    method = feedback(**options)
    return FeedbackModule(network(name), [method], optimiser=OptimiserConfig(lr=1e-2), example=example, seed=0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("how", ["previous_kept", "unk", "pad", "delete", "random_vocab"])
def test_one_step_reaches_every_parameter(name, how):
    host = module(name, text_replace=how)
    terms = host.loss_terms(texts(), host.active(), ("0", 0, 0, 0))[1]
    assert list(terms) == ["ce", "saliency_guided/kl"]
    torch.stack(list(terms.values())).sum().backward()
    assert [n for n, p in host.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_masked_costs_nothing_with_shared_dropout(name):
    def divergence(dropout: str) -> tuple[Tensor, list[Tensor]]:
        host = module(name, mask_source="none", dropout=dropout).double()
        kl = host.loss_terms(texts(), host.active(), ("0", 0, 0, 0))[1]["saliency_guided/kl"]
        return kl.detach(), list(torch.autograd.grad(kl, list(host.parameters())))

    kl, gradients = divergence("shared")
    assert abs(kl.item()) <= 1e-12
    assert all(g.abs().max() <= 1e-12 for g in gradients)
    assert divergence("independent")[0].item() > 1e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_reuse_takes_the_gradient_of_the_clean_pass(name):
    net, method = network(name), feedback(saliency_mode="reuse")
    step = step_of(net, texts(), method)
    chosen = step.logits.gather(1, step.batch.y[:, None]).sum()
    (expected,) = torch.autograd.grad(chosen, step.x, retain_graph=True)
    torch.testing.assert_close(method.saliency(step), expected, rtol=0, atol=0)
    assert method.masked_positions(step).sum(1).tolist() == [4, 3, 2, 1, 1, 0, 1]


def test_passes_in_one_step():
    host = module("text_cnn")
    with tiny.Counter(host.network) as counter:
        host.training_step(texts(), 0).backward()
    assert (counter.forwards, counter.backwards) == (3, 2)


def test_variants_set_the_score_of_tokens():
    assert SaliencyGuidedConfig().text_reduce == "l2"
    assert SaliencyGuidedConfig(variant="paper").text_reduce == "mean_signed"
    assert SaliencyGuidedConfig(variant="paper", text_reduce="mean_abs").text_reduce == "mean_abs"
    assert SaliencyGuidedConfig().text_replace == "previous_kept"
