"""The experiment on ImageNet from the command line, on a miniature in the official layout, in one process or two."""

import pytest
import torch

from tests.cli.command import only_run, read, run
from tests.data.miniature import write_imagenet, write_shards
from xfeedback import models
from xfeedback.config import from_mapping
from xfeedback.data import load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.sets import imagenet

SMALL = (
    "dataset.declared_sizes=[[32,12]]",
    "dataset.val_per_class=2",
    "dataset.size=32",
    "dataset.short_side=36",
    "dataset.workers=1",
    "trainer.max_epochs=2",
    "trainer.batch_size=8",
    "trainer.threads=1",
    "evaluation.pictures=2",
)
SGD = ("optimiser=sgd", "optimiser.lr=0.05", "optimiser.schedule=none")
PLAIN = ("dataset=imagenet", "model=gapnet", "model.width=4", "evaluation.explained=4", *SGD, *SMALL)
"""No batch normalisation: its statistics are those of each process's own samples."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_imagenet(folder)
    write_shards(folder)
    return folder


@pytest.mark.parametrize("place", ["root={}/imagenet", pytest.param("shards={}/shards", marks=pytest.mark.slow)])
def test_two_processes_train_to_the_loss_of_one(data, tmp_path, place):
    """Sums over a batch are rounded in another order, and nothing else differs."""
    root, losses = f"dataset.{place.format(data)}", []
    cpu = ("trainer.accelerator=cpu", "trainer.precision=32-true")
    for number, how in enumerate((["trainer=cpu"], ["trainer=ddp", *cpu, "trainer.devices=2"])):
        cwd = tmp_path / str(number)
        cwd.mkdir()
        ended = run(*PLAIN, root, *how, cwd=cwd)
        assert ended.code == 0, ended.err
        assert ended.out.count("images/s, waited") == 2
        losses.append(_loss(data, only_run(cwd)))
        assert read(only_run(cwd))["steps"] == 6
    assert only_run(tmp_path / "0").name == only_run(tmp_path / "1").name
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)


def _loss(data, folder):
    """Cross-entropy of a run's weights on the test images."""
    options = {"root": f"{data}/imagenet", "declared_sizes": ((32, 12),), "val_per_class": 2, "workers": 0}
    config = from_mapping(imagenet.Config, {"size": 32, "short_side": 36, **options}, "dataset")
    task = load(config, DecoyConfig(name="none"), seed=0, root=data, cache=data)
    model = from_mapping(models.config_class("gapnet"), {"name": "gapnet", "width": 4}, "model")
    network = models.build(model, task.in_shape, 4, 0)
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    network.eval()
    (batch,) = task.test_loaders(12, "cpu")["test"]
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network(batch.x), batch.y))


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [("trainer=cpu",), ("trainer=ddp", "trainer.accelerator=cpu")], ids=["one", "two"])
def test_the_experiment_runs_end_to_end(data, tmp_path, trainer):
    small = ("model.architecture=resnet18", "evaluation.explained=4", "trainer.precision=bf16-mixed")
    places = (f"dataset.root={data}/imagenet", f"dataset.boxes={data}/boxes", "method.lap.loss.white=0.5")
    ended = run("experiment=lap/imagenet", *trainer, *SMALL, *small, *places, cwd=tmp_path)
    assert ended.code == 0, ended.err
    result = read(only_run(tmp_path))
    assert result["stamps"][0] == "subset"
    assert result["steps"] == 6
