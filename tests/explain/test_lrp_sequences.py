"""LRP of recurrent, attention and normalisation layers: the same outputs as torch, and relevance that adds up."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.explain.lrp_nets import close
from xfeedback.errors import UserError
from xfeedback.explain.lrp import Rules, relevance
from xfeedback.explain.lrp.mode import Relevance
from xfeedback.explain.sites import fixed_weights

EXACT = Rules(epsilon=0)


class Recurrent(nn.Module):
    """The input holds the sequence ``(T, F)`` and, after it, the initial state."""

    def __init__(self, kind: type[nn.RNNBase], *, bias: bool = False, **options: bool) -> None:
        super().__init__()
        self.cell = kind(3, 4, batch_first=True, bias=bias, **options)
        self.head = nn.Linear(4 * (1 + options.get("bidirectional", False)), 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        sequence, state = x[:, :15].view(-1, 5, 3), x[:, 15:].view(-1, 2, 4)
        if not isinstance(self.cell, nn.LSTM):
            start = state[:, 0].unsqueeze(0)
        else:
            start = (state[:, 0].unsqueeze(0), state[:, 1].unsqueeze(0))
        if self.cell.bidirectional:
            return self.head(self.cell(sequence)[0].mean(1))
        return self.head(self.cell(sequence, start)[0][:, -1])


def flat_inputs(n: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 2


def test_lstm_relevance_over_inputs_and_initial_state_is_the_logit():
    """Open gates, no biases: unrolled by hand for two steps below."""
    torch.manual_seed(0)
    network = Recurrent(nn.LSTM).double()
    x, y = flat_inputs()
    found = relevance(network, x, y, EXACT)
    close(found.sum(1), network(x).gather(1, y[:, None]).squeeze(1).detach(), 1e-8)
    assert (found[:, 15:].abs().sum(1) > 0).all()


def test_two_steps_of_an_lstm_by_hand():
    torch.manual_seed(0)
    cell = nn.LSTM(2, 1, batch_first=True).double()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0][:, -1]

    x = torch.randn(1, 2, 2, dtype=torch.float64)
    w, u, b = (t.detach() for t in (cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0 + cell.bias_hh_l0))
    h = c = torch.zeros(1, dtype=torch.float64)
    steps = []
    for t in range(2):
        i, f, g, o = (w @ x[0, t] + u @ h + b).split(1)
        new, before = g.tanh() * i.sigmoid(), f.sigmoid() * c
        steps.append((new, before, g, h))
        c = new + before
        h = o.sigmoid() * c.tanh()
    (new1, _, g1, _), (new2, before2, g2, h1) = steps
    second = h * new2 / (new2 + before2)
    first = h * before2 / (new2 + before2) + second * (u[2] @ h1) / g2
    expected = torch.stack([first * w[2] * x[0, 0] / g1, second * w[2] * x[0, 1] / g2])
    close(relevance(Net(), x, torch.tensor([0]), EXACT)[0], expected, 1e-8)
    assert float(new1) != 0


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_give_what_torch_gives(kind, both):
    torch.manual_seed(0)
    network = Recurrent(kind, bias=True, bidirectional=both).double().eval()
    x, y = flat_inputs()
    expected = network(x).detach()
    with fixed_weights(network), Relevance(Rules()):
        close(network(x.requires_grad_()).detach(), expected, 1e-10)
    assert torch.isfinite(relevance(network, x, y)).all()


def test_stacked_lstms_too():
    torch.manual_seed(0)
    layers = nn.LSTM(3, 4, num_layers=2, dropout=0.5, bidirectional=True).double().eval()
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    out, (hidden, memory) = layers(x)
    with fixed_weights(layers), Relevance(Rules()):
        found, (h, c) = layers(x)
    for a, b in ((found, out), (h, hidden), (c, memory)):
        close(a.detach(), b.detach(), 1e-10)


class Attentive(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(8, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


def tokens() -> tuple[Tensor, Tensor]:
    return torch.randn(2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2])


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_layer_gives_what_torch_gives(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first, activation="gelu")
    network = Attentive(layer).double().eval()
    x, y = tokens()
    expected = network(x).detach()
    with fixed_weights(network), Relevance(Rules()):
        close(network(x.requires_grad_()).detach(), expected, 1e-10)
    assert torch.isfinite(relevance(network, x.detach(), y)).all()


def test_padding_gets_no_relevance_and_changes_none():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = attention, nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            real = x.abs().sum(-1) > 0
            mixed = self.attention(x, x, x, key_padding_mask=~real, need_weights=False)[0]
            return self.head((mixed * real[..., None]).sum(1))

    network, (x, y) = Masked().double().eval(), tokens()
    x[0, 4:] = 0
    expected = network(x).detach()
    with fixed_weights(network), Relevance(Rules()):
        close(network(x).detach(), expected, 1e-10)
    found = relevance(network, x, y)
    assert (found[0, 4:] == 0).all()
    longer = relevance(network, F.pad(x, (0, 0, 0, 3)), y)
    close(longer[:, :6], found, 1e-10)
    assert (longer[:, 6:] == 0).all()


class Scores(nn.Module):
    """Products of two signals and of a signal with a gate."""

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = x.unflatten(-1, (3, -1)).unbind(1)
        return torch.stack([a @ b.mT, (a * c.sigmoid()).sum(-1, keepdim=True).expand(-1, len(x))], 0).sum(0)


def test_products_share_and_gates_get_nothing():
    a, b, c = torch.randn(3, 1, 4, dtype=torch.float64)
    x = torch.cat([a, b, c], -1)
    network = nn.Sequential(Scores())
    found = relevance(network, x, torch.tensor([0]), EXACT)[0].view(3, 4)
    close(found[0], (a * b / 2 + a * c.sigmoid())[0], 1e-10)
    close(found[1], (a * b / 2)[0], 1e-10)
    assert (found[2] == 0).all()


def test_normalisations_treat_their_spread_as_a_constant():
    torch.manual_seed(0)
    x = torch.randn(4, 6, dtype=torch.float64)
    for layer in (nn.LayerNorm(6), nn.GroupNorm(2, 6), nn.RMSNorm(6)):
        with torch.no_grad():
            layer.weight.uniform_(0.5, 1.5)
        network = layer.double().eval()
        expected = network(x)
        with fixed_weights(network), Relevance(Rules()):
            close(network(x.clone().requires_grad_()).detach(), expected.detach(), 1e-8)
        target = torch.tensor([0, 1, 2, 3])
        if getattr(layer, "bias", None) is None:  # nothing is lost to a bias
            close(relevance(network, x, target).sum(1), expected.gather(1, target[:, None])[:, 0].detach(), 1e-6)


def test_packed_sequences_are_refused_by_name():
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(3, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2, 2]), batch_first=True)
            return self.cell(packed)[1][0][-1]

    with pytest.raises(UserError, match=r"LRP has no rule for '.*' in .*Packed; choose"):
        relevance(Packed(), torch.randn(2, 4, 3), torch.tensor([0, 1]))
