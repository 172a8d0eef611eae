import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from tests.engine.small import small_spec
from xfeedback import models
from xfeedback.engine.calibrate import calibration
from xfeedback.engine.evaluate import accuracies, evaluate, explanations, predictions
from xfeedback.engine.localise import first
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.run import load_task
from xfeedback.engine.shown import picture_arrays, shown_rows
from xfeedback.errors import TrainingError
from xfeedback.explain import grad_cam
from xfeedback.explain.cams import CAMS
from xfeedback.models.running import mode
from xfeedback.types import Batch

CPU = torch.device("cpu")
VIEWS = ("random", "clean", "conflict", "correlated")
CALIBRATION = tuple(f"calibration/{name}" for name in ("ece", "ece_mass", "brier", "nll"))


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return load_task(small_spec(tmp_path_factory.mktemp("task")))


@pytest.fixture(scope="module")
def network(task):
    spec = models.config_class("gapnet")(name="gapnet", width=3)
    network = models.build(spec, task.in_shape, task.n_classes, seed=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    return network.train()


def test_predictions_keep_the_order_over_unequal_batches():
    def net(x):
        return torch.eye(3)[x.long()]

    x = torch.tensor([0, 1, 2, 1, 0, 2, 2])
    parts = [Batch(x=x[a:b], y=x[a:b], index=torch.arange(a, b)) for a, b in ((0, 4), (4, 7))]
    assert predictions(net, parts).argmax(1).tolist() == x.tolist()


def test_every_view_is_scored_as_a_loop_would(task, network):
    config = EvaluationConfig(batch_size=7, explained=0, pictures=0)
    metrics = evaluate(network, task, config, CPU).metrics
    beside = {"acc/worst_group", "acc/reliance", "explanation/decoy_effect", "predicted/largest_share"}
    assert set(metrics) - beside - set(CALIBRATION) == {f"acc/{view}" for view in VIEWS}
    assert network.training
    network.eval()
    for view, loader in task.test_loaders(1, CPU).items():
        hits = [int(network(batch.x).argmax()) == int(batch.y) for batch in loader]
        assert len(hits) == 40
        assert metrics[f"acc/{view}"] == pytest.approx(100 * sum(hits) / len(hits))
    network.train()


def loop_shares(network, task, count):
    """Grad-CAM and input gradient of single images by hand, scores with numpy and scipy."""
    rows = {"grad_cam": [], "gradient": []}
    loader = task.test_loaders(1, CPU)["random"]
    for batch in list(loader)[:count]:
        x = batch.x.clone().requires_grad_()
        features = network.features(x)
        logits = network.head(features.mean((2, 3)))
        k = int(logits.argmax())
        grad_x, grad_f = torch.autograd.grad(logits[0, k], [x, features])
        cam = (grad_f.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
        cam = torch.nn.functional.interpolate(cam, x.shape[2:], mode="bilinear")[0, 0].detach().double().numpy()
        maps = {"grad_cam": cam, "gradient": grad_x.abs()[0, 0].double().numpy()}
        for name, values in maps.items():
            mass = values.sum()
            inside, wrong = ((values * region[0].numpy()).sum() for region in (batch.mask, batch.wrong))
            away = distance_transform_edt(~batch.mask[0].numpy()) / np.hypot(32, 32)
            level = (values - values.min()) / max(values.max() - values.min(), 1e-12) >= 0.5
            peaks, region = values >= np.percentile(values, 95), batch.mask[0].numpy()
            scores = {
                "inside": inside / max(mass, 1e-12),
                "wrong": wrong / max(mass, 1e-12),
                "ap95": (peaks & region).sum() / peaks.sum(),
                "ar95": (peaks & region).sum() / region.sum(),
                "iou50": (level & region).sum() / (level | region).sum(),
                "pointing": float(region.flat[values.argmax()]),
                "mnd": (values * away).sum() / max(mass, 1e-12),
                "mnd_u": (values * away).sum() / mass if mass > 1e-12 else away.mean(),
            }
            rows[name].append((mass > 1e-12, scores, values / max(values.max(), 1e-12), batch.wrong[0].numpy()))
    return rows


def test_explanation_scores_equal_a_loop_with_numpy(task, network):
    config = EvaluationConfig(batch_size=16, explained=25, pictures=0)
    metrics = evaluate(network, task, config, CPU).metrics
    network.eval()
    for name, rows in loop_shares(network, task, 25).items():
        suffix = "" if name == "grad_cam" else "_gradient"
        alive = [row for row in rows if row[0]]
        assert metrics[f"explanation/dead{suffix}"] == pytest.approx(100 * (1 - len(alive) / len(rows)))
        for score in alive[0][1]:
            expected = 100 * np.mean([row[1][score] for row in (rows if score == "mnd_u" else alive)])
            assert metrics[f"explanation/{score}{suffix}"] == pytest.approx(expected, rel=2e-4, abs=1e-6), score
        tau = np.mean([row[2].mean() for row in alive])
        ratio = 100 * np.mean([(row[2] > tau)[row[3]].mean() for row in alive])
        assert metrics[f"explanation/wr{suffix}"] == pytest.approx(ratio, abs=0.5)  # a value may touch the threshold
    network.train()


def test_what_the_views_say_together(task):
    """Right everywhere but on images 0 to 9 with random decoys; p of what is predicted is known."""
    n, y = len(task.test), task.test.y
    sure = torch.nn.functional.one_hot(y, 10) * 10.0
    fooled = sure.roll(1, 1)
    random = torch.cat([fooled[:10], sure[10:]])
    logits = {"random": random, "clean": sure, "conflict": fooled, "correlated": sure}
    metrics = accuracies(logits, task)
    assert metrics["acc/random"] == pytest.approx(100 * (n - 10) / n)
    assert metrics["acc/conflict"] == 0
    assert metrics["predicted/largest_share"] == 100 * np.bincount(random.argmax(1).numpy()).max() / n
    assert metrics["acc/reliance"] == pytest.approx(100 * 10 / n)
    high, low = float(np.exp(10) / (np.exp(10) + 9)), float(1 / (np.exp(10) + 9))
    assert metrics["explanation/decoy_effect"] == pytest.approx(100 * (high - low) * 10 / n, rel=1e-6)
    assert "acc/worst_group" not in metrics  # no group of this small set has 20 images


def test_balanced_sets_are_scored_by_balanced_accuracy(task):
    y = task.test.y
    always = torch.zeros(len(y), 10)
    always[:, int(y[0])] = 1
    assert accuracies({"test": always}, replace(task, balanced_accuracy=True))["acc/test"] == pytest.approx(
        100 / len(y.unique())
    )


def test_slow_explainers_and_floors_have_scores_of_their_own(task, network):
    names = ("grad_cam", "integrated_gradients", "occlusion", "uniform", "random", "centre")
    config = EvaluationConfig(batch_size=8, explainers=names, explained=20, explained_slow=11, pictures=2)
    found = evaluate(network, task, config, CPU)
    metrics = found.metrics
    assert metrics["explanation/inside_centre"] > metrics["explanation/inside_uniform"]
    whole = next(iter(task.test_loaders(20, CPU)["random"]))
    expected = 100 * float(whole.mask.double().mean((1, 2)).mean())
    assert metrics["explanation/inside_uniform"] == pytest.approx(expected)
    assert metrics["explanation/wrong_uniform"] == metrics["explanation/area_wrong"] == pytest.approx(100 * 16 / 1024)
    alone = EvaluationConfig(batch_size=64, explainers=("occlusion",), explained=11, explained_slow=11, pictures=0)
    assert metrics["explanation/mnd_occlusion"] == pytest.approx(
        evaluate(network, task, alone, CPU).metrics["explanation/mnd"], rel=1e-4
    )
    assert {f"map/{name}" for name in names} <= set(found.pictures)
    none = evaluate(network, task, EvaluationConfig(explainers=("occlusion",), explained_slow=0, pictures=0), CPU)
    assert not any(name.startswith("explanation/inside") for name in none.metrics)


def test_each_map_is_computed_once_for_all_scores(task, network, monkeypatch):
    calls = []
    monkeypatch.setitem(CAMS, "grad_cam", lambda *a: calls.append(1) or grad_cam(*a))
    evaluate(network, task, EvaluationConfig(batch_size=10, explained=30, pictures=0), CPU)
    assert len(calls) == 3


def test_the_order_of_explainers_decides_the_headline(task, network):
    config = EvaluationConfig(explainers=("gradient", "grad_cam"), explained=10, pictures=0)
    metrics = evaluate(network, task, config, CPU).metrics
    other = evaluate(network, task, EvaluationConfig(explained=10, pictures=0), CPU).metrics
    assert metrics["explanation/inside"] == other["explanation/inside_gradient"]
    assert metrics["explanation/inside_grad_cam"] == other["explanation/inside"]


def test_without_annotations_nothing_is_said_about_them(tmp_path, network):
    task = load_task(small_spec(tmp_path, decoy={"name": "none"}))
    found = evaluate(network, task, EvaluationConfig(pictures=2), CPU)
    assert set(found.metrics) <= {"acc/test", "acc/worst_group", "predicted/largest_share", *CALIBRATION}


def test_calibration_is_that_of_the_headline_with_a_temperature_from_validation(task, network):
    """Here the test set validates, its second view being the first validation view."""
    config = EvaluationConfig(batch_size=7, explained=0, pictures=0)
    alone = evaluate(network, task, config, CPU)
    assert set(CALIBRATION) <= set(alone.metrics)
    assert not any(name.endswith("_scaled") for name in alone.metrics)
    y = task.test.y
    with torch.no_grad(), mode(network, training=False):
        logits = torch.cat([network(b.x) for b in task.test_loaders(50, CPU)["random"]])
        expected = calibration(logits, y, (logits, y))
    assert alone.metrics["calibration/ece"] == pytest.approx(expected.metrics["calibration/ece"], rel=1e-4)
    found = evaluate(network, replace(task, val=task.test, _resident={}), config, CPU)
    assert found.metrics["calibration/temperature"] == pytest.approx(
        expected.metrics["calibration/temperature"], rel=1e-3
    )
    assert found.metrics["calibration/nll_scaled"] == pytest.approx(
        expected.metrics["calibration/nll_scaled"], rel=1e-4
    )
    assert found.reliability["scaled"]["count"] == expected.reliability["scaled"]["count"]


def test_without_annotations_pictures_have_no_masks(tmp_path, network):
    task = load_task(small_spec(tmp_path, decoy={"name": "none"}))
    found = evaluate(network, task, EvaluationConfig(pictures=2), CPU)
    assert set(found.pictures) == {"images", "label", "prediction", "index", "map/grad_cam", "map/gradient"}


def test_pictures_show_what_the_network_saw(task, network):
    network.eval()
    loader = task.test_loaders(9, CPU)["random"]
    explained, config, notes = explanations(network, task, EvaluationConfig(pictures=12), loader)
    arrays = picture_arrays(explained, task, loader, config)
    assert notes == ()
    rows = shown_rows(task.test.y, 12)
    whole = next(iter(task.test_loaders(40, CPU)["random"]))
    assert arrays["index"].tolist() == whole.index[rows].tolist()
    assert arrays["label"].tolist() == whole.y[rows].tolist()
    assert arrays["prediction"].tolist() == network(whole.x[rows]).argmax(1).tolist()
    pixels = whole.x[rows] * torch.tensor(task.std).view(1, -1, 1, 1) + torch.tensor(task.mean).view(1, -1, 1, 1)
    assert np.abs(arrays["images"][..., 0] / 255 - pixels[:, 0].numpy()).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(arrays["wrong"], whole.wrong[rows].numpy())
    assert arrays["wrong"].sum((1, 2)).tolist() == [16] * 12
    for name in ("map/grad_cam", "map/gradient"):
        assert arrays[name].shape == (12, 32, 32)
        assert arrays[name].min() >= 0
        assert set(arrays[name].max((1, 2)).tolist()) <= {0.0, 1.0}
    network.train()


def test_pictures_take_a_class_each_in_turn():
    labels = torch.tensor([3, 3, 1, 3, 2, 1, 2])
    assert shown_rows(labels, 3) == [0, 2, 4]
    assert shown_rows(labels, 5) == [0, 2, 4, 5, 6]
    assert shown_rows(labels, 99) == list(range(7))
    assert shown_rows(labels, 0) == []


def test_a_network_whose_weights_have_left_all_bounds_is_refused(task, network):
    lost = copy.deepcopy(network)
    nn.init.constant_(lost.head.bias, torch.inf)
    with pytest.raises(TrainingError, match=r"no finite output for 40 of 40 test samples \(view 'random'\)"):
        evaluate(lost, task, EvaluationConfig(explained=0, pictures=0), CPU)


def test_the_last_batch_is_cut():
    batches = [Batch(x=torch.zeros(4, 1), y=torch.arange(4) + n, index=torch.arange(4)) for n in (0, 4, 8)]
    assert [batch.y.tolist() for batch in first(batches, 6)] == [[0, 1, 2, 3], [4, 5]]
    assert [len(batch) for batch in first(batches, 4)] == [4]
    assert list(first(batches, 0)) == []


def test_faithfulness_is_measured_when_asked_for_and_changes_nothing_else(task, network):
    default = evaluate(network, task, EvaluationConfig(explained=10, pictures=0), CPU)
    config = EvaluationConfig(
        explained=10, pictures=0, faithfulness=("accuracy_drop", "relevance"), faithfulness_samples=12, batch_size=8
    )
    found = evaluate(network, task, config, CPU)
    more = {name: value for name, value in found.metrics.items() if name.startswith("faithfulness/")}
    names = ("gradient", "integrated_gradients", "smoothgrad", "deeplift", "gradient_shap", "deep_shap", "random")
    assert {f"faithfulness/{score}_{name}" for score in ("drop_area", "aup", "aur", "aupr") for name in names} <= set(
        more
    )
    assert {name: value for name, value in found.metrics.items() if name not in more} == pytest.approx(default.metrics)
    assert not any(name.startswith("faithfulness/") for name in default.metrics)
    assert found.notes == default.notes == ()
    assert len(found.curves["drop_gradient"]) == 10
    other = evaluate(network, task, replace(config, baseline="uniform", background="uniform"), CPU).metrics
    for name in ("integrated_gradients", "deep_shap"):
        assert other[f"faithfulness/aup_{name}"] != more[f"faithfulness/aup_{name}"]
    assert other["faithfulness/aup_gradient"] == more["faithfulness/aup_gradient"]
