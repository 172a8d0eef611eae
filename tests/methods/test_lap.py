"""The method: what it changes, which terms it adds to which samples, phases, controls, combinations."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback

from tests.methods import tiny
from xfeedback import methods
from xfeedback.config import from_mapping
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule, Step
from xfeedback.feedback.regions import right_region, wrong_region
from xfeedback.losses import knowledge
from xfeedback.methods.lap import KnowledgeOptions, LAPConfig, LAPFeedback, alphas
from xfeedback.models.lap import sites
from xfeedback.models.lap_options import PoolOptions
from xfeedback.types import Batch, Phase

NOTHING = {"clue": 0.0, "uniq": 0.0, "ratio": 0.0}


def lap(loss: dict[str, Any] | None = None, **options: Any) -> LAPFeedback:
    return LAPFeedback(LAPConfig(loss=KnowledgeOptions(**{**NOTHING, **(loss or {})}), **options))


def terms(feedback: LAPFeedback, batch: Batch, kind: str = "gapnet") -> tuple[dict[str, torch.Tensor], Step]:
    host = tiny.module(feedback, kind=kind)
    step, found = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
    return found, step


def scores(step: Step) -> list[torch.Tensor]:
    names = ("features.pool1", "features.pool2", "pool")
    return [step.features[f"{name}.scorer"] for name in names]


def test_the_changed_sites_are_named():
    assert tiny.module(lap()).notes[0] == (
        "lap: 3 sites with row=lap: features.pool1 (stem), features.pool2 (pool), pool (global)"
    )


def test_no_sites_is_plain_bit_for_bit():
    plain = tiny.state(tiny.trained(tiny.module()))
    for feedback in (lap(preset="none"), lap(row="strided")):
        tiny.assert_same_bits(tiny.state(tiny.trained(tiny.module(feedback))), plain)


def test_general_terms_equal_the_losses_on_their_sites():
    """Clue on all sites, the others on the last two, each times its weight and the factor."""
    batch = tiny.batch(8)
    found, step = terms(lap({"clue": 0.5, "uniq": 0.1, "ratio": 0.2, "cons": 0.3}, knowledge=2.0), batch)
    s, y = scores(step), batch.y
    assert set(found) == {"ce", "lap/clue", "lap/uniq", "lap/ratio", "lap/cons"}
    clue = torch.stack([knowledge.clue_loss(knowledge.top_mean(m, 0.05), y).mean() for m in s]).mean()
    uniq = torch.stack([knowledge.uniq_loss(m, y).mean() for m in s[1:]]).mean()
    truth = F.one_hot(y, 10).bool()
    ratio = torch.stack([knowledge.ratio_loss(m, truth, (0.02, 0.5)).mean() for m in s[1:]]).mean()
    cons = (knowledge.consistency_loss(s[0], s[1]).mean() + knowledge.consistency_loss(s[1], s[2]).mean()) / 2
    for name, weight, value in (("clue", 0.5, clue), ("uniq", 0.1, uniq), ("ratio", 0.2, ratio), ("cons", 0.3, cons)):
        torch.testing.assert_close(found[f"lap/{name}"], 2 * weight * value)


def test_images_of_the_negative_class_hold_nothing():
    batch = tiny.batch(8)
    empty = int(batch.y[0])
    found, step = terms(lap({"ratio": 1.0, "negative_class": empty}), batch)
    truth = F.one_hot(batch.y, 10).bool() & (batch.y != empty)[:, None]
    expected = torch.stack([knowledge.ratio_loss(m, truth, (0.02, 0.5)).mean() for m in scores(step)[1:]]).mean()
    torch.testing.assert_close(found["lap/ratio"], expected)


@pytest.mark.parametrize("margin", [0, 3])
def test_expert_terms_are_means_over_the_annotated_samples_of_each_site(margin):
    batch = replace(tiny.batch(8), annotated=torch.arange(8) % 2 == 0)
    options = {"white": 0.5, "black": 0.3, "box_mil": 0.2, "mask_to_grid": "any", "black_margin": margin}
    found, step = terms(lap(options), batch)
    expected = {"white": 0.0, "black": 0.0, "box_mil": 0.0}
    for s in scores(step)[1:]:
        own = knowledge.of_class(s, batch.y)
        regions = right_region(batch, "lap"), knowledge.grown(wrong_region(batch, "lap"), margin)
        right, wrong = (knowledge.on_grid(region, (s.shape[2], s.shape[3]), "any") for region in regions)
        values = {
            "white": (knowledge.white_loss(own, right), right),
            "black": (knowledge.black_loss(s, wrong), wrong),
            "box_mil": (knowledge.box_mil_loss(own, right), right),
        }
        for name, (each, region) in values.items():
            rows = [b for b in range(8) if b % 2 == 0 and region[b].any()]
            assert rows
            expected[name] += each[rows].mean() / 2
    for name, value in expected.items():
        torch.testing.assert_close(found[f"lap/{name}"], options[name] * value)


@pytest.mark.parametrize("kind", tiny.NETWORKS)
def test_samples_without_annotation_add_exactly_0(kind):
    batch = replace(tiny.batch(), annotated=torch.zeros(16, dtype=torch.bool))
    host = tiny.module(lap({"white": 1.0, "black": 1.0, "box_mil": 1.0}), kind=kind)
    _, found = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
    assert [float(found[f"lap/{name}"]) for name in ("white", "black", "box_mil")] == [0, 0, 0]
    torch.stack([v for k, v in found.items() if k != "ce"]).sum().backward()
    assert all(p.grad is None or p.grad.eq(0).all() for p in host.parameters())


def test_expert_knowledge_needs_annotations_and_general_knowledge_none():
    found = [LAPFeedback.annotation_for(lap(loss).config) for loss in ({"clue": 1.0}, {"white": 1.0}, {"black": 1.0})]
    assert found == ["none", "mask", "wrong"]
    assert LAPFeedback.annotation_for(lap({"white": 1.0}, knowledge=0.0).config) == "none"
    values = {"dataset": {"name": "digits"}, "decoy": {"name": "none"}, "model": {"name": "gapnet"}}
    RunSpec.from_plain({**values, "method": {"lap": {}}})
    with pytest.raises(UserError, match="method=lap needs annotations"):
        RunSpec.from_plain({**values, "method": {"lap": {"loss": {"white": 0.5}}}})


def test_one_score_map_switches_clue_and_uniq_off_and_counts_as_present():
    batch = tiny.batch(8)
    found, step = terms(lap({"clue": 1.0, "uniq": 1.0, "ratio": 1.0}, concepts=1), batch)
    assert set(found) == {"ce", "lap/ratio"}
    here = torch.ones(8, 1, dtype=torch.bool)
    expected = torch.stack([knowledge.ratio_loss(m, here, (0.02, 0.5)).mean() for m in scores(step)[1:]]).mean()
    torch.testing.assert_close(found["lap/ratio"], expected)


def test_distillation_looks_at_the_network_before_the_change():
    batch, before = tiny.batch(8), tiny.network().eval()
    found, step = terms(lap({"kd": 1.0}), batch)
    expected = knowledge.distillation_loss(step.logits, before(batch.x)).mean()
    torch.testing.assert_close(found["lap/kd"], expected)
    host = tiny.trained(tiny.module(lap({"kd": 1.0})))
    teacher = host.feedbacks[0].teacher  # type: ignore[union-attr]
    tiny.assert_same_bits(tiny.state(teacher), tiny.state(tiny.network()))


class Watch(Callback):
    """Weights and statistics outside of the sites after each epoch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        own = tuple(f"{name}." for name in sites(pl_module.network))
        self.seen.append({n: v for n, v in tiny.state(pl_module.network).items() if not n.startswith(own)})


def test_phase_a_trains_scorers_and_sharpness_alone_then_everything():
    watch, host = Watch(), tiny.module(lap({"clue": 0.5}, frozen_epochs=2), kind="noisy")
    before = {n: v for n, v in tiny.state(host.network).items() if not n.startswith("pool.")}
    scorer = tiny.state(host.network.pool)  # type: ignore[arg-type]
    tiny.trained(host, epochs=3, callbacks=[watch])
    tiny.assert_same_bits(watch.seen[0], before)
    tiny.assert_same_bits(watch.seen[1], before)
    assert not any(torch.equal(watch.seen[2][n], v) for n, v in before.items() if n.endswith("weight"))
    assert not torch.equal(watch.seen[2]["features.1.running_mean"], before["features.1.running_mean"])
    assert any(not torch.equal(v, scorer[n]) for n, v in tiny.state(host.network.pool).items())  # type: ignore[arg-type]


class SaveInside(Callback):
    """Saves the state of training after the first step of an epoch, as a signal would."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 1:
            trainer.save_checkpoint(self.path)


def test_phase_a_goes_on_after_a_stop_inside_an_epoch(tmp_path):
    def made() -> FeedbackModule:
        return tiny.module(lap({"clue": 0.5}, frozen_epochs=2), kind="noisy")

    tiny.trained(made(), epochs=1, callbacks=[SaveInside(tmp_path / "inside.ckpt")])
    watch, host = Watch(), made()
    before = {n: v for n, v in tiny.state(host.network).items() if not n.startswith("pool.")}
    tiny.trainer(1, callbacks=[watch]).fit(host, tiny.batches(), ckpt_path=tmp_path / "inside.ckpt")
    tiny.assert_same_bits(watch.seen[0], before)


def test_phase_a_leaves_to_be_trained_what_was_and_nothing_else():
    """What a user has frozen stays so; between phases, which an optimiser is built for, nothing else is frozen."""
    host = tiny.module(lap({"clue": 0.5}, frozen_epochs=2), kind="noisy")
    (feedback,), network = list(host.feedbacks), host.network
    network.features[0].weight.requires_grad_(requires_grad=False)  # type: ignore[index]
    network.poolside = torch.nn.BatchNorm2d(2)
    flags = {name: p.requires_grad for name, p in network.named_parameters()}
    inside = {name for name in flags if name.startswith("pool.")}
    feedback.epoch_start(network, 0)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == inside
    assert not network.poolside.training
    feedback.epochs_end(network, Phase(name="0", train=(), val={}))
    assert {name: p.requires_grad for name, p in network.named_parameters()} == flags
    feedback.epoch_start(network, 1)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == inside
    feedback.epoch_start(network, 2)
    assert {name: p.requires_grad for name, p in network.named_parameters()} == flags
    assert network.poolside.training


def test_detached_scores_learn_from_knowledge_alone():
    plain = lap(pool=PoolOptions(detach_scores=True))
    host = tiny.module(plain)
    host.training_step(tiny.batch(), 0).backward()
    assert all(p.grad is None for site in sites(host.network).values() for p in site.scorer.parameters())  # type: ignore[union-attr]


def test_frozen_random_scorers_stay():
    host = tiny.module(lap({"clue": 1.0}, pool=PoolOptions(freeze_scorer=True)))
    assert host.stamps == ("control=scorer_frozen",)
    before = {n: p.detach().clone() for n, p in host.network.named_parameters() if ".scorer." in n}
    tiny.trained(host)
    tiny.assert_same_bits({n: p for n, p in host.network.named_parameters() if ".scorer." in n}, before)


def test_the_branch_of_abn_has_a_loss_of_its_own():
    found, step = terms(lap(row="abn"), tiny.batch(8))
    assert set(found) == {"ce", "lap/branch"}
    logits = step.features["features.1.logits"]
    torch.testing.assert_close(found["lap/branch"], F.cross_entropy(logits, step.batch.y))


@pytest.mark.parametrize("row", ["avg", "max", "softpool", "lip", "cbam"])
def test_other_rows_have_no_losses_and_train(row):
    feedback = lap({"clue": 1.0}, row=row)
    assert feedback.full_strength == 0
    kind = "noisy" if row == "cbam" else "gapnet"
    host = tiny.trained(tiny.module(feedback, kind=kind), epochs=1)
    assert all(torch.isfinite(p).all() for p in host.parameters())


@pytest.mark.parametrize("order", [("lap", "xbl"), ("xbl", "lap")])
def test_combines_with_xbl_in_either_order(order):
    """The network is changed first, so that Grad-CAM knows that its head is no plain mean any more."""
    feedbacks = {name: tiny.feedback(name) for name in order}
    host = tiny.module(*feedbacks.values())
    assert feedbacks["xbl"]._head is None
    _, found = host.loss_terms(tiny.batch(), host.active(), ("0", 0, 0, 0))
    assert {name.split("/")[0] for name in found} == {"ce", "lap", "xbl"}
    tiny.trained(host)
    assert all(torch.isfinite(p).all() for p in host.parameters())


def test_the_paper_variant_is_stamped_and_has_no_losses():
    config = LAPConfig(variant="paper")
    feedback = LAPFeedback(config)
    assert (config.preset, config.window, config.knowledge) == ("no_global", "2x2", 0.0)
    assert feedback.stamps == ("exactness: third_party_unverified",)
    host = tiny.module(feedback)
    assert list(sites(host.network)) == ["features.pool1", "features.pool2"]
    assert alphas(host.network) == pytest.approx({"features.pool1": 0.1, "features.pool2": 0.1})
    x = tiny.batch().x
    maps = host.network.features.conv1(x).relu()  # type: ignore[operator,union-attr]
    cells = F.unfold(maps, 2, stride=2).unflatten(1, (maps.shape[1], 4))
    e = torch.exp(-((0.1 * (cells.amax(2, keepdim=True) - cells)) ** 2))
    pooled = host.network.features.pool1(maps)  # type: ignore[operator,union-attr]
    torch.testing.assert_close(pooled.flatten(2), (e * cells + 1e-7).mean(2))
    assert from_mapping(LAPConfig, {"variant": "paper"}, "method.lap") == config


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"variant": "paper", "row": "avg"}, "variant=paper must be clean"),
        ({"pool": {"score_act": "identity"}}, "knowledge=1.0 must be 0 unless"),
        ({"concepts": 3}, "knowledge=1.0 must be 0 unless"),
        ({"knowledge": -1.0}, "knowledge=-1.0 must be 0 or more"),
        ({"loss": {"ratio_low": 0.6}}, "ratio_low=0.6 must be"),
        ({"frozen_epochs": -1}, "frozen_epochs=-1 must be"),
        ({"pool": {"merge": "max"}}, "must be one of"),
    ],
)
def test_options_that_cannot_work_are_refused(values, said):
    with pytest.raises(UserError, match=said):
        from_mapping(LAPConfig, values, "method.lap")


def test_weights_of_the_scorers_depend_on_the_seed_and_on_nothing_else():
    def drawn(seed: int, *feedbacks: Any) -> torch.Tensor:
        torch.manual_seed(99)
        host = FeedbackModule(tiny.network(), feedbacks, example=torch.zeros(1, 1, 32, 32), seed=seed)
        return sites(host.network)["pool"].scorer[0].weight  # type: ignore[index]

    assert torch.equal(drawn(0, lap()), drawn(0, lap(), tiny.feedback("rrr")))
    assert not torch.equal(drawn(0, lap()), drawn(1, lap()))


def test_alpha_is_trained():
    host = tiny.trained(tiny.module(lap({"clue": 0.5})))
    assert all(not math.isclose(value, 3.0, abs_tol=1e-6) for value in alphas(host.network).values())
    assert methods.feedback_class("lap") is LAPFeedback
