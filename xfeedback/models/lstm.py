"""``lstm`` and ``lstm_cell_attention``: the recurrent networks for series of Ismail et al. 2020 (released benchmark).

The second is an LSTM with input-cell attention (Ismail et al. 2019): its cell sees at every step what attention picks
from all steps so far.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.models.base import InShape
from xfeedback.models.recurrent import states
from xfeedback.models.series_options import SeriesConfig, output_layer


@dataclass(frozen=True, kw_only=True)
class LstmConfig(SeriesConfig):
    """Options of ``lstm``.

    Attributes:
        hidden: units.
        dropout: share of input cells, and of the last state's units, that is dropped.
    """

    name: Literal["lstm"] = "lstm"
    hidden: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hidden > 0, "hidden", self.hidden, "a positive integer")


@dataclass(frozen=True, kw_only=True)
class CellAttentionConfig(SeriesConfig):
    """Options of ``lstm_cell_attention``.

    Attributes:
        hidden: units.
        attention: units of the attention's first layer.
        hops: how many weightings of the steps so far are averaged.
        dropout: share of input cells, and of the last state's units, that is dropped.
    """

    name: Literal["lstm_cell_attention"] = "lstm_cell_attention"
    hidden: int = 5
    attention: int = 50
    hops: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("hidden", "attention", "hops"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")


class Lstm(nn.Module):
    """One layer; the state after the last step is classified."""

    def __init__(self, config: LstmConfig, features: int, n_classes: int) -> None:
        super().__init__()
        self.drop_input = nn.Dropout(config.dropout)
        self.lstm = nn.LSTM(features, config.hidden, batch_first=True)
        self.drop_state = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, n_classes)
        self.output = output_layer(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map series ``(B, T, F)`` to ``(B, N)``.

        cuDNN's kernel is left out where gradients at the input or in evaluation mode are asked for: it can't give the
        latter, nor second derivatives.
        """
        explained = x.requires_grad or (torch.is_grad_enabled() and not self.training)
        last = states(self.lstm, self.drop_input(x), cudnn=not explained)[:, -1]
        return self.output(self.head(self.drop_state(last)))


class CellAttentionLstm(nn.Module):
    """The cell's input at step t is the mean over hops of a weighted mean of the steps up to t.

    The gates have one bias; weights are drawn as Glorot and Bengio 2010 (uniform), the cell's bias is zero.
    """

    def __init__(self, config: CellAttentionConfig, features: int, n_classes: int) -> None:
        super().__init__()
        self.drop_input = nn.Dropout(config.dropout)
        self.attention = nn.Sequential(
            nn.Linear(features, config.attention), nn.Tanh(), nn.Linear(config.attention, config.hops)
        )
        self.gates_input = nn.Linear(features, 4 * config.hidden)
        self.gates_state = nn.Linear(config.hidden, 4 * config.hidden, bias=False)
        for weight in (self.gates_input.weight, self.gates_state.weight):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.gates_input.bias)
        self.drop_state = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, n_classes)
        self.output = output_layer(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map series ``(B, T, F)`` to ``(B, N)``."""
        x = self.drop_input(x)
        seen = attended(x, self.attention(x))
        return self.output(self.head(self.drop_state(self._last_state(self.gates_input(seen)))))

    def _last_state(self, gates: Tensor) -> Tensor:
        state = cell = gates.new_zeros(len(gates), self.gates_state.in_features)
        for step in gates.unbind(1):
            enter, forget, new, leave = (step + self.gates_state(state)).chunk(4, dim=1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            state = leave.sigmoid() * cell.tanh()
        return state


def attended(x: Tensor, scores: Tensor) -> Tensor:
    """Return for each step the steps up to it, averaged with softmax weights, and averaged over the hops.

    The hops' weights of step u for step t, e_u / (e_1 + ... + e_t), are added up before they meet x, so that no tensor
    has a hop and two times. They are float64: exp(score - largest score) must not vanish where a later step has a much
    larger score.

    Args:
        x: ``(B, T, F)``.
        scores: of each step, ``(B, T, hops)``.

    Returns:
        ``(B, T, F)``, in the type of ``x``.
    """
    wide = scores.double()
    sizes = (wide - wide.detach().amax(1, keepdim=True)).exp()
    weights = (sizes.cumsum(1).reciprocal() @ sizes.transpose(1, 2)).tril() / scores.shape[2]
    return weights.to(x.dtype) @ x


def build(config: LstmConfig | CellAttentionConfig, in_shape: InShape, n_classes: int) -> nn.Module:
    """Build the network; with 50 features and 2 classes 1,152 parameters, with input-cell attention 4,192."""
    features = in_shape[1]
    if isinstance(config, LstmConfig):
        return Lstm(config, features, n_classes)
    return CellAttentionLstm(config, features, n_classes)
