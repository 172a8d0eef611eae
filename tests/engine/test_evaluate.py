import numpy as np
import pytest
import torch

from tests.engine.small import small_spec
from xfeedback import models
from xfeedback.engine.evaluate import accuracy, evaluate, first, picture_arrays, shown_rows
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.run import load_task
from xfeedback.types import Batch

CPU = torch.device("cpu")
VIEWS = ("random", "clean", "conflict", "correlated")


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


def test_accuracy_counts_hits_over_unequal_batches():
    def net(x):
        return torch.eye(3)[x.long()]

    y = torch.tensor([0, 1, 2, 0, 1, 2, 2])
    x = torch.tensor([0, 1, 2, 1, 0, 2, 2])
    whole = Batch(x=x, y=y, index=torch.arange(7))
    parts = [Batch(x=x[a:b], y=y[a:b], index=torch.arange(a, b)) for a, b in ((0, 4), (4, 7))]
    expected = 100 * sum(int(a == b) for a, b in zip(x.tolist(), y.tolist(), strict=True)) / 7
    assert accuracy(net, [whole]) == accuracy(net, parts) == pytest.approx(expected)


def test_every_view_is_scored_as_a_loop_would(task, network):
    config = EvaluationConfig(batch_size=7, explained=0, pictures=0)
    metrics = evaluate(network, task, config, CPU).metrics
    assert set(metrics) == {f"acc/{view}" for view in VIEWS}
    assert network.training
    network.eval()
    for view, loader in task.test_loaders(1, CPU).items():
        hits = [int(network(batch.x).argmax()) == int(batch.y) for batch in loader]
        assert len(hits) == 40
        assert metrics[f"acc/{view}"] == pytest.approx(100 * sum(hits) / len(hits))
    network.train()


def loop_shares(network, task, count):
    """Grad-CAM and input gradient of single images by hand, shares with numpy."""
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
            rows[name].append((mass > 1e-12, inside / max(mass, 1e-12), wrong / max(mass, 1e-12)))
    return rows


def test_explanation_shares_equal_a_loop_with_numpy(task, network):
    config = EvaluationConfig(batch_size=16, explained=25, pictures=0)
    metrics = evaluate(network, task, config, CPU).metrics
    network.eval()
    for name, rows in loop_shares(network, task, 25).items():
        suffix = "" if name == "grad_cam" else "_gradient"
        alive = [row for row in rows if row[0]]
        assert metrics[f"explanation/dead{suffix}"] == pytest.approx(100 * (1 - len(alive) / len(rows)))
        assert metrics[f"explanation/inside{suffix}"] == pytest.approx(100 * np.mean([r[1] for r in alive]), rel=1e-4)
        assert metrics[f"explanation/wrong{suffix}"] == pytest.approx(100 * np.mean([r[2] for r in alive]), rel=1e-4)
    network.train()


def test_the_order_of_explainers_decides_the_headline(task, network):
    config = EvaluationConfig(explainers=("gradient", "grad_cam"), explained=10, pictures=0)
    metrics = evaluate(network, task, config, CPU).metrics
    other = evaluate(network, task, EvaluationConfig(explained=10, pictures=0), CPU).metrics
    assert metrics["explanation/inside"] == other["explanation/inside_gradient"]
    assert metrics["explanation/inside_grad_cam"] == other["explanation/inside"]


def test_without_annotations_nothing_is_said_about_them(tmp_path, network):
    task = load_task(small_spec(tmp_path, decoy={"name": "none"}))
    found = evaluate(network, task, EvaluationConfig(pictures=2), CPU)
    assert set(found.metrics) == {"acc/test"}
    assert set(found.pictures) == {"images", "label", "prediction", "index", "map/grad_cam", "map/gradient"}


def test_pictures_show_what_the_network_saw(task, network):
    network.eval()
    loader = task.test_loaders(9, CPU)["random"]
    arrays = picture_arrays(network, task, loader, EvaluationConfig(pictures=12), CPU)
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


def test_the_last_batch_is_cut():
    batches = [Batch(x=torch.zeros(4, 1), y=torch.arange(4) + n, index=torch.arange(4)) for n in (0, 4, 8)]
    assert [batch.y.tolist() for batch in first(batches, 6)] == [[0, 1, 2, 3], [4, 5]]
    assert [len(batch) for batch in first(batches, 4)] == [4]
    assert list(first(batches, 0)) == []
