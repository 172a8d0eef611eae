"""LIME: its kernel, its closed form against scikit-learn, its coefficients against the lime package and captum."""

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from torch import Tensor, nn

from tests.explain.lime_nets import SIDE, draws, images, network
from tests.methods import tiny
from xfeedback.explain.chunks import chunk_size, largest_layer
from xfeedback.explain.lime import Lime, hidden, masked_outputs, segment_means
from xfeedback.explain.lime_masks import (
    antithetic_masks,
    bernoulli_masks,
    cosine_kernel,
    exhaustive_masks,
    shapley_kernel,
    surrogate,
)
from xfeedback.explain.scored import Explained
from xfeedback.explain.segments import Segmenter, Segments
from xfeedback.models.text_base import TextNetwork


class Planted(nn.Module):
    """Softmax turns its logits into probabilities linear in which segments are shown."""

    def __init__(self, labels: Tensor, effects: Tensor) -> None:
        super().__init__()
        self.labels, self.effects = labels, effects

    def forward(self, x: Tensor) -> Tensor:
        shown = torch.stack([(x[:, 0] * (self.labels == s)).amax((1, 2)) > 0 for s in range(len(self.effects))], 1)
        first = 0.3 + shown.double() @ self.effects
        return torch.stack([first, 1 - first], 1).log()


def test_kernel_of_eight_segments():
    masks = torch.tensor([[1] * k + [0] * (8 - k) for k in (8, 7, 6, 4, 0)]).bool()
    expected = [1, 0.96718, 0.86624, 0.50344, 0.00034]
    np.testing.assert_allclose(cosine_kernel(masks), expected, atol=1e-5)


def test_masks_of_each_kind():
    every = exhaustive_masks(4)
    assert every[0].all()
    assert len(every.unique(dim=0)) == 16
    pairs = antithetic_masks(11, 6, draws())
    assert len(pairs) == 11
    assert torch.equal(pairs[:-1:2], ~pairs[1::2])
    coins = bernoulli_masks(4000, 3, draws()).double().mean(0)
    assert ((coins - 0.5).abs() < 0.04).all()


@pytest.mark.parametrize("ridge", [0.0, 1.0])
@pytest.mark.parametrize("n", [12, 15, 60])
def test_closed_form_equals_scikit_learn(ridge, n):
    """All classes in one solve; for 12 masks of 14 segments the solution of least norm."""
    s = 14 if n == 12 else 7
    masks, outputs = bernoulli_masks(n, s, draws(n)), torch.rand(n, 5, dtype=torch.float64, generator=draws())
    weights = cosine_kernel(masks)
    found = surrogate(masks, weights, ridge) @ outputs
    model = LinearRegression() if ridge == 0 else Ridge(alpha=ridge)
    model.fit(masks.double().numpy(), outputs.numpy(), sample_weight=weights.numpy())
    np.testing.assert_allclose(found.T, model.coef_, atol=1e-10)


def test_the_intercept_absorbs_constants():
    masks = bernoulli_masks(40, 6, draws())
    shifted = surrogate(masks, cosine_kernel(masks)) @ torch.ones(40, 1, dtype=torch.float64)
    assert shifted.abs().max() < 1e-12


def test_shapley_weights_give_shapley_values():
    s = 4
    masks, values = exhaustive_masks(s), torch.rand(16, dtype=torch.float64, generator=draws())
    value = {tuple(mask.nonzero().flatten().tolist()): float(v) for mask, v in zip(masks, values, strict=True)}
    expected = np.zeros(s)
    for order in permutations(range(s)):
        for k, player in enumerate(order):
            before = tuple(sorted(order[:k]))
            expected[player] += (value[tuple(sorted((*before, player)))] - value[before]) / 24
    found = surrogate(masks, shapley_kernel(masks, ends=1e9)) @ values
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_hiding_is_exact():
    x, labels = images(1)[0], torch.randint(-1, 4, (SIDE, SIDE), generator=draws())
    masks = exhaustive_masks(4)
    fill = images(2)[1]
    bits = torch.cat([masks, torch.ones(16, 1, dtype=torch.bool)], 1).double()
    for own in (None, fill):
        found = hidden(x, labels, bits, own, torch.empty(16, *x.shape, dtype=x.dtype))
        for mask, image in zip(masks, found, strict=True):
            shown = torch.tensor([bool(label < 0 or mask[label]) for label in labels.flatten()]).view(labels.shape)
            assert torch.equal(image, torch.where(shown, x, torch.zeros_like(x) if own is None else own))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunks_run_across_samples(chunk):
    f, x = network(), images(3)
    labels = torch.randint(0, 3, (3, SIDE, SIDE), generator=draws())
    masks = [exhaustive_masks(3), bernoulli_masks(5, 3, draws()), bernoulli_masks(13, 3, draws())]
    sizes = []

    def counted(rows: Tensor) -> Tensor:
        sizes.append(len(rows))
        return f(rows)

    found = masked_outputs(counted, x, labels, masks, chunk=chunk)
    assert [len(rows) for rows in found] == [8, 5, 13]
    assert sizes[:-1] == [min(chunk, 26)] * (len(sizes) - 1)
    for sample, rows in enumerate(found):
        expected = f(torch.stack([x[sample] * mask[labels[sample]] for mask in masks[sample]]))
        torch.testing.assert_close(rows, expected, rtol=0, atol=1e-12)


def test_planted_effects_are_recovered_and_repeat_bit_for_bit():
    labels = Segmenter(kind="grid", grid=(2, 3))(images(1, 1)).labels[0]
    effects = torch.tensor([0.1, -0.05, 0.2, 0.0, 0.03, -0.15], dtype=torch.float64)
    lime = Lime(segmenter=Segmenter(kind="grid", grid=(2, 3)))
    one, two = (lime.explain(Planted(labels, effects), images(2, 1) + 0.1) for _ in range(2))
    np.testing.assert_allclose(one.coefficients[0, :, 0], effects, atol=1e-8)
    np.testing.assert_allclose(one.coefficients[1, :, 1], -effects, atol=1e-8)
    assert torch.equal(one.coefficients, two.coefficients)


def test_the_order_of_masks_does_not_matter():
    masks, outputs = bernoulli_masks(50, 6, draws()), torch.rand(50, 3, dtype=torch.float64, generator=draws())
    order = torch.randperm(50, generator=draws())
    one, two = (surrogate(m, cosine_kernel(m)) @ o for m, o in ((masks, outputs), (masks[order], outputs[order])))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


@pytest.mark.parametrize("bug", [True, False])
def test_index_bug_of_the_released_program(bug):
    """Feature 0 then controls nothing, and no input shows any pixel of the last segment."""
    labels = Segmenter(kind="grid", grid=(2, 2))(images(1, 1)).labels[0]
    effects = torch.tensor([0.1, -0.05, 0.2, 0.15], dtype=torch.float64)
    seen: list[Tensor] = []

    class Spy(Planted):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.clone())
            return super().forward(x)

    lime = Lime(segmenter=Segmenter(kind="grid", grid=(2, 2)), index_bug=bug, chunk=8)
    found = lime.explain(Spy(labels, effects), images(1, 1) + 0.1).coefficients[0, :, 0]
    assert bool(torch.cat(seen)[:, 0, labels == 3].any()) != bug
    assert (abs(found[0]) < 1e-8) == bug
    np.testing.assert_allclose(found, [0, 0.1, -0.05, 0.2] if bug else effects, atol=1e-8)


def test_means_of_segments():
    x = torch.tensor([[[[1.0, 3.0], [5.0, 9.0]]]])
    segments = Segments(labels=torch.tensor([[[0, 0], [1, -1]]]), counts=(2,))
    assert segment_means(x, segments).tolist() == [[[[2.0, 2.0], [5.0, 9.0]]]]


def test_samples_with_unlike_numbers_of_segments_are_explained_as_if_alone():
    torch.manual_seed(0)
    f = nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.Flatten(), nn.Linear(28, 3)).double()
    ids = torch.randint(1, 9, (4, 7), generator=draws())
    ids[1, 3:], ids[2, 5:], ids[3] = 0, 0, 0
    lime = Lime(sampling="antithetic", n_masks=30)
    together = lime.explain(f, ids)
    assert together.present.sum(1).tolist() == [7, 3, 5, 0]
    for row in range(4):
        alone = lime.explain(f, ids[row : row + 1])
        own = alone.present.shape[1]
        torch.testing.assert_close(together.coefficients[row, :own], alone.coefficients[0], rtol=0, atol=1e-12)
    assert (together.coefficients[~together.present] == 0).all()
    assert together.maps(torch.zeros(4, dtype=torch.int64)).shape == ids.shape


def test_chunks_of_any_size_give_the_same_explanation():
    f, x = network(), images(3)
    found = [Lime(chunk=chunk).explain(f, x).coefficients for chunk in ("auto", "measured", 5)]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-10)


def test_the_automatic_chunk_fits_the_budget():
    f, x = network(), images(1)
    assert largest_layer(f, x) == 8 * 2 * 5 * (SIDE - 2) ** 2
    assert chunk_size(f, x) == 128
    assert chunk_size(f, x, 3) == 3
    assert chunk_size(f, x, "measured") == chunk_size(f, x, "measured")


def test_networks_are_left_as_they_were():
    f = tiny.network("noisy").train()
    before = tiny.state(f)
    Lime(segmenter=Segmenter(kind="grid", grid=(2, 2))).explain(f, tiny.batch(4).x)
    assert all(module.training for module in f.modules())
    tiny.assert_same_bits(tiny.state(f), before)


@pytest.mark.parametrize("kind", ["image", "series", "text"])
def test_lime_as_an_explainer_of_evaluations(kind):
    """Evidence for the class alone, the same at every call, none on padding; texts at their embeddings."""
    torch.manual_seed(0)
    words = Words()
    inputs = {
        "image": (nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), torch.rand(2, 1, 12, 12)),
        "series": (nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), torch.rand(2, 9, 4)),
        "text": (words, torch.tensor([[3, 4, 5, 0, 0], [1, 2, 3, 4, 5]])),
    }
    f, x = inputs[kind]
    explained = Explained(network=f.eval(), layer=None, baseline=None, kind=kind)
    (found, _), (again, _) = (explained.maps(["lime"], x) for _ in range(2))
    assert found["lime"].shape == (x.shape[0], *x.shape[2 if kind == "image" else 1 :])
    assert found["lime"].min() == 0
    assert found["lime"].max() > 0
    assert torch.equal(found["lime"], again["lime"])
    if kind == "text":
        assert (found["lime"][x == 0] == 0).all()
        p = f(x).softmax(1)
        target = p.argmax(1)
        without = [f(torch.where(torch.arange(5) == i, 0, x)).softmax(1)[1, target[1]] for i in range(5)]
        falls = p[1, target[1]] - torch.stack(without)
        assert found["lime"][1].argmax() == falls.argmax()


class Words(TextNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 6, padding_idx=0), nn.Linear(6, 3)

    def classify(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.head((x * valid[..., None]).sum(1))
