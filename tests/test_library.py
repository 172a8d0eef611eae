"""Anyone's network and loader in a plain ``Trainer.fit``."""

import importlib
import inspect

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.models import resnet18

from xfeedback import methods
from xfeedback.batches import as_batch
from xfeedback.errors import UserError
from xfeedback.methods import XBL, SaliencyGuided
from xfeedback.types import Batch

X, Y = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
MASK = torch.zeros(8, 32, 32, dtype=torch.bool)
MASK[:, 8:24, 8:24] = True


class Rows(Dataset):
    """A user's own data set of dictionaries, with a key that means nothing here."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, row: int) -> dict:
        return {"image": X[row], "label": int(Y[row]), "mask": MASK[row][None].float(), "path": f"{row}.png"}


def fitted(model, loader):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(model, loader)
    return {name: float(value) for name, value in trainer.logged_metrics.items()}


@pytest.mark.parametrize("data", [TensorDataset(X, Y, MASK), Rows()], ids=["tuples", "dicts"])
def test_torchvision_resnet_trains_with_xbl_on_masks(data):
    torch.manual_seed(0)
    network = resnet18(num_classes=2)
    before = network.conv1.weight.detach().clone()
    logged = fitted(XBL(network, example=X[:1]), DataLoader(data, batch_size=4))
    assert logged["train/xbl/distance"] > 0
    assert logged["train/xbl/annotated_share"] == 1
    assert not torch.equal(network.conv1.weight, before)


def test_torchvision_resnet_trains_with_saliency_guided_on_pairs():
    torch.manual_seed(0)
    logged = fitted(SaliencyGuided(resnet18(num_classes=2)), DataLoader(TensorDataset(X, Y), batch_size=4))
    assert logged["train/saliency_guided/kl"] >= 0


def test_method_without_masks_says_what_is_missing():
    model = XBL(resnet18(num_classes=2), example=X[:1])
    with pytest.raises(UserError, match="xbl needs batches with a mask of the right region"):
        fitted(model, DataLoader(TensorDataset(X, Y), batch_size=4))


def test_all_forms_say_the_same():
    mask = MASK.clone()
    mask[3] = False
    forms = [
        (X, Y, mask),
        [X, Y.int(), 255 * mask.byte()],
        {"x": X, "y": Y, "mask": mask[:, None]},
        {"pixel_values": X, "labels": Y, "segmentation": mask.float(), "path": ["a"] * 8},
    ]
    for form in forms:
        batch = as_batch(form)
        assert torch.equal(batch.x, X)
        assert torch.equal(batch.y, Y)
        assert batch.y.dtype == torch.int64
        assert torch.equal(batch.mask, mask)
        assert batch.annotated.tolist() == [True] * 3 + [False] + [True] * 4
        assert batch.index.tolist() == list(range(8))


def test_of_takes_a_batch_as_it_is_and_index_from_the_dict():
    batch = Batch(x=X, y=Y, index=Y)
    assert Batch.of(batch) is batch
    assert Batch.of({"x": X, "y": Y, "index": Y + 5}).index.tolist() == (Y + 5).tolist()


def test_texts_and_series_have_masks_of_their_own_shape():
    ids = torch.ones(2, 5, dtype=torch.int64)
    batch = as_batch({"input_ids": ids, "labels": torch.tensor([0, 1]), "attention_mask": ids, "rationale": ids})
    assert batch.mask.shape == batch.valid.shape == (2, 5)
    assert as_batch((torch.rand(2, 7, 3), torch.tensor([0, 1]), torch.ones(2, 7, 3))).mask.shape == (2, 7, 3)


ONE_HOT = nn.functional.one_hot(Y, 2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((X, ONE_HOT), r"labels have the shape \(8, 2\), one-hot or shares: give class numbers, y.argmax\(1\)"),
        ((X, Y.float()), "labels are float32: give class numbers as integers"),
        ((X, Y[:, None]), r"labels have the shape \(8, 1\): give one class number a sample"),
        ((X, Y[:5]), "8 inputs and 5 values of y"),
        ((X, Y, MASK[:, :16]), r"mask has the shape \(8, 16, 32\) .* expected \(8, 32, 32\). Resize masks"),
        ((X, Y, torch.rand(8, 3, 32, 32)), r"mask has the shape \(8, 3, 32, 32\)"),
        ((X, Y, torch.arange(8)), r"mask has the shape \(8,\)"),
        ((X, Y, MASK, Y), r"yields a tuple of 4. A batch is \(x, y\)"),
        (X, "yields a Tensor"),
        ((X.byte(), Y), "images are uint8: give floats"),
        ((X, list(Y)), "y is a list, not a tensor"),
        ({"x": X, "z": Y}, "keys x, z and none for y: name it y or label or labels"),
        ({"x": X, "image": X, "y": Y}, "both 'x' and 'image' for x"),
    ],
)
def test_other_batches_are_refused_in_a_clear_line(given, says):
    with pytest.raises(UserError, match=says) as raised:
        as_batch(given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["methods", "explain", "losses", "metrics"])
def test_public_names_exist_and_are_documented(name):
    module = importlib.import_module(f"xfeedback.{name}")
    assert set(module.__all__) <= set(dir(module))
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__, public
            assert not public.startswith("_")


def test_every_method_is_public():
    assert {methods.module_class(name).__name__ for name in methods.names()} <= set(methods.__all__)
