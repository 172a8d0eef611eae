"""Challenger on texts and series: padding, granularity, the company of samples."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.methods import tiny
from tests.methods.challenger_host import feedback_of, host_of, run, text_host, wide
from xfeedback.feedback import FeedbackModule
from xfeedback.types import Batch


def test_the_company_and_order_of_samples_do_not_matter():
    host, order = host_of(strength="fixed"), torch.tensor([4, 2, 0, 5, 1, 3])
    batch = wide(6)
    step, _ = run(host, batch)
    moved = replace(batch, x=batch.x[order], y=batch.y[order])
    torch.testing.assert_close(
        run(host, moved)[0].views["challenger"], step.views["challenger"][order], rtol=1e-10, atol=1e-10
    )
    one = replace(batch, x=batch.x[2:3], y=batch.y[2:3])
    torch.testing.assert_close(
        run(host, one)[0].views["challenger"], step.views["challenger"][2:3], rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", ["text_cnn", "text_lstm", "text_transformer"])
@pytest.mark.parametrize("select", ["soft", "top_k"])
def test_padding_of_texts_is_never_challenged_and_longer_padding_changes_nothing(name, select):
    ids = torch.tensor([[5, 6, 7, 8, 0, 0, 0, 0], [9, 10, 11, 12, 13, 0, 0, 0]])
    terms = []
    for extra in (0, 3):
        host = text_host(name, site="input", strength="fixed", s_max=0.7, select=select)
        x = F.pad(ids, (0, extra))
        batch = Batch(x=x, y=torch.tensor([0, 2]), index=torch.arange(2), valid=x != 0)
        step, found = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
        view = feedback_of(host).view(step)
        assert view is not None
        changed = (view.x != step.x).any(-1)
        assert not changed[x == 0].any()
        assert changed[x != 0].any()
        terms.append(found["challenger/ce"])
        found["challenger/ce"].backward()
        assert host.network.embedding.weight.grad.abs().sum() > 0
        if name == "text_transformer":  # positions are learned for eight tokens
            return
    torch.testing.assert_close(*terms, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("granularity", ["element", "position", "channel"])
def test_series_are_challenged_by_elements_time_steps_or_features(granularity):
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv1d(3, 4, 3, padding=1), nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x.transpose(1, 2)).relu().mean(2))

    made = tiny.feedback("challenger", site="input", granularity=granularity, strength="fixed", s_max=0.5)
    host = FeedbackModule(Net().double(), [made], example=torch.zeros(1, 7, 3, dtype=torch.float64))
    x = torch.rand(4, 7, 3, dtype=torch.float64) + 0.5
    batch = Batch(x=x, y=torch.arange(4), index=torch.arange(4), valid=torch.arange(7).expand(4, 7) < 5)
    step, _ = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
    view = feedback_of(host).view(step)
    assert view is not None
    factor = view.x / x
    assert (factor[:, 5:] == 1).all()
    spread = {"position": factor.std(2), "channel": factor[:, :5].std(1)}
    if granularity in spread:
        assert spread[granularity].max() < 1e-12
    else:
        assert min(part.max() for part in spread.values()) > 1e-3
