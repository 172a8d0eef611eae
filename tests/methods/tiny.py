"""A tiny image task with decoys and networks of a few hundred weights, for the tests of every method."""

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from xfeedback import data, methods, models
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.device import DeviceLoader
from xfeedback.data.task import Task
from xfeedback.feedback import Feedback, FeedbackModule, OptimiserConfig
from xfeedback.types import Batch

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning")
NOWHERE = Path("no-data-is-read")


@cache
def task() -> Task:
    """48 digits with decoys and foreground annotations."""
    options = data.config_class("digits")(name="digits", limit_train=48, limit_test=20)
    return data.load(options, DecoyConfig(name="corner"), seed=0, root=NOWHERE, cache=NOWHERE)


def batches(seed: int = 0, batch_size: int = 16) -> DeviceLoader:
    return task().train_loader(batch_size, "cpu", seed)


def batch(n: int = 16) -> Batch:
    return next(iter(batches(batch_size=n)))


def changed(change: Callable[[Batch], Batch]) -> DataLoader:
    """The batches of the first epoch, each changed, the same in every epoch."""
    return DataLoader([change(b) for b in batches()], batch_size=None)  # type: ignore[arg-type]


class Noisy(nn.Module):
    """BatchNorm below the explained map and above it, dropout: what can go wrong when views are added to a step."""

    explained_layer = "features"

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=4, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.ReLU(),
        )
        self.above = nn.Sequential(nn.BatchNorm2d(6), nn.Dropout(0.3), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.above(self.features(x))).flatten(1))


NETWORKS = ("gapnet", "noisy")
CHEAP: dict[str, dict[str, Any]] = {"xai_increment": {"segments": "grid", "grid": (2, 2)}}


def network(kind: str = "gapnet", seed: int = 0) -> nn.Module:
    """``gapnet``: Grad-CAM in closed form; ``noisy``: by automatic differentiation, with BatchNorm and dropout."""
    if kind == "gapnet":
        return models.build(models.config_class("gapnet")(name="gapnet", width=2, init="he"), (1, 32, 32), 10, seed)
    torch.manual_seed(seed)
    return Noisy()


def feedback(name: str, **options: Any) -> Feedback:
    """A feedback that acts from the first step, unless told otherwise, and whose options keep it cheap."""
    always = {"warmup_epochs": 0, "ramp_epochs": 0, **CHEAP.get(name, {})}
    return methods.feedback_class(name).with_options(**{**always, **options})


def module(*feedbacks: Feedback, kind: str = "gapnet", seed: int = 0, **host: Any) -> FeedbackModule:
    optimiser = OptimiserConfig(lr=3e-3, schedule="cosine")
    example = torch.zeros(1, 1, 32, 32)
    return FeedbackModule(network(kind, seed), feedbacks, optimiser=optimiser, example=example, seed=seed, **host)


def trainer(epochs: int = 1, *, callbacks: Sequence[Callback] = (), **options: Any) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )


def trained(
    host: FeedbackModule, loader: Iterable[Any] | None = None, epochs: int = 2, **options: Any
) -> FeedbackModule:
    """The module after training on the tiny task, or on another loader."""
    trainer(epochs, **options).fit(host, batches(host.seed) if loader is None else loader)
    return host


def state(host: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in host.state_dict().items()}


def weights(host: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in host.named_parameters()}


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    different = [name for name in found if not torch.equal(found[name], expected[name])]
    assert not different, f"different bits in {different}"


class Counter:
    """Counts the forward passes of a network and the runs of the backward engine inside its block."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.forwards, self.backwards = network, 0, 0

    def __enter__(self) -> "Counter":
        def forwarded(*_: Any) -> None:
            self.forwards += 1

        self._handle = self.network.register_forward_hook(forwarded)
        self._engine = torch.autograd._engine_run_backward

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.backwards += 1
            return self._engine(*args, **kwargs)

        torch.autograd._engine_run_backward = counted
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
        torch.autograd._engine_run_backward = self._engine


def passes(host: FeedbackModule) -> tuple[int, int]:
    """Forward passes and backward runs of one training step."""
    with Counter(host.network) as counter:
        host.training_step(batch(), 0).backward()
    return counter.forwards, counter.backwards
