"""Tokens chosen, replaced and deleted: against plain loops and hand-worked examples."""

import numpy as np
import pytest
import torch

from xfeedback.data.text import PADDING, SEPARATOR, UNKNOWN
from xfeedback.explain.tokens import deleted, previous_kept, real, replaced

S, U = SEPARATOR, UNKNOWN


def texts(n: int = 60, length: int = 12, seed: int = 0) -> torch.Tensor:
    """Texts of 1 to ``length`` tokens, some with separators."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, 30, (n, length))
    ids[rng.random((n, length)) < 0.15] = S
    ids[rng.random((n, length)) < 0.05] = U
    ids[np.arange(length) >= rng.integers(1, length + 1, n)[:, None]] = PADDING
    ids[0] = [S] + [PADDING] * (length - 1)
    return torch.from_numpy(ids)


def test_padding_and_separators_are_not_real():
    assert real(torch.tensor([[5, U, S, 6, 0]])).tolist() == [[True, True, False, True, False]]


def test_previous_kept_copies_the_right_token():
    ids = torch.tensor([[5, 6, 7, S, 8, 9, 0], [5, 6, 7, S, 8, 9, 0], [5, 6, 7, S, 8, 9, 0]])
    masked = torch.tensor([[0, 1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 1, 1, 0], [1, 1, 1, 0, 0, 1, 0]], dtype=torch.bool)
    expected = [[5, 5, 5, S, 9, 9, 0], [7, 7, 7, S, U, U, 0], [U, U, U, S, 8, 8, 0]]
    assert previous_kept(ids, masked).tolist() == expected


def test_previous_kept_equals_a_loop():
    ids = texts(200)
    masked = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(3)) < 0.6) & real(ids)
    found = previous_kept(ids, masked)
    for row in range(len(ids)):
        tokens, hidden = ids[row].tolist(), masked[row].tolist()
        for place, token in enumerate(tokens):
            expected = token
            if hidden[place]:
                start = max([p + 1 for p in range(place) if tokens[p] == S], default=0)
                end = min([p for p in range(place, len(tokens)) if tokens[p] in (S, PADDING)], default=len(tokens))
                earlier = [tokens[p] for p in range(start, place) if not hidden[p]]
                later = [tokens[p] for p in range(place, end) if not hidden[p]]
                expected = earlier[-1] if earlier else later[0] if later else U
            assert found[row, place] == expected


def test_deleted_equals_a_loop():
    ids = texts(200)
    masked = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(4)) < 0.6) & real(ids)
    found = deleted(ids, masked)
    for row in range(len(ids)):
        left = [t for t, m in zip(ids[row].tolist(), masked[row].tolist(), strict=True) if not m and t != PADDING] or [
            U
        ]
        assert found[row].tolist() == left + [PADDING] * (ids.shape[1] - len(left))


@pytest.mark.parametrize(("how", "expected"), [("unk", [5, U, S, U, 0]), ("pad", [5, 0, S, 0, 0])])
def test_constant_replacements(how, expected):
    ids, masked = torch.tensor([[5, 6, S, 7, 0]]), torch.tensor([[False, True, False, True, False]])
    assert replaced(ids, masked, how, 10, torch.Generator()).tolist() == [expected]


def test_random_tokens_are_never_reserved_and_each_alike():
    ids = torch.full((200, 50), 5)
    found = replaced(ids, ids > 0, "random_vocab", 8, torch.Generator().manual_seed(0))
    counts = torch.bincount(found.flatten(), minlength=8)
    assert counts[:3].sum() == 0
    assert ((counts[3:] - 2000).abs() <= 4 * (10000 * 0.2 * 0.8) ** 0.5).all()


def test_nothing_masked_changes_nothing():
    ids = texts()
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    for how in ("previous_kept", "unk", "pad", "delete", "random_vocab"):
        assert torch.equal(replaced(ids, nothing, how, 30, torch.Generator()), ids)
