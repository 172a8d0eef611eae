import gzip
import shutil

import numpy as np
import pytest
import torch
from torchvision import datasets

from tests.data.fakes import idx_bytes, write_idx
from xfeedback.data import folders, idx, load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import Places
from xfeedback.data.sets import fashion_mnist, mnist
from xfeedback.errors import UserError


@pytest.fixture
def places(tmp_path):
    return Places(root=tmp_path / "root", extra=(tmp_path / "extra",), cache=tmp_path / "cache")


@pytest.fixture
def offline(monkeypatch):
    def fail(*_args):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(idx, "_fetch", fail)


def config(**options):
    return mnist.Config(**{"declared_sizes": ((40, 20),), **options})


def test_shortened_set_is_stamped_and_a_tenth_validates(places):
    arrays = write_idx(places.root / "MNIST/raw")
    source = mnist.read(config(), places)
    assert source.stamps == ("subset",)
    assert source.val is not None
    assert (len(source.train.y), len(source.val.y), len(source.test.y)) == (36, 4, 20)
    for part in (source.train, source.val):
        np.testing.assert_array_equal(part.x[:, 0], arrays[0][part.index])
        np.testing.assert_array_equal(part.y, arrays[1][part.index])
    np.testing.assert_array_equal(source.test.x[:, 0], arrays[2])


@pytest.mark.parametrize(("share", "count"), [(0.1, 4), (0.25, 10), (0.5, 20)])
def test_a_share_of_the_training_images_validates(places, share, count):
    write_idx(places.root / "MNIST/raw")
    source = mnist.read(config(validation=share), places)
    assert source.val is not None
    assert (len(source.train.y), len(source.val.y)) == (40 - count, count)
    assert not set(source.train.index.tolist()) & set(source.val.index.tolist())


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_shares_that_leave_nothing_are_refused(share):
    with pytest.raises(ValueError, match=f"validation={share} must be above 0 and below 1"):
        mnist.Config(validation=share)


@pytest.mark.parametrize(("scale", "span"), [("half", (-1, 1)), ("unit", (0, 1))])
def test_scales_span_what_they_say(places, scale, span):
    write_idx(places.root / "MNIST/raw")
    source = mnist.read(config(scale=scale), places)
    black, white = ((value - source.mean[0]) / source.std[0] for value in (0.0, 1.0))
    assert (black, white) == span


def test_undeclared_size_names_both_counts(places):
    write_idx(places.root / "MNIST/raw")
    with pytest.raises(UserError, match=r"40 training and 20 test .*60000 and 10000.*declared_sizes=.*40,20"):
        mnist.read(mnist.Config(), places)


def test_the_root_comes_before_extra_roots(places):
    write_idx(places.root / "MNIST/raw")
    mine = mnist.read(config(), places).fingerprint
    write_idx(places.extra[0] / "MNIST/raw")
    assert mnist.read(config(), places).fingerprint == mine
    shutil.rmtree(places.root)
    assert mnist.read(config(), places).fingerprint != mine


def test_an_extra_root_is_only_read(places):
    write_idx(places.extra[0] / "MNIST/raw")
    before = sorted(places.extra[0].rglob("*"))
    mnist.read(config(), places)
    assert sorted(places.extra[0].rglob("*")) == before
    assert not places.root.exists()


def test_unpacked_files_are_read_but_not_verified(places, monkeypatch):
    write_idx(places.root / "MNIST/raw", packed=False)
    assert mnist.read(config(), places).stamps == ("subset",)
    monkeypatch.setattr(idx, "OFFICIAL", (40, 20))
    monkeypatch.setattr(idx, "VALIDATION", 10)
    assert mnist.read(config(), places).stamps == ("unverified",)


def test_official_count_with_other_content_is_damage(places, monkeypatch):
    write_idx(places.root / "MNIST/raw")
    monkeypatch.setattr(idx, "OFFICIAL", (40, 20))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz is damaged: its md5 is .*published"):
        mnist.read(config(), places)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[: len(c) // 2], "damaged"),
        (lambda c: c[:-1], "damaged"),
        (lambda _: b"", "damaged"),
        (lambda _: b"<html>not found</html>", "damaged"),
        (lambda c: c[:60] + bytes(100) + c[160:], "damaged"),
        (lambda _: gzip.compress(b""), "does not begin like an IDX file"),
        (lambda c: gzip.compress(b"\0\0\x0d" + gzip.decompress(c)[3:]), "does not begin like an IDX file"),
        (lambda c: gzip.compress(gzip.decompress(c)[:-5]), "header promises"),
        (lambda c: gzip.compress(gzip.decompress(c) + b"\0"), "header promises"),
        (lambda _: gzip.compress(idx_bytes(np.zeros((39, 28, 28), np.uint8))), "40 labels for 39 images"),
        (lambda _: gzip.compress(idx_bytes(np.zeros((40, 8, 8), np.uint8))), "not 28x28"),
    ],
)
def test_damaged_images(places, change, message):
    write_idx(places.root / "MNIST/raw")
    path = places.root / "MNIST/raw/train-images-idx3-ubyte.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        mnist.read(config(), places)
    assert str(places.root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_beyond_the_classes(places):
    write_idx(places.root / "MNIST/raw")
    path = places.root / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.full(20, 10, np.uint8))))
    with pytest.raises(UserError, match=r"t10k-labels.*labels 0 to 9"):
        mnist.read(config(), places)


def test_missing_file_is_named(places, offline):
    write_idx(places.root / "MNIST/raw")
    (places.root / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"cannot read .*t10k-labels-idx1-ubyte"):
        mnist.read(config(), places)


@pytest.mark.parametrize("make_empty", [False, True])
def test_nowhere_and_offline_is_one_line(places, offline, make_empty):
    if make_empty:
        (places.root / "MNIST/raw").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no MNIST in .*root/MNIST/raw, .*extra/MNIST/raw.*\(no network\)") as caught:
        mnist.read(config(), places)
    assert "XFEEDBACK_DATA" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [p for p in places.root.rglob("*") if p.is_file() or p.name.startswith(".")]


@pytest.mark.parametrize("make_empty", [False, True])
def test_download_appears_only_when_whole(places, monkeypatch, make_empty):
    if make_empty:
        (places.root / "MNIST/raw").mkdir(parents=True)

    def fetch(into, _spec):
        write_idx(into / "MNIST/raw")
        return into / "MNIST/raw"

    monkeypatch.setattr(idx, "_fetch", fetch)
    assert mnist.read(config(), places).stamps == ("subset",)
    assert sorted(p.name for p in (places.root / "MNIST").iterdir()) == ["raw"]


def test_a_root_that_cannot_be_made_is_one_line(tmp_path, offline):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="downloading it failed"):
        mnist.read(config(), Places(root=tmp_path / "file", cache=tmp_path))


def test_a_faster_process_wins(tmp_path):
    target = tmp_path / "set"

    def fetch(into):
        (into / "made").mkdir()
        target.mkdir()
        (target / "theirs").touch()
        return into / "made"

    assert folders.download("X", target, [target], fetch) == target
    assert [p.name for p in target.iterdir()] == ["theirs"]


def test_mnist_as_torchvision_reads_it(shared_data, tmp_path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for name in idx.FILES:
        (raw / name).write_bytes(gzip.decompress((shared_data / f"MNIST/raw/{name}.gz").read_bytes()))
    places = Places(root=tmp_path / "none", extra=(shared_data,), cache=tmp_path)
    source = mnist.read(mnist.Config(), places)
    assert source.stamps == ()
    assert source.val is not None
    assert (len(source.train.y), len(source.val.y), len(source.test.y)) == (55_000, 5_000, 10_000)
    for part, train in ((source.train, True), (source.val, True), (source.test, False)):
        oracle = datasets.MNIST(tmp_path, train=train)
        np.testing.assert_array_equal(part.x[:, 0], oracle.data[torch.from_numpy(part.index)])
        np.testing.assert_array_equal(part.y, oracle.targets[torch.from_numpy(part.index)])
    pixels = np.concatenate([source.train.x, source.val.x]).astype(np.float64) / 255
    assert abs(pixels.mean() - source.mean[0]) < 1e-4
    assert abs(pixels.std() - source.std[0]) < 1e-4


def test_fashion_mnist_of_the_shared_folder(shared_data, tmp_path):
    places = {"root": tmp_path, "extra_roots": [shared_data], "cache": tmp_path}
    task = load(fashion_mnist.Config(limit_train=1000), DecoyConfig(name="corner"), seed=0, **places)
    assert task.name == "decoy_fashion_mnist"
    assert task.stamps == ("subset", "limit_train=1000")
    assert task.val is not None
    assert (len(task.train), len(task.val), len(task.test)) == (1000, 255, 3000)
    for loader in (task.train_loader(256, "cpu", seed=0), *task.test_loaders(512, "cpu").values()):
        for batch in loader:
            assert batch.x.isfinite().all()
            assert batch.annotated is not None
            assert batch.mask is not None
            assert batch.annotated.all() == batch.mask.any((1, 2)).all()


def test_pairs_of_declared_sizes():
    with pytest.raises(ValueError, match="pairs"):
        mnist.Config(declared_sizes=((1, 2, 3),))
