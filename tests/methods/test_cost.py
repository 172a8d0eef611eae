"""What a step costs: passes and multiplications counted, against what the pages about the methods predict."""

import pytest
import torch

from tests.methods import tiny
from xfeedback import models
from xfeedback.engine.cost import flops
from xfeedback.feedback import FeedbackModule


def cost(*feedbacks: tuple[str, dict[str, str]]) -> tuple[int, int, int]:
    """Forward passes, backward runs and multiplications of one step on a network whose first layer is small."""
    network = models.build(models.config_class("resnet20")(name="resnet20", width=4), (1, 32, 32), 10, 0)
    active = [tiny.feedback(name, **options) for name, options in feedbacks]
    host = FeedbackModule(network, active, example=torch.zeros(1, 1, 32, 32))
    with tiny.Counter(network) as counter:
        total = flops(lambda: host.training_step(tiny.batch(4), 0).backward())
    return counter.forwards, counter.backwards, total


@pytest.mark.parametrize(
    ("feedbacks", "forwards", "backwards", "ratio"),
    [
        ([("plain", {})], 1, 1, 1),
        ([("rrr", {})], 1, 2, 6 / 3),
        ([("xbl", {})], 1, 1, 1),
        ([("xbl", {"cam_mode": "autograd"})], 1, 2, 1),
        ([("saliency_guided", {})], 3, 2, 8 / 3),
        ([("saliency_guided", {"saliency_mode": "reuse"})], 2, 2, 7 / 3),
        ([("saliency_guided", {"mask_source": "random"})], 3, 2, 8 / 3),
        ([("saliency_guided", {"mask_source": "random_cheap"})], 2, 1, 6 / 3),
        ([("saliency_guided", {"saliency_mode": "train"})], 3, 2, 8 / 3),
        ([("challenger", {"site": "input"})], 3, 2, 8 / 3),
        ([("challenger", {"site": "input", "attribution": "lrp_epsilon"})], 3, 2, 8 / 3),
        ([("challenger", {"site": "input", "attribution": "lrp_gamma"})], 3, 2, 9 / 3),
        ([("challenger", {"site": "input"}), ("saliency_guided", {})], 4, 2, 11 / 3),
        ([("xbl", {}), ("saliency_guided", {})], 3, 2, 8 / 3),
        ([("rrr", {}), ("saliency_guided", {})], 3, 3, 11 / 3),
    ],
    ids=lambda value: "+".join("-".join([name, *o.values()]) for name, o in value) if isinstance(value, list) else None,
)
def test_counts_are_as_predicted(feedbacks, forwards, backwards, ratio):
    found_forwards, found_backwards, total = cost(*feedbacks)
    assert (found_forwards, found_backwards) == (forwards, backwards)
    assert total / cost()[2] == pytest.approx(ratio, rel=0.02)
