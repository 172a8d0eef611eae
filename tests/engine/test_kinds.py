"""Runs and evaluations of series and texts, and of images on a network without a feature map."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.engine.small import small_spec
from xfeedback.data.task import Split, Task
from xfeedback.engine.evaluate import baseline, evaluate, explanations
from xfeedback.engine.localise import grids
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.removal import Removal
from xfeedback.engine.run import load_task, run_experiment
from xfeedback.engine.shown import unit
from xfeedback.errors import UserError
from xfeedback.models.text_base import TextNetwork
from xfeedback.types import Batch

CPU = torch.device("cpu")
NAMES = ("gradient", "uniform")


def draws(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def series_task() -> Task:
    """12 series of 10 steps and 2 features, every third of 6 steps; 4 cells of the first feature are right."""
    valid = torch.ones(12, 10, dtype=torch.bool)
    valid[::3, 6:] = False
    mask = torch.zeros(12, 10, 2, dtype=torch.bool)
    mask[:, 1:5, 0] = True
    split = Split(
        x=3 + 2 * draws(12, 10, 2), y=torch.arange(12) % 2, index=torch.arange(12), mask=mask, valid=valid,
        annotated=torch.ones(12, dtype=torch.bool),
    )  # fmt: skip
    return task(split, "series", mean=(3.0, 1.0), std=(2.0, 4.0))


def text_task() -> Task:
    """12 texts of 0 to 5 tokens; the first token is right."""
    lengths = torch.arange(12) % 6
    ids = torch.where(torch.arange(5) < lengths[:, None], torch.randint(1, 7, (12, 5)), 0)
    mask = torch.zeros(12, 5, dtype=torch.bool)
    mask[:, 0] = lengths > 0
    split = Split(
        x=ids, y=torch.arange(12) % 2, index=torch.arange(12), mask=mask, annotated=torch.ones(12, dtype=torch.bool)
    )
    return task(split, "text", mean=(), std=(), vocabulary=("[PAD]", "a", "b", "c", "d", "e", "f"))


def task(split: Split, kind: str, **options) -> Task:
    return Task(
        name="made", class_names=("no", "yes"), kind=kind, augment="none", stamps=(), fingerprint="", train=split,
        val=None, test=split, **options,
    )  # fmt: skip


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Words(TextNetwork):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding, self.head = nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 2)

    def classify(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.head(x.pow(3).sum(1) / valid.sum(1, keepdim=True).clamp_min(1))


def loop(network: nn.Module, made: Task) -> tuple[list[float], list[float]]:
    """Share of the gradient's size inside the mask, and whether the largest lies there, sample by sample."""
    inside, pointing = [], []
    for batch in made.test_loaders(1, CPU)["test"]:
        text = made.kind == "text"
        x = (network.embed(batch.x) if text else batch.x).detach().requires_grad_()
        logits = network(x)
        (grad,) = torch.autograd.grad(logits[0, int(logits.argmax())], x)
        sizes = (grad.norm(dim=-1) if text else grad.abs())[0][batch.valid[0]]
        right = batch.mask[0][batch.valid[0]]
        if right.any():
            inside.append(float((sizes * right).sum() / sizes.sum()))
            pointing.append(float(right.flatten()[sizes.argmax()]))
    return inside, pointing


@pytest.mark.parametrize(
    ("made", "network"), [(series_task(), Cells()), (text_task(), Words())], ids=["series", "text"]
)
def test_scores_equal_a_loop_over_samples_without_padding(made, network):
    config = EvaluationConfig(batch_size=5, explainers=("grad_cam", *NAMES), explained=12, pictures=3)
    network.train()
    found = evaluate(network, made, config, CPU)
    metrics = found.metrics
    inside, pointing = loop(network.eval(), made)
    assert metrics["explanation/inside"] == pytest.approx(100 * np.mean(inside), rel=1e-5)
    assert metrics["explanation/pointing"] == pytest.approx(100 * np.mean(pointing))
    shares = [b.mask.sum().item() / b.valid.sum().item() / (2 if made.kind == "series" else 1)
              for b in made.test_loaders(1, CPU)["test"] if b.mask.any()]  # fmt: skip
    assert metrics["explanation/inside_uniform"] == pytest.approx(100 * np.mean(shares), rel=1e-5)
    assert ("explanation/mnd" in metrics) == (made.kind == "text")  # features have no order
    word = {"series": "series", "text": "texts"}[made.kind]
    assert found.notes == (f"grad_cam was left out: it is for images, not for {word}",)
    assert set(found.pictures) >= {"series" if made.kind == "series" else "tokens", "valid", "mask", "map/gradient"}
    assert found.pictures["map/gradient"].max() == 1


def test_pictures_hold_series_in_their_own_units_and_texts_as_tokens():
    made = series_task()
    arrays = evaluate(Cells(), made, EvaluationConfig(explainers=NAMES, pictures=4), CPU).pictures
    rows = arrays["index"]
    real = made.test.valid[rows].numpy()
    np.testing.assert_allclose(arrays["series"][real], made.test.x[rows].numpy()[real], rtol=1e-4, atol=1e-4)
    made = text_task()
    arrays = evaluate(Words(), made, EvaluationConfig(explainers=NAMES, pictures=4), CPU).pictures
    expected = [[made.vocabulary[i] for i in made.test.x[row].tolist()] for row in arrays["index"]]
    assert arrays["tokens"].tolist() == expected


def test_maps_are_scaled_over_real_positions():
    maps, valid = torch.tensor([[2.0, 4.0, 9.0], [3.0, 3.0, 3.0]]), torch.tensor([[True, True, False], [False] * 3])
    assert unit(maps, valid).tolist() == [[0, 1, 0], [0, 0, 0]]
    torch.testing.assert_close(unit(maps[:1]), torch.tensor([[0, 2 / 7, 1]]))


def test_samples_are_grouped_by_length():
    batch = next(iter(text_task().test_loaders(12, CPU)["test"]))
    found = {part.mask.shape[2]: part.rows.tolist() for part in grids(batch)}
    assert found == {n: [n, n + 6] for n in (1, 2, 3, 4, 5)}
    part = next(p for p in grids(batch) if p.mask.shape[2] == 3)
    values = torch.arange(60.0).view(12, 5)
    assert part.of(values).tolist() == [[[15, 16, 17]], [[45, 46, 47]]]
    assert part.of(values[:5]).tolist() == [[[15, 16, 17]]]  # only the first of the batch were explained


def test_baselines_are_the_training_mean_of_the_steps_that_are_there():
    made = series_task()
    found = baseline(made)
    for t in range(10):
        rows = [row for row in range(12) if made.train.valid[row, t]]
        expected = (made.train.x[rows, t].mean(0) - torch.tensor(made.mean)) / torch.tensor(made.std)
        torch.testing.assert_close(found[t], expected, rtol=1e-4, atol=1e-5)
    assert baseline(text_task()).shape == ()


def test_networks_for_images_without_a_feature_map_are_explained_by_the_gradient(tmp_path):
    made = load_task(small_spec(tmp_path))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10))
    found = evaluate(network, made, EvaluationConfig(explained=10, pictures=2, explainers=("grad_cam",)), CPU)
    assert found.metrics["explanation/inside"] > 0
    assert set(found.pictures) >= {"images", "map/gradient"}
    assert "map/grad_cam" not in found.pictures
    assert found.notes[0].startswith(
        "class activation maps and occlusion are left out of the evaluation: Sequential has no feature map"
    )


SERIES = {"name": "ts_benchmark", "process": "Box", "n_train": 24, "n_val": 8, "n_test": 12}


def series_spec(folder, **parts):
    small = {"dataset": dict.fromkeys(("limit_train", "limit_test")) | SERIES, "decoy": {"name": "auto"}}
    return small_spec(folder, **({"model": {"name": "lstm"}} | small | parts))


@pytest.mark.parametrize("method", ["rrr", "saliency_guided"])
def test_a_run_on_series(tmp_path, method):
    outcome = run_experiment(series_spec(tmp_path, method={method: {}}))
    assert outcome.status == "done", outcome.record
    assert outcome.record["stamps"] == ["synthetic"]
    assert "explanation/inside" in outcome.record["metrics"]
    assert {"explanations.npz", "explanations.png", "weights.pt"} <= {file.name for file in outcome.folder.iterdir()}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"model": {"name": "gapnet"}},
            r"model=gapnet takes images, and dataset=ts_benchmark holds series. Choose model=.*lstm",
        ),
        (
            {"method": {"xbl": {}}},
            r"method=xbl does not work on series, which dataset=ts_benchmark holds. Choose method=plain.*rrr",
        ),
        ({"method": {"plain": {}, "hint": {}}}, "method=hint does not work on series"),
    ],
)
def test_what_does_not_take_series_is_refused_before_data_are_read(tmp_path, parts, message):
    with pytest.raises(UserError, match=message) as caught:
        series_spec(tmp_path, **parts)
    assert "\n" not in str(caught.value)


def test_a_network_for_series_is_refused_for_images(tmp_path):
    with pytest.raises(
        UserError, match=r"model=tcn takes series, and dataset=digits holds images. Choose model=.*gapnet"
    ):
        small_spec(tmp_path, model={"name": "tcn"})


def test_series_without_masks_are_refused_where_a_method_needs_some(tmp_path):
    with pytest.raises(UserError, match=r"decoy=none has none. Give masks \(dataset.annotation.object_mask=file\)"):
        small_spec(
            tmp_path, dataset={"name": "ucr", "limit_train": None, "limit_test": None}, decoy={"name": "auto"},
            model={"name": "lstm"}, method={"rrr": {}},
        )  # fmt: skip


def test_a_reader_and_its_options_must_agree_on_the_kind():
    from xfeedback.data.build import build
    from xfeedback.data.decoy import DecoyConfig
    from xfeedback.data.sets import digits, ts_benchmark

    source = SimpleNamespace(kind="image")
    with pytest.raises(TypeError, match=r"ts_benchmark.Config must say: kind: ClassVar\[Kind\] = 'image'"):
        build(ts_benchmark.Config(), source, DecoyConfig(name="none"), 0)  # type: ignore[arg-type]
    assert replace(digits.Config(), label="x").kind == "image"


def test_batches_move_with_all_their_parts():
    batch = next(iter(series_task().test_loaders(4, CPU)["test"]))
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert moved.valid is not None
    assert moved.valid.device.type == "meta"


@pytest.mark.parametrize("start", ["mean", "zero", "uniform"])
def test_removed_steps_become_the_mean_wherever_explanations_start(start):
    task, config = series_task(), EvaluationConfig(baseline=start, explainers=("gradient",))
    loader = next(iter(task.test_loaders(12, CPU).values()))
    found, config, _ = explanations(Cells().eval(), task, config, loader)
    batch = loader.batch(0, 0)
    assert torch.equal(Removal(found, batch, batch.y, config, 0).fill, baseline(task))


@pytest.mark.parametrize("removal", ["auto", "own_corner", "mean", "zero"])
def test_removed_tokens_become_zero_embeddings(removal):
    task, config = text_task(), EvaluationConfig(removal=removal, explainers=("gradient",))
    loader = next(iter(task.test_loaders(12, CPU).values()))
    found, config, _ = explanations(Words().eval(), task, config, loader)
    batch = loader.batch(0, 0)
    assert not Removal(found, batch, batch.y, config, 0).fill.any()
