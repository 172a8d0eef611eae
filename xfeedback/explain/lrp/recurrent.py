"""Rules of recurrent layers: written out step by step, with the gates as constants.

A product of a gate and a signal gives all relevance to the signal (Arras et al. 2017, 2019), and tanh passes it
unchanged.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xfeedback.explain.lrp.affine import carried, quotient
from xfeedback.explain.lrp.options import UnknownOperation
from xfeedback.explain.lrp.sequences import Dense

State = tuple[Tensor, ...]
Cell = Callable[[Tensor, Tensor, State], State]
"""``cell(from_input, from_hidden, state)``: the next state, its first part being the output."""


class Weights(NamedTuple):
    """Of one layer in one direction."""

    input: Tensor
    hidden: Tensor
    input_bias: Tensor | None = None
    hidden_bias: Tensor | None = None


def lstm(dense: Dense, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return what ``torch.lstm`` does, arguments as torch's. Dropout between layers is off.

    Raises:
        UnknownOperation: packed sequences, or projections of the hidden state.
    """
    state, weights, biased = arguments[:3]
    if isinstance(state, Tensor):
        raise UnknownOperation("lstm of packed sequences")
    if state[0].shape[-1] != state[1].shape[-1]:
        raise UnknownOperation("lstm with projections")
    out, (hidden, memory) = _layers(dense, _lstm_cell, x, state, _grouped(weights, biased), *arguments[3:])
    return out, hidden, memory


def gru(dense: Dense, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Return what ``torch.gru`` does, arguments as torch's. Dropout between layers is off.

    Raises:
        UnknownOperation: packed sequences.
    """
    state, weights, biased = arguments[:3]
    if not isinstance(biased, bool):
        raise UnknownOperation("gru of packed sequences")
    out, (hidden,) = _layers(dense, _gru_cell, x, (state,), _grouped(weights, biased), *arguments[3:])
    return out, hidden


def _lstm_cell(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    i, f, g, o = (from_input + from_hidden).chunk(4, -1)
    memory = f.detach().sigmoid() * state[1] + i.detach().sigmoid() * _tanh(g)
    return o.detach().sigmoid() * _tanh(memory), memory


def _gru_cell(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    (r_x, z_x, n_x), (r_h, z_h, n_h) = from_input.chunk(3, -1), from_hidden.chunk(3, -1)
    r, z = (r_x + r_h).detach().sigmoid(), (z_x + z_h).detach().sigmoid()
    return ((1 - z) * _tanh(n_x + r * n_h) + z * state[0],)


def _tanh(u: Tensor) -> Tensor:
    z = u.detach().tanh()
    return carried(u, quotient(z, u.detach()).where(u.detach() != 0, 1.0), z)


def _grouped(weights: Sequence[Tensor], biased: bool) -> list[Weights]:
    """Return the weights of each layer and direction."""
    n = 4 if biased else 2
    groups = [weights[at : at + n] for at in range(0, len(weights), n)]
    return [Weights(*group) for group in groups]


def _layers(  # noqa: PLR0917 - torch's order
    dense: Dense,
    cell: Cell,
    x: Tensor,
    state: State,
    groups: Sequence[Weights],
    layers: int,
    dropout: float,
    train: bool,
    both: bool,
    batch_first: bool = False,
) -> tuple[Tensor, State]:
    del dropout, train
    signal, ends = x.transpose(0, 1) if batch_first else x, []
    for layer in range(layers):
        outputs = []
        for direction in range(1 + both):
            at = layer * (1 + both) + direction
            start = tuple(part[at] for part in state)
            ordered = signal.flip(0) if direction else signal
            out, end = _unrolled(dense, cell, ordered, start, groups[at])
            outputs.append(out.flip(0) if direction else out)
            ends.append(end)
        signal = torch.cat(outputs, -1)
    last = tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
    return signal.transpose(0, 1) if batch_first else signal, last


def _unrolled(dense: Dense, cell: Cell, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
    """Run one layer in one direction over ``x`` ``(T, B, F)``."""
    outputs = []
    for now in dense(x, weights.input, weights.input_bias):
        state = cell(now, dense(state[0], weights.hidden, weights.hidden_bias), state)
        outputs.append(state[0])
    return torch.stack(outputs), state
