"""Series and texts in a training step: what gradients are taken at, where evidence lies, which methods act."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.methods import tiny
from xfeedback import methods, models
from xfeedback.errors import UserError
from xfeedback.explain.masking import fill_values, lowest
from xfeedback.feedback import FeedbackModule, Step
from xfeedback.feedback.regions import right_region, wrong_region
from xfeedback.losses import right_reasons
from xfeedback.models.text_base import TextNetwork
from xfeedback.shapes import over_input
from xfeedback.types import Batch

SERIES_METHODS = ("plain", "rrr", "rbr", "saliency_guided")


def draws(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def series() -> Batch:
    """4 series of 9 steps and 3 features, the second of 5 steps; 6 right cells in each."""
    valid = torch.ones(4, 9, dtype=torch.bool)
    valid[1, 5:] = False
    mask = torch.zeros(4, 9, 3, dtype=torch.bool)
    mask[:, 1:4, :2] = True
    x = draws(4, 9, 3).masked_fill(~valid[..., None], 0.0)
    return Batch(x=x, y=torch.tensor([0, 1, 0, 1]), index=torch.arange(4), mask=mask, valid=valid)


def texts() -> Batch:
    ids = torch.tensor([[3, 4, 5, 6], [5, 3, 0, 0], [0, 0, 0, 0], [6, 6, 4, 0]])
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:, 0] = ids[:, 0] > 0
    return Batch(x=ids, y=torch.tensor([0, 1, 0, 1]), index=torch.arange(4), mask=mask, valid=ids > 0)


class Words(TextNetwork):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(7, 5, padding_idx=0)
        self.hidden, self.head = nn.Linear(5, 6), nn.Linear(6, 2)

    def classify(self, x: Tensor, valid: Tensor) -> Tensor:
        hidden = self.hidden(x).tanh() * valid[..., None]
        return self.head(hidden.sum(1) / valid.sum(1, keepdim=True).clamp_min(1))


def network(kind: str) -> nn.Module:
    if kind == "text":
        return Words()
    return models.build(models.config_class("lstm")(name="lstm"), (9, 3), 2, seed=0, kind="series")


def step(kind: str, **options) -> Step:
    batch = series() if kind == "series" else texts()
    return Step(network(kind), batch, seed=0, position=("0", 0, 0, 0), **options)


def test_a_text_networks_input_is_its_embeddings_and_they_train():
    made = step("text", input_gradient=True)
    assert tuple(made.x.shape) == (4, 4, 5)
    grad = made.input_gradient("logit", made.batch.y, "true", create_graph=True)
    assert tuple(grad.shape) == (4, 4, 5)
    grad.square().sum().backward()
    weight = made.network.get_submodule("embedding").get_parameter("weight")
    assert weight.grad is not None
    assert bool(weight.grad[3:].any())
    assert not weight.grad[0].any()


def test_ids_and_their_embeddings_give_the_same_logits():
    words, batch = Words().eval(), texts()
    assert torch.equal(words(batch.x), words(words.embed(batch.x)))
    longer = torch.cat([batch.x, torch.zeros(4, 3, dtype=torch.long)], 1)
    torch.testing.assert_close(words(longer), words(batch.x))


def test_frozen_embeddings_have_gradients_too():
    words = Words()
    words.embedding.requires_grad_(False)
    made = Step(words, texts(), seed=0, position=("0", 0, 0, 0), input_gradient=True)
    assert bool(made.input_gradient("logit", made.batch.y, "true").any())


@pytest.mark.parametrize("kind", ["series", "text"])
def test_evaluation_gradients_are_those_of_a_plain_forward(kind):
    made = step(kind)
    found = made.evaluation_gradient("logit", made.batch.y, "true")
    x = made.x.detach().requires_grad_()
    logits = made.network.eval()(x).gather(1, made.batch.y[:, None]).sum()
    torch.testing.assert_close(found, torch.autograd.grad(logits, x)[0])


@pytest.mark.parametrize("batch", [series(), texts()], ids=["series", "texts"])
def test_regions_of_series_and_texts(batch):
    assert batch.mask is not None
    assert batch.valid is not None
    real = batch.valid if batch.mask.ndim == 2 else batch.valid[..., None].expand_as(batch.mask)
    wrong = wrong_region(batch, "rrr")
    for row in range(4):
        expected = ~batch.mask[row] & real[row] if batch.mask[row].any() else torch.zeros_like(batch.mask[row])
        assert torch.equal(wrong[row], expected)
    some = replace(batch, annotated=torch.tensor([True, False, True, False]))
    assert not right_region(some, "hint")[1].any()
    assert torch.equal(right_region(some, "hint")[0], batch.mask[0])
    assert not wrong_region(some, "rrr")[3].any()


@pytest.mark.parametrize(("shape", "region"), [((2, 3, 4, 5), (2, 4, 5)), ((2, 4, 3), (2, 4, 3)), ((2, 4, 3), (2, 4))])
def test_right_reasons_equals_a_loop_for_every_kind(shape, region):
    grad, wrong = draws(*shape), draws(*region) > 0
    total = 0.0
    for position in torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist():
        b, *rest = position
        place = (b, *rest[1:]) if len(shape) == 4 else (b, *rest[: len(region) - 1])
        total += float(wrong[place]) * float(grad[tuple(position)]) ** 2
    assert float(right_reasons(grad, wrong)) == pytest.approx(total / 2, rel=1e-5)
    assert over_input(wrong, grad).expand_as(grad).shape == grad.shape


@pytest.mark.parametrize("name", SERIES_METHODS)
@pytest.mark.parametrize("model", ["lstm", "lstm_cell_attention", "tcn", "transformer"])
def test_methods_train_every_network_for_series(name, model):
    options = {"width": 6, "heads": 2, "layers": 1} if model == "transformer" else {}
    built = models.build(models.config_class(model)(name=model, **options), (9, 3), 2, seed=0, kind="series")
    host = FeedbackModule(built, [tiny.feedback(name)], example=models.example((9, 3), "series"), channels_last=True)
    loss = host.training_step(series(), 0)
    loss.backward()
    assert torch.isfinite(loss)
    for parameter, value in host.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter


@pytest.mark.parametrize("name", ["plain", "rrr", "rbr"])
def test_methods_train_texts(name):
    host = FeedbackModule(Words(), [tiny.feedback(name)], example=models.example((4,), "text"))
    host.training_step(texts(), 0).backward()
    assert all(torch.isfinite(p.grad).all() for p in host.parameters() if p.grad is not None)


def test_saliency_guided_masks_the_lowest_real_cells_of_series():
    feedback = tiny.feedback("saliency_guided", mask_fraction=0.5)
    made = step("series")
    masked = feedback.masked_positions(made).view(4, 9, 3)
    size = made.evaluation_gradient("logit", made.batch.y, "true").abs()
    for row, length in enumerate((9, 5, 9, 9)):
        own = masked[row, :length].flatten()
        assert int(masked[row].sum()) == int(own.sum()) == int(0.5 * 3 * length)
        values = size[row, :length].flatten()
        assert values[own].max() <= values[~own].min()
    view = feedback.view(made)
    assert view is not None
    x = made.batch.x
    assert torch.equal(view.x[~masked], x[~masked])
    for row, length in enumerate((9, 5, 9, 9)):
        low, high = x[row, :length].amin(0), x[row, :length].amax(0)
        assert bool(((view.x[row, :length] >= low) & (view.x[row, :length] <= high)).all())
    assert bool((view.x[masked] != x[masked]).all())


@pytest.mark.parametrize("fill", ["uniform_sample", "uniform_channel", "mean_channel"])
def test_fills_come_from_real_positions_alone(fill):
    x, valid = draws(2, 3, 8), torch.arange(8) < torch.tensor([[8], [4]])
    wild = x.masked_fill(~valid[:, None], 1e6)
    numbers = [torch.Generator().manual_seed(3) for _ in range(2)]
    found = fill_values(wild, fill, numbers[0], valid)
    assert float(found.abs().max()) < 10
    alone = fill_values(x[:1], fill, numbers[1])
    torch.testing.assert_close(found[:1], alone)


def test_each_sample_can_have_a_count_of_its_own():
    ranking = torch.tensor([[3.0, 1.0, 2.0, 1.0], [5.0, 4.0, 4.0, 9.0], [1.0, 1.0, 1.0, 1.0]])
    found = lowest(ranking, torch.tensor([2, 0, 3]))
    assert found.tolist() == [[False, True, False, True], [False] * 4, [True, True, True, False]]
    assert torch.equal(lowest(ranking, torch.tensor([2, 2, 2])), lowest(ranking, 2))


@pytest.mark.parametrize("name", ["xbl", "hint", "rrr_g"])
def test_methods_on_feature_maps_refuse_networks_without_one(name):
    with pytest.raises(UserError, match=r"^Lstm takes no images: it has no feature map to explain$"):
        FeedbackModule(network("series"), [tiny.feedback(name)], example=models.example((9, 3), "series"))


def test_methods_say_which_kinds_they_take():
    for name in methods.names():
        assert set(methods.feedback_class(name).takes) <= {"image", "series", "text"}
    assert set(SERIES_METHODS) <= {n for n in methods.names() if "series" in methods.feedback_class(n).takes}
