"""Coefficients of LIME against the lime package and captum."""

from typing import Any

import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from captum.attr import KernelShap
from captum.attr import Lime as CaptumLime
from lime.lime_image import LimeImageExplainer
from torch import Tensor

from tests.explain.lime_nets import CLASSES, images, network
from xfeedback.explain.lime import Lime, masked_outputs
from xfeedback.explain.lime_masks import (
    cosine_kernel,
    surrogate,
)
from xfeedback.explain.segments import Segmenter


class Draws(np.random.RandomState):
    """Keeps the masks that the lime package draws."""

    masks: Any

    def randint(self, *args: Any, **kwargs: Any) -> Any:
        found = super().randint(*args, **kwargs)
        if np.ndim(found) == 1:
            self.masks = found
        return found


def with_masks(masks: Tensor, **options: Any) -> Lime:
    class Given(Lime):
        def masks(self, s: int, draw: int = 0) -> Tensor:
            assert s == masks.shape[1]
            return masks

    return Given(**options)


@pytest.mark.parametrize(("hide", "colour"), [("zero", 0), ("mean", None)])
def test_coefficients_equal_those_of_the_lime_package(hide, colour):
    f, segmenter = network(), Segmenter(kind="slic", n=9)
    for x in images(2).split(1):
        segments = segmenter(x)
        random = Draws(7)
        explanation = LimeImageExplainer(random_state=random).explain_instance(
            x[0].permute(1, 2, 0).numpy(),
            lambda rows: f(torch.from_numpy(rows).permute(0, 3, 1, 2)).softmax(1).detach().numpy(),
            labels=range(CLASSES),
            top_labels=None,
            hide_color=colour,
            num_samples=50,
            segmentation_fn=lambda _: segments.labels[0].numpy(),  # noqa: B023
        )
        masks = torch.from_numpy(random.masks.reshape(50, segments.counts[0])).bool()
        masks[0] = True
        found = with_masks(masks, segmenter=segmenter, hide=hide, ridge=1.0).explain(f, x).coefficients[0]
        for label in range(CLASSES):
            expected = [weight for _, weight in sorted(explanation.local_exp[label])]
            np.testing.assert_allclose(found[:, label], expected, atol=1e-6)
            assert max(map(abs, expected)) > 1e-3


def captum_masks(attribution: Any, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The interpretable inputs whose outputs captum fits."""
    kept: list[Tensor] = []
    real = attribution.similarity_func

    def keep(original: Tensor, perturbed: Tensor, mask: Tensor, **options: Any) -> Any:
        kept.append(mask)
        return real(original, perturbed, mask, **options)

    monkeypatch.setattr(attribution, "similarity_func", keep)
    return kept


def test_coefficients_equal_those_of_captums_lime(monkeypatch):
    f, x, target = network(), images(1), 2
    segmenter = Segmenter(kind="grid", grid=(2, 4))
    theirs = CaptumLime(
        lambda rows: f(rows).softmax(1),
        interpretable_model=SkLearnLinearRegression(),
        similarity_func=lambda _o, _p, mask, **_: cosine_kernel(mask.bool()),
    )
    kept = captum_masks(theirs, monkeypatch)
    torch.manual_seed(3)
    labels = segmenter(x).labels[:, None].expand(x.shape)
    expected = theirs.attribute(x, target=target, feature_mask=labels, n_samples=40, return_input_shape=False)
    found = with_masks(torch.cat(kept).bool(), segmenter=segmenter).explain(f, x).of(torch.tensor([target]))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.abs().max() > 1e-3


def test_coefficients_equal_those_of_captums_kernel_shap(monkeypatch):
    f, x, target = network(), images(1), 1
    labels = Segmenter(kind="grid", grid=(2, 3))(x).labels
    theirs = KernelShap(lambda rows: f(rows).softmax(1))
    kept = captum_masks(theirs, monkeypatch)
    torch.manual_seed(3)
    expected = theirs.attribute(
        x, target=target, feature_mask=labels[:, None].expand(x.shape), n_samples=40, return_input_shape=False
    )
    masks = torch.cat(kept).bool()
    weights = torch.where(masks.sum(1) % 6 == 0, 1e6, 1.0).double()
    (outputs,) = masked_outputs(lambda rows: f(rows).softmax(1), x, labels, [masks])
    found = surrogate(masks, weights) @ outputs.detach()
    np.testing.assert_allclose(found[None, :, target], expected, atol=1e-6)


def test_shapley_values_are_kernel_shap_without_sampling():
    """Efficiency: they sum to what showing all gives over showing nothing."""
    f, x = network(), images(2)
    found = Lime(segmenter=Segmenter(kind="grid", grid=(2, 3)), kernel="shapley").explain(f, x)
    rise = f(x).softmax(1) - f(torch.zeros_like(x)).softmax(1)
    np.testing.assert_allclose(found.coefficients.sum(1), rise.detach(), atol=1e-5)
