"""GAIN against its equations written out, and what the gradient runs through."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.explain.nets import images, small_cam
from tests.methods import tiny
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import UserError
from xfeedback.feedback import Step
from xfeedback.losses.attention_mining import erased, soft_mask
from xfeedback.methods.gain import GAINConfig, GAINFeedback
from xfeedback.types import Batch


def test_worked_numbers_of_the_mask():
    found = soft_mask(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.0066928509, 0.5, 0.9933071491])
    x = torch.full((1, 2, 1, 2), 3.0)
    assert erased(x, torch.tensor([[[0.0, 0.75]]])).tolist() == [[[[3.0, 0.75]], [[3.0, 0.75]]]]


@pytest.mark.parametrize("score", ["prob", "logit"])
def test_equals_its_equations_written_out(score):
    network = small_cam()
    x, y = images(3)
    mask = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3
    batch = Batch(x=x, y=y, index=torch.arange(3), mask=mask, annotated=torch.tensor([True, False, True]))
    feedback = GAINFeedback(GAINConfig(layer=layer_of(network), mask_weight=2.0, weight=3.0, score=score))
    feedback.prepare(network, x[:1])
    step = Step(network, batch, seed=0, position=("0", 0, 0, 0), layers=feedback.layers)
    found = feedback.penalty(step)

    features = step.features[feedback.layers[0]]
    mining, error = [], []
    for b in range(3):
        (grad,) = torch.autograd.grad(step.logits[b, y[b]], features, retain_graph=True)
        cam = (grad[b].mean((1, 2))[:, None, None] * features[b]).sum(0).relu()
        a = F.interpolate(cam[None, None], (8, 8), mode="bilinear")[0, 0]
        if a.max() <= a.min():
            continue
        a = (a - a.min()) / (a.max() - a.min())
        left = x[b] * (1 - torch.sigmoid(10 * (a - 0.5)))
        z = network(left[None])[0]
        mining.append(z.softmax(0)[y[b]] if score == "prob" else z[y[b]])
        if b != 1:
            error.append((a - mask[b].double()).square().mean())
    assert len(mining) >= 2
    torch.testing.assert_close(found["mining"], 3 * torch.stack(mining).mean())
    torch.testing.assert_close(found["mask"], 6 * torch.stack(error).mean())


def layer_of(network: torch.nn.Module) -> str:
    return str(getattr(network, "explained_layer", "auto"))


def test_the_map_itself_is_trained_through_what_it_erases():
    """With the prediction's parameters held, the map's gradient is not 0."""
    host = tiny.module(tiny.feedback("gain"))
    step, _ = host.loss_terms(tiny.batch(), (), ("0", 0, 0, 0))
    feedback = host.feedbacks[0]
    step = Step(host.network, tiny.batch(), seed=0, position=("0", 0, 0, 0), layers=feedback.layers)  # type: ignore[arg-type]
    cam = feedback.cam(step)  # type: ignore[operator]
    term = feedback.penalty(step)["mining"]  # type: ignore[operator]
    (grad,) = torch.autograd.grad(term, cam)
    assert grad.abs().max() > 0


def test_one_more_forward_pass():
    assert tiny.passes(tiny.module(tiny.feedback("gain"))) == (2, 1)
    assert tiny.passes(tiny.module(tiny.feedback("gain"), kind="noisy")) == (2, 2)


def test_annotations_are_needed_for_the_mask_alone():
    values = {"dataset": {"name": "digits"}, "decoy": {"name": "none"}, "model": {"name": "gapnet"}}
    RunSpec.from_plain({**values, "method": {"gain": {}}})
    with pytest.raises(UserError, match="method=gain needs annotations"):
        RunSpec.from_plain({**values, "method": {"gain": {"mask_weight": 1.0}}})


def test_samples_without_annotation_add_nothing_to_the_mask_term():
    batch = replace(tiny.batch(), annotated=torch.zeros(16, dtype=torch.bool))
    host = tiny.module(tiny.feedback("gain", mask_weight=5.0, mining_weight=0.0))
    _, found = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
    assert set(found) == {"ce", "gain/mask"}
    assert found["gain/mask"] == 0


@pytest.mark.parametrize(("options", "said"), [({"omega": 0.0}, "omega"), ({"mask_weight": -1.0}, "mask_weight")])
def test_options_that_cannot_work_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        GAINConfig(**options)
