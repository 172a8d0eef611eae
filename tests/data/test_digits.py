import numpy as np
import torch
from sklearn.datasets import load_digits

from xfeedback.data import load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.sets.digits import Config


def task(tmp_path, config=None, decoy="none", seed=0):
    return load(config or Config(), DecoyConfig(name=decoy), seed=seed, root=tmp_path, cache=tmp_path)


def test_built_as_published(tmp_path):
    found = task(tmp_path)
    digits = load_digits()
    order = np.random.RandomState(0).permutation(1797)
    assert (len(found.train), found.val, len(found.test)) == (1200, None, 597)
    np.testing.assert_array_equal(found.train.index, order[:1200])
    np.testing.assert_array_equal(found.test.index, order[1200:])
    np.testing.assert_array_equal(found.test.y, digits.target[order[1200:]])
    for row in (0, 77, 1199):
        expected = np.zeros((32, 32))
        expected[4:28, 4:28] = np.kron(digits.images[order[row]] / 16 * 0.5, np.ones((3, 3)))
        np.testing.assert_array_equal(found.train.x[row, 0], expected.astype(np.float32))
    assert (found.name, found.in_shape, found.n_classes, found.stamps) == ("digits", (1, 32, 32), 10, ())
    assert found.val_loaders(64, "cpu") == {}


def test_inputs_lie_in_minus_two_to_two(tmp_path):
    batch = next(iter(task(tmp_path, Config(gain=1.0)).test_loaders(597, "cpu")["test"]))
    assert (batch.x.min(), batch.x.max()) == (-2, 2)


def test_decoys_leave_the_digit_alone(tmp_path):
    found = task(tmp_path, decoy="corner")
    assert found.name == "decoy_digits"
    batch = next(iter(found.train_loader(1200, "cpu", seed=0)))
    assert batch.wrong is not None
    assert batch.mask is not None
    assert not batch.wrong[:, 4:28, 4:28].any()
    clean = found.train.x[torch.argsort(found.train.index)][
        torch.searchsorted(found.train.index.sort().values, batch.index)
    ]
    assert torch.allclose(batch.x[:, :, 4:28, 4:28], 4 * clean[:, :, 4:28, 4:28] - 2, atol=1e-6)
    assert torch.equal(batch.mask, clean[:, 0] > 0)


def test_labels_name_the_task(tmp_path):
    assert task(tmp_path, Config(label="decoy_digits"), "corner").name == "decoy_digits"
    assert task(tmp_path, Config(label="mine"), "corner").name == "decoy_mine"
    assert task(tmp_path, Config(label="mine")).name == "mine"


def test_seed_moves_decoys_but_not_the_split(tmp_path):
    one, two = (task(tmp_path, decoy="corner", seed=s) for s in (0, 1))
    assert torch.equal(one.train.index, two.train.index)
    assert one.train.corner is not None
    assert not torch.equal(one.train.corner, two.train.corner)  # type: ignore[arg-type]
    assert one.fingerprint == two.fingerprint


def test_limits(tmp_path):
    found = task(tmp_path, Config(limit_train=100, limit_test=50), "corner")
    assert (len(found.train), len(found.test)) == (100, 50)
    assert found.stamps == ("limit_train=100", "limit_test=50")
    assert (torch.bincount(found.train.y, minlength=10) >= 9).all()
    whole = task(tmp_path, decoy="corner")
    keep = torch.isin(whole.train.index, found.train.index)
    assert torch.equal(whole.train.index[keep], found.train.index)  # in the set's order
    assert torch.equal(whole.train.corner[keep], found.train.corner)  # type: ignore[index,arg-type]


def test_a_limit_that_limits_nothing_leaves_no_stamp(tmp_path):
    found = task(tmp_path, Config(limit_train=1200, limit_test=10_000))
    assert (len(found.train), len(found.test), found.stamps) == (1200, 597, ())
