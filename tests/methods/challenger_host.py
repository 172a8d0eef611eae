"""A Challenger alone on a tiny network, in double precision."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.methods import tiny
from xfeedback import models
from xfeedback.feedback import FeedbackModule, Step
from xfeedback.methods.challenger import ChallengerFeedback
from xfeedback.types import Batch

GAPNET = ("input", "features.pool1", "features.pool2", "features")


def host_of(network: nn.Module | None = None, *, kind: str = "gapnet", **options: Any) -> FeedbackModule:
    """A float64 host with the feedback alone; its place is the input unless told otherwise."""
    made = tiny.feedback("challenger", **{"site": "input", **options})
    network = tiny.network(kind) if network is None else network
    host = FeedbackModule(network, [made], example=torch.zeros(1, 1, 32, 32, dtype=next(network.parameters()).dtype))
    return host.double()


def feedback_of(host: FeedbackModule) -> ChallengerFeedback:
    (found,) = host.feedbacks
    assert isinstance(found, ChallengerFeedback)
    return found


def wide(n: int = 8) -> Batch:
    return replace(tiny.batch(n), x=tiny.batch(n).x.double())


def run(host: FeedbackModule, batch: Batch | None = None, number: int = 0) -> tuple[Step, dict[str, Tensor]]:
    return host.loss_terms(wide() if batch is None else batch, host.active(), ("0", 0, 0, number))


def text_host(name: str = "text_cnn", **options: Any) -> FeedbackModule:
    config = models.config_class(name)(name=name)
    vocabulary = tuple(f"w{i}" for i in range(20))
    network = models.build(config, (8,), 3, 0, kind="text", vocabulary=vocabulary).double().eval()
    made = tiny.feedback("challenger", **options)
    return FeedbackModule(network, [made], example=torch.ones(1, 8, dtype=torch.long))
