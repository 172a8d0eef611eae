"""The forms of XBL-D beside the recommended one: gated, energy, sum, and the released one, which trains nothing."""

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.nets import images, small_cam
from tests.methods import tiny
from tests.methods.differences import assert_gradients_match_finite_differences
from xfeedback.errors import UserError
from xfeedback.explain.maps import evaluation_cam
from xfeedback.feedback import Step
from xfeedback.feedback.optimise import build_optimiser
from xfeedback.feedback.options import OptimiserConfig
from xfeedback.losses import distance_aware, distance_to_region, gated_distance, max_normalised, mean_distance
from xfeedback.losses.released_distance import edge_distances, resized_mask, run_edges
from xfeedback.methods.xbl import XBLConfig, XBLFeedback
from xfeedback.types import Batch, Phase

FORMS = ("gated", "energy", "sum")
COUNTS = torch.tensor([True])


def annotated(n: int = 5) -> Batch:
    x, y = images(n)
    numbers = torch.Generator().manual_seed(3)
    mask, wrong = (torch.rand(n, 8, 8, generator=numbers) < share for share in (0.15, 0.3))
    mask[:, 2, 2], wrong[:, 7, 7] = True, True
    return Batch(x=x, y=y, index=torch.arange(n), mask=mask, wrong=wrong & ~mask)


def stepped(network: nn.Module, batch: Batch, **options: Any) -> tuple[XBLFeedback, Step]:
    feedback = tiny.feedback("xbl", **options)
    feedback.prepare(network, batch.x[:1])
    assert isinstance(feedback, XBLFeedback)
    return feedback, Step(network, batch, seed=0, position=("0", 0, 0, 0), layers=feedback.layers)


def term(network: nn.Module, batch: Batch, **options: Any) -> torch.Tensor:
    feedback, step = stepped(network, batch, **options)
    return feedback.penalty(step)["distance"]


def test_variants_set_what_is_left_open():
    options = {v: XBLConfig(variant=v) for v in ("clean", "gated", "released", "paper")}  # type: ignore[arg-type]
    assert [(o.distance, o.cam_norm, o.c_exp, o.c_cls) for o in options.values()] == [
        ("weighted_mean", "none", 30, 1),
        ("gated", "max", 10, 1),
        ("released", "none", 0.1, 2.7),
        ("released", "none", 0.1, 2.7),
    ]
    assert XBLConfig(distance="sum").cam_norm == "max"
    assert XBLConfig(variant="paper", c_exp=3.0, distance="energy").c_exp == 3
    with pytest.raises(ValueError, match="cam_norm=max must be none for distance=energy"):
        XBLConfig(distance="energy", cam_norm="max")


def test_worked_numbers():
    """M = 3 at (0, 0) and 1 at (3, 3), object in cells 1 to 6 of 8x8: the corner is 1/8 away, the inner cell 0."""
    cam, region = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool)
    cam[0, 0, 0], cam[0, 3, 3] = 3, 1
    region[:, 1:7, 1:7] = True
    wrong = torch.zeros_like(region)
    wrong[0, 0, 0] = True
    distance = distance_to_region(region)
    assert gated_distance(max_normalised(cam), distance, wrong, COUNTS)[0].item() == pytest.approx(0.125, abs=1e-7)
    wrong[0, 3, 3] = True
    assert gated_distance(cam, distance, wrong, COUNTS)[0].item() == pytest.approx(3 * 0.125 / 2, abs=1e-7)
    assert mean_distance(max_normalised(cam), distance, COUNTS)[0].item() == pytest.approx(0.125 / 64, abs=1e-9)
    assert distance_aware(cam, (~region).float(), COUNTS)[0].item() == pytest.approx(0.75, abs=1e-7)


def test_raster_distance_equals_a_loop_over_indices():
    regions = (
        torch.rand(50, 5, 7, generator=torch.Generator().manual_seed(0)) < torch.linspace(0.03, 0.9, 50)[:, None, None]
    )
    found = distance_to_region(regions, metric="raster", norm="none")
    for region, distances in zip(regions, found, strict=True):
        inside = [p for p in range(35) if region.flatten()[p]]
        expected = [min((abs(p - q) for q in inside), default=0) for p in range(35)]
        assert distances.flatten().tolist() == expected
    assert torch.equal(distance_to_region(regions, metric="raster"), found / 35)


@pytest.mark.parametrize("form", FORMS)
def test_equals_a_plain_loop(form):
    """Of five samples one is not annotated, one has an empty object and, for `gated`, one no wrong region."""
    network, batch = small_cam(), annotated()
    batch.mask[1], batch.wrong[4] = False, False
    batch = replace(batch, annotated=torch.tensor([True, True, True, False, True]))
    feedback, step = stepped(network, batch, distance=form, c_exp=3.0)
    cam = feedback.cam(step).detach()
    cells = [(i, j) for i in range(8) for j in range(8)]
    values = []
    for b in (0, 2) if form == "gated" else (0, 2, 4):
        mine = {cell: float(cam[b][cell]) for cell in cells}
        inside = [cell for cell in cells if batch.mask[b][cell]]
        away = {(i, j): min((i - k) ** 2 + (j - m) ** 2 for k, m in inside) ** 0.5 / 128**0.5 for i, j in cells}
        if form == "energy":
            values.append(sum(mine[c] for c in cells if c not in inside) / sum(mine.values()))
            continue
        wrong = [c for c in cells if batch.wrong[b][c]] if form == "gated" else cells
        values.append(sum(mine[c] / max(mine.values()) * away[c] for c in wrong) / len(wrong))
    assert feedback.penalty(step)["distance"].item() == pytest.approx(3 * sum(values) / len(values), rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_finite_differences_in_every_tensor(form):
    network, batch = small_cam(smooth=True), annotated()
    assert_gradients_match_finite_differences(network, lambda: term(network, batch, distance=form, guided=False))


def test_c_cls_scales_the_cross_entropy_while_the_feedback_acts():
    plain, host = tiny.module(), tiny.module(tiny.feedback("xbl", c_cls=2.7))
    position = ("0", 0, 0, 0)
    expected = plain.loss_terms(tiny.batch(), [], position)[1]["ce"]
    found = host.loss_terms(tiny.batch(), host.active(), position)[1]["ce"]
    torch.testing.assert_close(found, 2.7 * expected, rtol=1e-6, atol=0)
    waiting = tiny.module(tiny.feedback("xbl", c_cls=2.7, warmup_epochs=1))
    assert torch.equal(waiting.loss_terms(tiny.batch(), waiting.active(), position)[1]["ce"], expected)


def test_the_ratio_of_gradients_is_reported_at_the_second_step():
    host, batch = tiny.module(tiny.feedback("xbl")), tiny.batch()
    reports = [host.loss_terms(batch, host.active(), ("0", 0, 0, n))[0].reports for n in (0, 1, 2, 101)]
    assert ["xbl/grad_ratio" in report for report in reports] == [False, True, False, True]
    step, terms = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
    norms = [torch.autograd.grad(t, step.features["features"], retain_graph=True)[0].norm() for t in terms.values()]
    torch.testing.assert_close(reports[1]["xbl/grad_ratio"], norms[1] / norms[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("form", ["gated", "released"])
def test_forms_that_need_the_wrong_region_say_so(form):
    batch = replace(annotated(), wrong=None)
    with pytest.raises(UserError, match=f"xbl.distance={form} needs to know the wrong region too: plant decoys"):
        term(small_cam(), batch, distance=form, edge_index="own")


def test_balanced_scale_makes_both_losses_weigh_the_same_when_training_starts():
    """The ratio of sums over the training set, worked out batch by batch; the network stays as it is."""
    feedback, network, loader = tiny.feedback("xbl", scale="balanced"), tiny.network(), tiny.batches()
    assert isinstance(feedback, XBLFeedback)
    assert feedback.config.c_exp == 1
    before = tiny.state(network)
    feedback.prepare(network, tiny.batch().x[:1])
    feedback.phase_start(network, Phase(name="0", train=loader, val={}))
    assert network.training
    tiny.assert_same_bits(tiny.state(network), before)
    network.eval()
    ce = distance = 0.0
    for batch in loader:
        cam = evaluation_cam(network, "features", batch.x, batch.y, kind="prob", guided=True)
        region = F.adaptive_max_pool2d(batch.mask[:, None].float(), 8)[:, 0] > 0
        ce += F.cross_entropy(network(batch.x), batch.y, reduction="sum").item()
        distance += distance_aware(cam, distance_to_region(region), region.flatten(1).any(1))[0].sum().item()
    assert feedback.balance.item() == pytest.approx(ce / distance, rel=1e-5)


def test_balanced_scale_multiplies_the_term():
    network, batch = small_cam(), annotated()
    feedback, step = stepped(network, batch, scale="balanced")
    feedback.balance.fill_(3.0)
    expected = 3 * term(network, batch, c_exp=1.0)
    torch.testing.assert_close(feedback.penalty(step)["distance"], expected, rtol=1e-12, atol=0)


def test_balanced_scale_in_a_trainer_that_announces_no_phase_is_that_of_the_first_batch():
    """Batches whose objects fill the image have l = 0 and say nothing: the first that does is the second."""
    loader = list(tiny.batches())
    loader[0] = replace(loader[0], mask=torch.ones_like(loader[0].mask), wrong=None)
    feedback = tiny.feedback("xbl", scale="balanced")
    assert isinstance(feedback, XBLFeedback)
    host = tiny.module(feedback)
    seen = []
    for number, batch in enumerate(loader):
        step, terms = host.loss_terms(batch, host.active(), ("0", 0, 0, number))
        seen.append((step.losses.sum(), feedback._values(step)[0].sum(), terms["xbl/distance"].item()))
        assert feedback.balance.item() == pytest.approx(0 if number == 0 else (seen[1][0] / seen[1][1]).item())
    assert seen[0][1:] == (0, 0)
    assert seen[1][2] == pytest.approx(seen[1][0].item() / 16, rel=1e-5)  # as large as the cross-entropy
    found = tiny.feedback("xbl", scale="balanced")
    trained = tiny.weights(tiny.trained(tiny.module(found), epochs=1))
    assert isinstance(found, XBLFeedback)
    fixed = tiny.weights(tiny.trained(tiny.module(tiny.feedback("xbl", c_exp=found.balance.item())), epochs=1))
    assert found.balance > 1
    for name, weight in trained.items():
        torch.testing.assert_close(weight, fixed[name], rtol=1e-4, atol=1e-5)


def test_balanced_scale_of_the_released_distance_is_refused():
    with pytest.raises(ValueError, match="scale=balanced must be fixed for distance=released"):
        XBLConfig(variant="released", scale="balanced")


def released(**options: Any) -> dict[str, Any]:
    return {"variant": "released", "edge_index": "own", **options}


def test_released_term_is_a_tenth_of_the_mean_distance_of_the_evaluation_map():
    network, batch = small_cam(), annotated()
    found = term(network, batch, **released())
    cam = evaluation_cam(network, "features", batch.x, batch.y, kind="prob", guided=True)
    edges = [run_edges(mask.numpy()) for mask in batch.mask]
    expected = edge_distances(cam, batch.wrong, edges)
    assert expected.max() > 0
    assert found.item() == pytest.approx(0.1 * expected.mean().item(), rel=1e-6)
    assert torch.equal(resized_mask(batch.mask, (8, 8)), batch.mask)


def test_released_has_no_gradient_and_says_so():
    host, batch = tiny.module(tiny.feedback("xbl", **released())), tiny.batch()
    assert host.stamps == ("explanation_gradient: none",)
    terms = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))[1]
    assert terms["xbl/distance"] > 0
    assert not terms["xbl/distance"].requires_grad
    assert host.notes == ("the term xbl/distance has no gradient: it is logged and trains nothing",)
    assert tiny.module(tiny.feedback("xbl")).stamps == ()


def test_released_trains_as_2_7_times_cross_entropy_bit_for_bit():
    """21 steps against a plain loop of cross-entropy times 2.7 with the same optimiser."""
    found = tiny.module(tiny.feedback("xbl", **released()))
    found.optimiser = OptimiserConfig(lr=3e-3)
    tiny.trained(found, epochs=7)
    host, loader = tiny.module(), tiny.batches()
    optimiser = build_optimiser(OptimiserConfig(lr=3e-3), host.parameters())
    for epoch in range(7):
        loader.set_epoch(epoch)
        for batch in loader:
            optimiser.zero_grad()
            (2.7 * F.cross_entropy(host.network(batch.x), batch.y, reduction="none")).mean().backward()
            optimiser.step()
    tiny.assert_same_bits(tiny.state(found), tiny.state(host))


def test_released_measures_to_the_edges_of_the_first_training_images():
    """Whatever is in the batch: a permuted batch keeps them in place (defect of the released program)."""
    loader = tiny.batches()
    feedback, network = tiny.feedback("xbl", variant="released"), tiny.network()
    assert isinstance(feedback, XBLFeedback)
    feedback.prepare(network, tiny.batch().x[:1])
    with pytest.raises(UserError, match="edge_index=in_batch looks into the training set when training starts"):
        feedback.penalty(Step(network, tiny.batch(), seed=0, position=("0", 0, 0, 0), layers=feedback.layers))
    feedback.phase_start(network, Phase(name="0", train=loader, val={}))
    split = tiny.task().train
    assert split.mask is not None
    first = [resized_mask(split.mask[row : row + 1], (8, 8))[0] for row in split.index.argsort()[:16].tolist()]
    batch = tiny.batch()
    cam = evaluation_cam(network, "features", batch.x, batch.y, kind="prob", guided=True)
    expected = edge_distances(cam, resized_mask(batch.wrong, (8, 8)), [run_edges(one.numpy()) for one in first])
    step = Step(network, batch, seed=0, position=("0", 0, 0, 0), layers=feedback.layers)
    assert feedback.penalty(step)["distance"].item() == pytest.approx(0.1 * expected.mean().item(), rel=1e-6)


def test_released_without_opencv_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"^method.xbl.variant=released needs OpenCV: pip install [^\n]*$"):
        tiny.module(tiny.feedback("xbl", variant="paper"))
