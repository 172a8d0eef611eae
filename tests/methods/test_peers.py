"""Peers that change inputs, labels or features: against loops, closed forms and PyTorch's own label smoothing."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from tests.conftest import ROOT
from tests.methods import tiny
from xfeedback import methods
from xfeedback.config import from_mapping
from xfeedback.continual.heads import among
from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackConfig, Step
from xfeedback.feedback.regions import wrong_region
from xfeedback.losses.knowledge import distillation_loss
from xfeedback.methods.cutmix import box
from xfeedback.methods.lap import KnowledgeOptions
from xfeedback.methods.rsc import hurt_most, kept
from xfeedback.models.layers import gap_head
from xfeedback.models.running import altered, mode
from xfeedback.seeding import generator

PEERS = ("cutmix", "cutout", "fgsm", "label_smoothing", "manifold_mixup", "mixup", "rsc")
OFF = {
    "cutmix": "probability",
    "cutout": "probability",
    "fgsm": "share",
    "label_smoothing": "epsilon",
    "manifold_mixup": "alpha",
    "mixup": "alpha",
    "rsc": "share",
}
HERE = ("0", 0, 0, 0)


def draws(seed: int = 0, *position: int):
    return lambda what: generator("cpu", seed, what, *(position or (0, 0)))


def prepared(name: str, kind: str = "gapnet", **options):
    """The feedback after it has seen the network."""
    feedback = tiny.feedback(name, **options)
    tiny.module(feedback, kind=kind)
    return feedback


def terms(*feedbacks, batch=None, kind: str = "gapnet") -> tuple[Step, dict[str, Tensor]]:
    host = tiny.module(*feedbacks, kind=kind)
    return host.loss_terms(tiny.batch() if batch is None else batch, host.active(), HERE)


def pairs_of(before: Tensor, after: Tensor, share: float) -> list[int]:
    """With which sample each was blended, found by trying all."""
    found = []
    for n, blended in enumerate(after):
        errors = [float((share * before[n] + (1 - share) * other - blended).abs().max()) for other in before]
        assert min(errors) < 1e-5
        found.append(int(np.argmin(errors)))
    return found


def test_mixup_blends_inputs_and_labels_alike():
    batch, feedback = tiny.batch(), prepared("mixup", alpha=1.0)
    changed = feedback.change(batch, 0, draws())
    assert changed.target is not None
    assert torch.allclose(changed.target.sum(1), torch.ones(16))
    share = float(changed.target.gather(1, batch.y[:, None]).min())
    partner = pairs_of(batch.x, changed.x, share)
    expected = share * F.one_hot(batch.y, 10) + (1 - share) * F.one_hot(batch.y[partner], 10)
    assert torch.allclose(changed.target, expected, atol=1e-6)
    assert 0.5 <= share < 1
    assert torch.equal(changed.y, batch.y)
    assert changed.mask is not None
    assert changed.wrong is not None
    assert torch.equal(changed.mask, batch.mask | batch.mask[partner])
    assert torch.equal(changed.wrong, batch.wrong | batch.wrong[partner])


def test_mixup_of_annotated_samples_alone_is_annotated():
    batch = replace(tiny.batch(), annotated=torch.arange(16) < 8)
    changed = prepared("mixup", alpha=1.0).change(batch, 0, draws())
    share = float(changed.target.gather(1, batch.y[:, None]).min())
    partner = pairs_of(batch.x, changed.x, share)
    assert changed.annotated.tolist() == [n < 8 and partner[n] < 8 for n in range(16)]


def test_mixup_loss_is_that_of_both_labels():
    batch = tiny.batch()
    step, found = terms(tiny.feedback("mixup", alpha=1.0))
    share = float(step.batch.target.gather(1, batch.y[:, None]).min())
    partner = pairs_of(batch.x, step.batch.x, share)
    own, other = (F.cross_entropy(step.logits, y) for y in (batch.y, batch.y[partner]))
    assert found["ce"].item() == pytest.approx((share * own + (1 - share) * other).item(), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 2.0])
def test_shares_are_larger_halves_of_a_beta_distribution(alpha):
    batch, feedback = tiny.batch(4), prepared("mixup", alpha=alpha, per_sample=True)
    shares = []
    for number in range(300):
        changed = feedback.change(replace(batch, y=torch.arange(4)), 0, draws(0, 0, number))
        own = changed.target.gather(1, torch.arange(4)[:, None])[:, 0]
        shares += own[own < 1].tolist()  # 1: a sample paired with itself, or a share of nearly 1
    expected = np.random.default_rng(1).beta(alpha, alpha, 100_000)
    expected = np.maximum(expected, 1 - expected).astype(np.float32)
    expected = expected[expected < 1]
    for quantile in (0.25, 0.5, 0.75):
        assert np.quantile(shares, quantile) == pytest.approx(np.quantile(expected, quantile), abs=0.04)
    assert len(set(shares)) > 0.9 * len(shares)


def test_ramp_makes_alpha_grow():
    feedback = prepared("mixup", alpha=4.0, warmup_epochs=1, ramp_epochs=3)
    assert [feedback.strength(epoch) for epoch in range(6)] == [0, 1, 2, 3, 4, 4]
    host = tiny.module(feedback)
    assert host.active() == []


def test_cutmix_pastes_a_box_and_labels_by_its_area():
    feedback, seen = prepared("cutmix"), 0
    batch = replace(tiny.batch(), x=torch.rand(16, 1, 32, 32))
    for number in range(20):
        changed = feedback.change(batch, 0, draws(0, 0, number))
        differs = (changed.x != batch.x).any(1)
        pasted = differs.any(0)
        if not pasted.any():
            continue
        seen += 1
        rows, columns = (torch.nonzero(pasted.any(axis)).flatten() for axis in (1, 0))
        area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert pasted.sum() == area
        corner = int(rows[0]), int(columns[0])
        share = 1 - float(area) / 32**2
        for n in range(16):
            partner = int((batch.x[:, 0, *corner] == changed.x[n, 0, *corner]).nonzero())
            assert torch.equal(changed.x[n], torch.where(pasted, batch.x[partner], batch.x[n]))
            expected = share * F.one_hot(batch.y[n], 10) + (1 - share) * F.one_hot(batch.y[partner], 10)
            assert torch.allclose(changed.target[n], expected, atol=1e-6)
            assert changed.y[n] == (batch.y[n] if share >= 0.5 else batch.y[partner])
            assert torch.equal(changed.mask[n], torch.where(pasted, batch.mask[partner], batch.mask[n]))
            assert torch.equal(changed.wrong[n], torch.where(pasted, batch.wrong[partner], batch.wrong[n]))
    assert seen > 10


def test_box_has_the_area_it_should_where_it_fits():
    random = np.random.default_rng(0)
    areas = {share: [] for share in (0.25, 0.75)}
    for share, found in areas.items():
        for _ in range(400):
            top, bottom, left, right = box(share, 40, 100, random)
            assert 0 <= top <= bottom <= 40
            assert 0 <= left <= right <= 100
            found.append((bottom - top) * (right - left) / 4_000)
    assert max(areas[0.25]) == pytest.approx(0.75, abs=0.04)
    assert max(areas[0.75]) == pytest.approx(0.25, abs=0.02)
    assert box(1.0, 40, 100, random)[1] - box(1.0, 40, 100, random)[0] <= 40


def test_cutmix_leaves_some_batches_alone():
    feedback, batch = prepared("cutmix", probability=0.5), tiny.batch()
    alone = sum(feedback.change(batch, 0, draws(0, 0, n)) is batch for n in range(200))
    assert 70 < alone < 130


@pytest.mark.parametrize("fill", ["mean", "noise"])
def test_cutout_hides_a_square(fill):
    feedback = prepared("cutout", size=0.25, fill=fill)
    batch = tiny.batch(48)
    changed = feedback.change(batch, 0, draws())
    hidden = ((changed.x - batch.x).abs() > 0)[:, 0]
    u = torch.rand((48, 5), generator=draws()("cutout"))
    holes = feedback.holes(u, 32, 32)
    assert not (hidden & ~holes).any()
    for hole, (row, column) in zip(holes, (u[:, :2] * 32).long().tolist(), strict=True):
        expected = torch.zeros(32, 32, dtype=torch.bool)
        expected[max(0, row - 4) : row + 4, max(0, column - 4) : column + 4] = True
        assert torch.equal(hole, expected)
    assert torch.equal(changed.mask, batch.mask & ~holes)
    assert torch.equal(changed.wrong, batch.wrong & ~holes)
    inside = changed.x[holes[:, None]]
    if fill == "mean":
        assert not inside.any()
    else:
        assert batch.x.min() <= inside.min() < inside.max() <= batch.x.max()
        assert float(inside.mean()) == pytest.approx(float((batch.x.min() + batch.x.max()) / 2), abs=0.1)


def test_what_cutout_hides_is_not_wrong_where_only_the_right_region_is_annotated():
    annotated, feedback = torch.arange(48) < 40, prepared("cutout", size=0.25)
    batch = replace(tiny.batch(48), wrong=None, annotated=annotated)
    once = feedback.change(batch, 0, draws())
    twice = feedback.change(once, 0, draws(1))
    holes = [feedback.holes(torch.rand((48, 5), generator=draws(seed)("cutout")), 32, 32) for seed in (0, 1)]
    for changed, hole in ((once, holes[0]), (twice, holes[0] | holes[1])):
        assert changed.wrong is None
        assert torch.equal(changed.mask, batch.mask & ~hole)
        counts = annotated & changed.mask.flatten(1).any(1)
        assert torch.equal(wrong_region(changed, "rrr"), ~batch.mask & ~hole & counts[:, None, None])


def test_mixtures_hide_what_both_samples_hide_and_pasted_boxes_what_is_pasted():
    batch = prepared("cutout", size=0.5).change(replace(tiny.batch(), wrong=None), 0, draws())
    partner = torch.randperm(16, generator=draws()("mixup/partners"))
    mixed = prepared("mixup", alpha=1.0).change(batch, 0, draws())
    assert torch.equal(mixed.hidden, batch.hidden & batch.hidden[partner])
    spread = replace(batch, x=torch.rand(16, 1, 32, 32))
    pasted = prepared("cutmix").change(spread, 0, draws())
    inside = (pasted.x != spread.x).any(1).any(0)
    partner = torch.randperm(16, generator=draws()("cutmix/partners"))
    assert inside.any()
    assert torch.equal(pasted.hidden, torch.where(inside, batch.hidden[partner], batch.hidden))


def test_erased_rectangles_have_the_areas_and_ratios_asked_for():
    feedback = prepared("cutout", shape="rectangle", area=(0.05, 0.2), ratio=0.5)
    holes = feedback.holes(torch.rand((2_000, 5), generator=torch.Generator().manual_seed(0)), 40, 80)
    tall, wide = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(holes.sum((1, 2)), tall * wide)
    share = (tall * wide) / 3_200
    assert float(share.min()) == pytest.approx(0.05, abs=0.01)
    assert float(share.max()) == pytest.approx(0.2, abs=0.01)
    assert float(share.mean()) == pytest.approx(0.125, abs=0.005)
    ratio = tall / wide
    assert float(ratio.min()) == pytest.approx(0.5, abs=0.08)
    assert float(ratio.max()) == pytest.approx(2.0, abs=0.3)
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.03)
    reach = holes.float().mean(0)
    assert reach.min() > 0  # every pixel is cut sometimes


def test_cutout_spares_as_many_images_as_asked_for():
    feedback, batch = prepared("cutout", probability=0.25), tiny.batch(48)
    cut = [(feedback.change(batch, 0, draws(0, 0, n)).x != batch.x).flatten(1).any(1).float().mean() for n in range(40)]
    assert float(torch.stack(cut).mean()) == pytest.approx(0.25, abs=0.04)


def test_label_smoothing_is_pytorchs():
    step, found = terms(tiny.feedback("label_smoothing", epsilon=0.3))
    expected = F.cross_entropy(step.logits, step.batch.y, label_smoothing=0.3)
    assert sum(found.values()).item() == pytest.approx(expected.item(), rel=1e-6)


def test_label_smoothing_of_mixtures():
    step, found = terms(tiny.feedback("mixup", alpha=1.0), tiny.feedback("label_smoothing", epsilon=0.2))
    expected = F.cross_entropy(step.logits, 0.8 * step.batch.target + 0.02)
    assert sum(found.values()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_label_smoothing_spares_classes_that_do_not_compete():
    feedback = tiny.feedback("label_smoothing", epsilon=0.3)
    host, batch = tiny.module(feedback), tiny.batch()
    n = host.network(batch.x).shape[1]
    with among(host.network, [0, n - 1]):
        found = host.loss_terms(replace(batch, y=(batch.y % 2) * (n - 1)), host.active(), HERE)[1]
        logits = host.network(batch.x)[:, [0, n - 1]]
    expected = F.cross_entropy(logits, batch.y % 2, label_smoothing=0.3)
    assert n > 2
    assert sum(found.values()).item() == pytest.approx(expected.item(), rel=1e-6)


def test_manifold_mixup_blends_at_the_layer_and_nowhere_else():
    feedback = tiny.feedback("manifold_mixup", layers=("features",))
    host, batch = tiny.module(feedback, kind="noisy"), tiny.batch()
    host.network.above[1].p = 0.0
    step, found = host.loss_terms(batch, host.active(), HERE)
    assert torch.equal(step.batch.x, batch.x)
    share = float(step.batch.target.gather(1, batch.y[:, None]).min())
    maps = host.network.features(batch.x)  # the hook is at rest again
    labels = step.batch.target - share * F.one_hot(batch.y, 10)
    generator_of = generator("cpu", 0, "manifold_mixup/partners", *HERE)
    partner = torch.randperm(16, generator=generator_of)
    assert torch.allclose(labels, (1 - share) * F.one_hot(batch.y[partner], 10), atol=1e-6)
    blended = share * maps + (1 - share) * maps[partner]
    logits = host.network.head(host.network.pool(host.network.above(blended)).flatten(1))
    assert torch.allclose(step.logits, logits, atol=1e-5)
    assert found["ce"].item() == pytest.approx(F.cross_entropy(logits, step.batch.target).item(), rel=1e-5)


def test_manifold_mixup_blends_what_laps_unchanged_network_predicts_alike():
    lap = tiny.feedback("lap", loss=KnowledgeOptions(kd=1.0))
    host = tiny.module(tiny.feedback("manifold_mixup", layers=("features",)), lap, kind="noisy")
    step, terms = host.loss_terms(tiny.batch(), host.active(), HERE)
    with torch.no_grad(), mode(lap.teacher, training=False):
        alone = distillation_loss(step.logits, lap.teacher(step.batch.x)).mean()
        with altered(lap.teacher, *step.inside):
            blended = distillation_loss(step.logits, lap.teacher(step.batch.x)).mean()
    assert terms["lap/kd"].item() == pytest.approx(blended.item())
    assert alone.item() != pytest.approx(blended.item())


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("other", ["saliency_guided", "fgsm", "rsc", "caipi"])
def test_manifold_mixup_blends_the_views_of_other_methods_alike(first, other):
    """Each view against a plain run of the network's parts on it, whichever method is named first."""
    pair = [tiny.feedback("manifold_mixup", layers=("features",)), tiny.feedback(other)]
    host, batch = tiny.module(*(pair if first == 0 else pair[::-1]), kind="noisy"), tiny.batch()
    host.network.above[1].p = 0.0
    shown: list[tuple[Tensor, dict]] = []
    run_view = host.run_view
    host.run_view = lambda step, name, view: (shown.append((view.x, view.changes)), run_view(step, name, view))[1]
    step, _ = host.loss_terms(batch, host.active(), HERE)
    ((x, changes),) = shown
    share = float(step.batch.target.gather(1, batch.y[:, None]).min())
    assert share < 1
    partner = torch.randperm(16, generator=generator("cpu", 0, "manifold_mixup/partners", *HERE))
    for points, logits, muted in ((batch.x, step.logits, {}), (x, step.views[other], changes)):
        maps = host.network.features(points)
        blended = share * maps + (1 - share) * maps[partner]
        blended = muted["features"](blended) if muted else blended
        expected = host.network.head(host.network.pool(host.network.above(blended)).flatten(1))
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_step_that_is_not_manifold_mixups_is_plain():
    host, batch = tiny.module(tiny.feedback("manifold_mixup", layers=("features",), every_n_steps=2)), tiny.batch()
    host.loss_terms(batch, host.active(), HERE)
    step, _ = host.loss_terms(batch, host.active(), (*HERE[:-1], 1))
    assert step.batch is batch
    assert torch.equal(step.logits, host.network(batch.x))


def test_manifold_mixup_takes_turns_among_its_places():
    feedback, batch = prepared("manifold_mixup"), tiny.batch()
    assert feedback.places == ("input", "features")
    at_input = [not torch.equal(feedback.change(batch, 0, draws(0, 0, n)).x, batch.x) for n in range(100)]
    assert 30 < sum(at_input) < 70


@pytest.mark.parametrize("module", [methods.Mixup, methods.CutMix, methods.ManifoldMixup, methods.RSC])
def test_what_looks_into_a_network_asks_for_an_input_to_run_it_on(module):
    with pytest.raises(UserError, match="must look into GapNet: give example=, one input"):
        module(tiny.network())


def test_manifold_mixup_refuses_layers_that_are_not_there():
    with pytest.raises(UserError, match=r"unknown layer 'featurs'.*Did you mean 'features'"):
        prepared("manifold_mixup", layers=("featurs",))


def test_fgsm_goes_up_the_loss_by_epsilon():
    batch = tiny.batch()
    step, found = terms(tiny.feedback("fgsm", epsilon=0.05, share=0.25))
    x = batch.x.clone().requires_grad_()
    F.cross_entropy(step.network(x), batch.y, reduction="sum").backward()
    adversarial = batch.x + 0.05 * x.grad.sign()
    losses = F.cross_entropy(step.network(adversarial), batch.y, reduction="none")
    assert found["fgsm/adversarial"].item() == pytest.approx(0.25 * losses.mean().item(), rel=1e-5)
    assert found["ce"].item() == pytest.approx(0.75 * step.losses.mean().item(), rel=1e-5)
    assert losses.mean() > step.losses.mean()


def test_rsc_mutes_what_has_the_largest_gradient():
    gradient = torch.arange(24.0).reshape(1, 2, 3, 4)  # both channels rise from cell to cell
    cells = kept(gradient, "spatial", 1 / 3)
    assert cells.shape == (1, 1, 3, 4)
    assert cells.flatten().tolist() == [True] * 8 + [False] * 4
    channels = kept(gradient, "channel", 0.5)
    assert channels.flatten().tolist() == [True, False]


def test_rsc_trains_those_muted_whose_label_loses_most():
    clean = torch.zeros(4, 3)
    muted = torch.tensor([[0.0, 0, 0], [-3, 0, 0], [3, 0, 0], [-1, 0, 0]])
    y = torch.zeros(4, dtype=torch.int64)
    assert hurt_most(clean, muted, y, 0.5).tolist() == [0, 1, 0, 1]
    assert hurt_most(clean, muted, y, 0.01).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("kind", ["spatial", "channel"])
def test_rsc_by_hand(kind):
    """With global average pooling and a linear layer the label's gradient at the map is its weights over the cells."""
    step, found = terms(tiny.feedback("rsc", kind=kind, share=0.5))
    network, batch = step.network, step.batch
    head = gap_head(network)
    maps = step.features["features"].detach()
    weights = head.weight[batch.y].detach()[:, :, None, None].expand_as(maps)
    stays = kept(weights, kind, 1 / 3)
    if kind == "channel":
        worst = weights[:, :, 0, 0].argmax(1)
        assert not stays[torch.arange(16), worst].any()
    logits = head((maps * stays).mean((2, 3)))
    losses = F.cross_entropy(logits, batch.y, reduction="none")
    before = F.cross_entropy(step.logits, batch.y, reduction="none")
    gone = step.logits.softmax(1) - logits.softmax(1)
    order = gone.gather(1, batch.y[:, None])[:, 0].argsort(descending=True)[:8]
    expected = (losses - before)[order].sum() / 16
    assert found["rsc/challenge"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert network(batch.x).shape == (16, 10)
    assert torch.allclose(network(batch.x), step.logits, atol=1e-5)  # the hook is at rest again


@pytest.mark.parametrize("name", PEERS)
def test_switched_off_is_plain_bit_for_bit(name):
    feedback = tiny.feedback(name, **{OFF[name]: 0.0})
    assert tiny.passes(tiny.module(feedback)) == (1, 1)
    found, expected = tiny.trained(tiny.module(feedback)), tiny.trained(tiny.module())
    tiny.assert_same_bits(tiny.state(found.network), tiny.state(expected.network))


@pytest.mark.parametrize("name", PEERS)
def test_switched_on_changes_training(name):
    found, expected = tiny.trained(tiny.module(tiny.feedback(name))), tiny.trained(tiny.module())
    assert any(
        not torch.equal(a, b) for a, b in zip(found.network.parameters(), expected.network.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("cutmix", (1, 1)),
        ("cutout", (1, 1)),
        ("label_smoothing", (1, 1)),
        ("manifold_mixup", (1, 1)),
        ("mixup", (1, 1)),
        ("fgsm", (2, 2)),
        ("rsc", (2, 2)),
    ],
)
def test_passes_are_those_the_page_promises(name, passes):
    assert tiny.passes(tiny.module(tiny.feedback(name))) == passes


@pytest.mark.parametrize("first", ["mixup", "cutmix", "cutout", "manifold_mixup"])
@pytest.mark.parametrize("other", ["rrr", "xbl", "rsc", "fgsm", "label_smoothing"])
def test_they_combine_with_others(first, other):
    step, found = terms(tiny.feedback(first), tiny.feedback(other), kind="noisy")
    loss = torch.stack(list(found.values())).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in step.network.parameters())


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("mixup", {"alpha": -1.0}, "alpha=-1.0 must be 0 or more"),
        ("cutmix", {"alpha": 0.0}, "alpha=0.0 must be above 0"),
        ("cutmix", {"probability": 1.5}, "probability=1.5 must be from 0 to 1"),
        ("manifold_mixup", {"alpha": -1.0}, "alpha=-1.0 must be 0 or more"),
        ("cutout", {"shape": "circle"}, "shape=circle must be one of square, rectangle"),
        ("cutout", {"size": 0.0}, "size=0.0 must be above 0"),
        ("cutout", {"area": [0.4, 0.1]}, "must be [smallest, largest] share"),
        ("cutout", {"ratio": 2.0}, "ratio=2.0 must be above 0 and at most 1"),
        ("label_smoothing", {"epsilon": 1.0}, "epsilon=1.0 must be at least 0 and below 1"),
        ("fgsm", {"epsilon": 0.0}, "epsilon=0.0 must be above 0"),
        ("fgsm", {"share": 2.0}, "share=2.0 must be from 0 to 1"),
        ("rsc", {"drop": 1.0}, "drop=1.0 must be between 0 and 1"),
        ("rsc", {"share": -0.1}, "share=-0.1 must be from 0 to 1"),
    ],
)
def test_wrong_options_are_refused(name, values, message):
    with pytest.raises(UserError) as caught:
        from_mapping(methods.feedback_class(name).Config, values, f"method.{name}")
    assert message in str(caught.value)


def test_the_page_lists_all_options_and_defaults():
    page = (ROOT / "docs" / "methods" / "peers.md").read_text()
    for name in PEERS:
        values = yaml.safe_load((ROOT / "conf" / "method" / f"{name}.yaml").read_text())[name]
        common = {f.name for f in fields(FeedbackConfig)}
        own = {f.name for f in fields(methods.feedback_class(name).Config)} - common
        assert f"method={name}" in page
        for option in own:
            assert f"| `{name}.{option}` |" in page, option
            assert option in values
