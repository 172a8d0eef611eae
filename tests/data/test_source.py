import numpy as np
import pytest
from sklearn.model_selection import StratifiedShuffleSplit

from xfeedback.data.source import fingerprint, split_off, stratified, whole

Y = np.repeat([0, 1, 2, 3], [500, 301, 97, 2])


@pytest.mark.parametrize("n", [1, 4, 100, 899, 900])
def test_stratified_keeps_shares(n):
    rows = stratified(Y, n)
    assert len(rows) == len(set(rows.tolist())) == n
    assert (np.diff(rows) > 0).all()
    assert np.abs(np.bincount(Y[rows], minlength=4) - np.bincount(Y) * n / 900).max() < 1


def test_stratified_agrees_with_scikit_learn():
    _, rows = next(StratifiedShuffleSplit(1, test_size=90, random_state=0).split(Y, Y))
    assert np.abs(np.bincount(Y[rows], minlength=4) - np.bincount(Y[stratified(Y, 90)], minlength=4)).max() <= 1


def test_stratified_depends_on_its_seed_alone():
    np.testing.assert_array_equal(stratified(Y, 50), stratified(Y, 50))
    assert not np.array_equal(stratified(Y, 50), stratified(Y, 50, seed=1))


def test_split_off_is_a_partition():
    part = whole(np.arange(900.0).reshape(-1, 1, 1, 1), Y)
    train, val = split_off(part, 90)
    assert len(val.y) == 90
    np.testing.assert_array_equal(np.sort(np.concatenate([train.index, val.index])), np.arange(900))
    np.testing.assert_array_equal(val.x[:, 0, 0, 0], val.index)
    np.testing.assert_array_equal(train.y, Y[train.index])


def test_fingerprint_sees_values_types_and_shapes():
    a = np.arange(6, dtype=np.uint8)
    prints = {fingerprint(b) for b in (a, a[::-1], a.astype(np.int8), a.reshape(2, 3), a.reshape(3, 2))}
    assert len(prints) == 5
    assert fingerprint(a) == fingerprint(a.copy())
