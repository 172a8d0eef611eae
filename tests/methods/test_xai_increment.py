"""XAI-Increment: the distance of two explanations, the weights and their controls, phases and ordinary training."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from tests.engine.small import small_spec
from tests.methods import tiny
from xfeedback.engine.checkpoint import SaveForResume
from xfeedback.engine.run import run_experiment
from xfeedback.errors import TrainingError
from xfeedback.explain.compare import explanation_distance, shift_scaled
from xfeedback.explain.lime_masks import cosine_kernel, exhaustive_masks
from xfeedback.feedback import Step
from xfeedback.feedback.mistakes import Mistakes, find_mistakes
from xfeedback.methods.xai_increment import XaiIncrement, XaiIncrementConfig, XaiIncrementFeedback
from xfeedback.types import Batch, Phase

A, B = torch.tensor([[0.5, -0.2, 0.1]]).double(), torch.tensor([[-0.4, 0.3, 0.1]]).double()
ALL = torch.ones(1, 3, dtype=torch.bool)


def feedback(**options: Any) -> XaiIncrementFeedback:
    return tiny.feedback("xai_increment", **options)  # type: ignore[return-value]


def phase(**options: Any) -> Phase:
    """A phase whose first 48 samples are all of the tiny task; ``added`` samples count as added."""
    added = options.pop("added", ())
    return Phase(name="1", train=tiny.batches(), val={}, ordered=tiny.batches(), added=added, **options)


def step(network: nn.Module, batch: Batch, epoch: int = 0, number: int = 0) -> Step:
    return Step(network, batch, seed=0, position=("0", 0, epoch, number))


def test_normalised_explanations_and_their_distances():
    a, b = shift_scaled(A, ALL), shift_scaled(B, ALL)
    np.testing.assert_allclose(a, [[1, 0.3, 0.6]], atol=1e-12)
    np.testing.assert_allclose(b, [[0, 1, 0.714286]], atol=1e-6)
    expected = {"sq_euclid": 1.503061, "euclid": 1.503061**0.5, "manhattan": 1.814286, "cosine": 0.507654}
    for kind, value in expected.items():
        np.testing.assert_allclose(explanation_distance(a, b, kind), [value], atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sq_euclid", "euclid", "manhattan", "cosine"])
def test_equal_explanations_have_no_distance_and_none_is_ever_nan(kind):
    """Constant, all-negative, tiny and absent coefficients."""
    rows = torch.tensor([[0.0, 0, 0], [-2, -2, -2], [1e-300, 0, 0], [3, 3, 3], [-1, 2, 9], [1, -1, 0]]).double()
    present = torch.tensor([[1, 1, 1]] * 5 + [[1, 1, 0]]).bool()
    scaled = shift_scaled(rows, present)
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert (scaled[~present] == 0).all()
    assert (explanation_distance(scaled, scaled, kind) < 1e-7).all()
    for other in scaled:
        assert torch.isfinite(explanation_distance(scaled, other.expand_as(scaled), kind)).all()


@pytest.mark.parametrize("kind", tiny.NETWORKS)
def test_weights_equal_a_plain_loop(kind):
    """w = 1 + d of the mistakes from four cells, all 16 masks and scikit-learn; 1 for all others; a constant."""
    network, batch = tiny.network(kind).double(), tiny.batch(12)
    batch = replace(batch, x=batch.x.double())
    weights = feedback().sample_weights(step(network, batch))
    network.eval()
    masks = exhaustive_masks(4)
    seen = 0
    for row in range(12):
        x, y = batch.x[row], int(batch.y[row])
        cells = masks.double().view(16, 1, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
        with torch.no_grad():
            p, predicted = network(x * cells).softmax(1).numpy(), int(network(x[None]).argmax())
        fits = [LinearRegression().fit(masks, p[:, label], cosine_kernel(masks)) for label in (predicted, y)]
        a, b = (fit.coef_ + abs(fit.coef_).max() for fit in fits)
        d = ((a / a.max() - b / b.max()) ** 2).sum()
        seen += predicted != y
        assert (d == 0) == (predicted == y)
        np.testing.assert_allclose(weights[row], 1 + d, rtol=1e-6)
    assert seen > 5
    assert not weights.requires_grad


def test_doubled_weights_double_the_cross_entropy():
    """The loss is divided by the batch, not by the sum of the weights."""
    one, two = (tiny.module(feedback(mode="trad", base=base)).training_step(tiny.batch(), 0) for base in (1.0, 2.0))
    torch.testing.assert_close(2 * one, two)


def found(**options: Any) -> Mistakes:
    d = torch.tensor([0.5, 0.1, 1.8, 0.0]).double()
    values = {"losses": 3 * d + 1, "margins": 1 - d / 2, "noise": d.flip(0) + 0.2, **options}
    return Mistakes(index=torch.tensor([4, 2, 9, 7]), distances=d, **values)


@pytest.mark.parametrize("mode", ["constant", "shuffled_lime", "loss", "margin", "same_class"])
def test_controls_add_as_much_as_lime(mode):
    draws = torch.Generator().manual_seed(0)
    extra = found().surcharge(mode, draws)
    torch.testing.assert_close(extra.sum(), found().distances.sum())
    assert (extra >= 0).all()
    assert not torch.equal(extra, found().distances)
    rival = {"constant": torch.ones(4), "loss": found().losses, "margin": found().margins, "same_class": found().noise}
    if mode == "shuffled_lime":
        assert torch.equal(extra.sort().values, found().distances.sort().values)
    else:
        torch.testing.assert_close(extra / extra.sum(), (rival[mode] / rival[mode].sum()).double())


def test_mistakes_know_their_losses_and_margins():
    network, batch = tiny.network().double().eval(), tiny.batch(16)
    batch = replace(batch, x=batch.x.double())
    p = network(batch.x).softmax(1).detach()
    wrong = (p.argmax(1) != batch.y).nonzero().flatten()
    mistakes = find_mistakes(network, [batch], None)
    assert torch.equal(mistakes.index, batch.index[wrong])
    own = p[wrong, batch.y[wrong]]
    torch.testing.assert_close(mistakes.losses, -own.log())
    torch.testing.assert_close(mistakes.margins, p[wrong].amax(1) - own)
    assert (mistakes.distances == 0).all()


def test_explanations_of_one_class_differ_only_by_their_masks():
    """The noise floor: with all masks there is none."""
    network, batch = tiny.network(), tiny.batch(16)
    noisy = feedback(mode="same_class", noise_masks=8)
    assert noisy._measure(network, [batch]).noise.min() > 0
    noisy._noise = noisy._lime
    assert noisy._measure(network, [batch]).noise.max() == 0


def added_batches(rows: slice = slice(None)) -> list[Batch]:
    """Samples that a phase adds, at positions beyond the training set."""
    batch = tiny.batch(16)
    moved = replace(batch, index=100 + torch.arange(16))
    values = {name: getattr(moved, name)[rows] for name in ("x", "y", "index")}
    return [Batch(**values)]


def test_in_phases_only_what_was_added_weighs_more_and_at_once():
    network = tiny.network()
    own = feedback(warmup_epochs=3)
    own.phase_start(network, phase(count=3, number=1, added=added_batches()))
    assert own.strength(0) == 1
    ordinary = own.sample_weights(step(network, tiny.batch()))
    assert torch.equal(ordinary, torch.ones(16))
    added = added_batches()[0]
    weights = own.sample_weights(step(network, added))
    wrong = network.eval()(added.x).argmax(1) != added.y
    assert torch.equal(weights > 1, wrong)
    assert torch.equal(weights[~wrong], torch.ones(int((~wrong).sum())))
    after = tiny.network(seed=1)
    assert torch.equal(own.sample_weights(step(after, added)), weights)


def test_a_phase_that_adds_nothing_is_plain():
    own = feedback()
    own.phase_start(tiny.network(), phase(count=3))
    assert own.strength(0) == 0
    own.phase_start(tiny.network(), phase(count=3, number=1, added=added_batches()))
    assert own.strength(0) == 1
    assert not own.notes
    own.phase_start(tiny.network(), phase(count=3, number=2))
    assert own.strength(0) == 0
    assert own.notes == ("method=xai_increment weighted nothing in phase 1: no samples were added to it",)


def test_trad_has_one_weight_for_all_and_explains_nothing(monkeypatch):
    monkeypatch.setattr("xfeedback.explain.lime.Lime.explain", None)
    for variant, base in (("clean", 1.0), ("paper", 0.5)):
        own = feedback(mode="trad", variant=variant)
        own.phase_start(tiny.network(), phase(count=2, number=1, added=added_batches()))
        weights = own.sample_weights(step(tiny.network(), tiny.batch()))
        assert torch.equal(weights, torch.full((16,), base))


def test_ordinary_training_waits_then_refreshes(monkeypatch):
    """Plain in the first epoch; computed in epochs 1, 3, 5 over the whole set, once each."""
    measured: list[int] = []
    real = find_mistakes

    def spy(network: nn.Module, batches: Any, measure: Any) -> Mistakes:
        measured.append(sum(len(batch) for batch in batches))
        return real(network, batches, measure)

    monkeypatch.setattr("xfeedback.methods.xai_increment.find_mistakes", spy)
    own = feedback(warmup_epochs=1, refresh_epochs=2)
    host = tiny.module(own)
    own.phase_start(host.network, phase())
    counts = []

    class Count(Callback):
        def on_train_epoch_end(self, *_: Any) -> None:
            counts.append(len(measured))

    tiny.trained(host, epochs=6, callbacks=[Count()])
    assert counts == [0, 1, 1, 2, 2, 3]
    assert set(measured) == {48}
    assert own.distances is not None
    assert (~own.distances.isnan()).sum() > 0


def test_once_means_once():
    own = feedback(warmup_epochs=2, refresh_epochs=0)
    network, due = tiny.network(), []
    own.phase_start(network, phase())
    for epoch in range(2, 8):
        due.append(own._due(step(network, tiny.batch(), epoch)))
        own.weights = torch.ones(1)
    assert due == [True] + [False] * 5


def test_a_run_resumed_inside_an_epoch_keeps_the_weights_of_its_first_step():
    network, own = tiny.network(), feedback(warmup_epochs=1, refresh_epochs=2)
    own.weights = torch.full((2000,), 7.0)
    own.phase_resume(network, phase())
    assert own.sample_weights(step(network, tiny.batch(), epoch=1, number=1)).eq(7).all()
    assert not own.sample_weights(step(network, tiny.batch(), epoch=1, number=0)).eq(7).all()


def test_weights_travel_in_checkpoints_and_earlier_states_have_none():
    network, own, other = tiny.network(), feedback(), feedback()
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    assert not before
    own.phase_start(network, phase(count=2, number=1, added=added_batches()))
    other.load_state_dict(own.state_dict())
    other.phase_resume(network, phase(count=2, number=1, added=added_batches()))
    one, two = (each.sample_weights(step(network, added_batches()[0])) for each in (own, other))
    assert torch.equal(one, two)
    assert one.max() > 1
    own.load_state_dict(before)
    assert own.weights is None


def test_figures_of_a_phase_are_logged():
    network, own = tiny.network(), feedback()
    own.phase_start(network, phase(count=2, number=1, added=added_batches()))
    seen = step(network, added_batches()[0])
    weights = own.sample_weights(seen)
    d = (weights - 1)[weights > 1]
    reports = {name: float(value) for name, value in seen.reports.items()}
    assert reports["xai_increment/mistakes"] == len(d)
    np.testing.assert_allclose(reports["xai_increment/distance_mean"], d.mean(), rtol=1e-5)
    np.testing.assert_allclose(reports["xai_increment/distance_sd"], d.std(correction=0), rtol=1e-4)
    np.testing.assert_allclose(reports["xai_increment/sample_weight"], weights.mean(), rtol=1e-6)


def test_constant_clips_have_finite_weights():
    batch = replace(tiny.batch(), x=torch.zeros(16, 1, 32, 32))
    own = feedback(segments="slic")
    weights = own.sample_weights(step(tiny.network(), batch))
    assert torch.isfinite(weights).all()
    assert (weights >= 1).all()


def test_weights_that_are_not_finite_are_refused():
    own = feedback(scale=1e39)
    with pytest.raises(TrainingError, match=r"epoch 0, step 0: term 'xai_increment/weight'.*scale"):
        own.phase_start(tiny.network(), phase(count=2, number=1, added=added_batches()))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(20, 6, padding_idx=0), nn.Linear(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids).sum(1))


def test_texts_and_series_are_weighted_too():
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 20, (8, 6), generator=draws)
    ids[0], ids[1, 2:] = 0, 0
    series = torch.rand(8, 10, 3, generator=draws)
    for x, network in ((ids, Words()), (series, nn.Sequential(nn.Flatten(), nn.Linear(30, 3)))):
        worst = network(x).argmin(1).detach()
        batch = Batch(x=x, y=worst, index=torch.arange(8), valid=x != 0 if x.ndim == 2 else None)
        own = XaiIncrementFeedback(XaiIncrementConfig(warmup_epochs=0))
        fake: Any = SimpleNamespace(network=network, batch=batch, losses=torch.ones(8), epoch=0, number=0, reports={})
        weights = own.sample_weights(fake)
        assert torch.isfinite(weights).all()
        assert (weights > 1).sum() >= 7


def test_options_are_checked():
    paper = XaiIncrementConfig(variant="paper")
    assert (paper.sampling, paper.n_masks, paper.slic_channels, paper.index_bug) == ("bernoulli", 15, 3, True)
    assert (paper.base, XaiIncrementConfig(variant="paper", mode="trad").base) == (1.0, 0.5)
    for wrong in (
        {"n_masks": 1},
        {"kernel_width": 0.0},
        {"grid": (3,)},
        {"n_segments": 0},
        {"scale": -1.0},
        {"chunk": 0},
    ):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}="):
            XaiIncrementConfig(**wrong)


def test_warm_up_that_never_ends_is_said_of_ordinary_training_only(tmp_path):
    parts = {"method": {"xai_increment": {"warmup_epochs": 2}}, "decoy": {"name": "none"}}
    assert "warm-up epochs" in small_spec(tmp_path, **parts).notices[0]
    assert not small_spec(tmp_path, phases=PHASES, **parts).notices


def test_it_is_a_lightning_module_of_its_own():
    host = XaiIncrement(tiny.network(), segments="grid", grid=(2, 2), warmup_epochs=0)
    tiny.trained(host, epochs=1)
    assert torch.isfinite(next(host.parameters())).all()


PHASES = {"name": "mistakes", "n": 2, "pool": 0.3, "holdout": 0.2}
CHEAP = {"segments": "grid", "grid": (2, 2), "refresh_epochs": 2}


@pytest.mark.parametrize("phases", [{"name": "single"}, PHASES], ids=["ordinary", "mistakes"])
def test_a_run_killed_in_the_middle_resumes_to_the_same_bits(phases, tmp_path, monkeypatch):
    """Killed in the third of four epochs, whose weights are those computed for the second; or inside the last phase."""
    parts = {"decoy": {"name": "none"}, "evaluation": {"explained": 0, "pictures": 0}, "phases": phases}
    parts |= {"method": {"xai_increment": CHEAP}, "trainer": {"max_epochs": 4}, "continual": {"name": "none"}}
    straight = run_experiment(small_spec(tmp_path / "one", **parts))
    assert straight.status == "done", straight.record
    save, saved = SaveForResume.on_train_epoch_end, []

    def killed(self, trainer, module):
        save(self, trainer, module)
        saved.append(trainer.current_epoch)
        if len(saved) == (3 if phases["name"] == "single" else 10):
            raise KeyboardInterrupt

    two = small_spec(tmp_path / "two", **parts)
    with monkeypatch.context() as patched:
        patched.setattr(SaveForResume, "on_train_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(two)
    torch.manual_seed(99)
    again = run_experiment(two)
    assert again.record["resumed"]
    assert again.record["weights_sha256"] == straight.record["weights_sha256"]
    one, two_ = (
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()]
        for text in ((each.folder / "metrics.jsonl").read_text() for each in (straight, again))
    )
    assert one == two_
    heavy = [line["train/xai_increment/sample_weight"] for line in one if line.get("train/xai_increment/mistakes")]
    assert min(heavy) > 1
