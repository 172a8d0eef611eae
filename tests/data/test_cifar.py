import pickle

import numpy as np
import pytest

from tests.data.fakes import write_batches, write_jpeg
from tests.data.small_cifar import config, one_line
from xfeedback.data import cifar_batches, load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import Places
from xfeedback.data.sets import cifar
from xfeedback.errors import UserError

SHORT = {"data_batch_1": 20, "data_batch_2": 10, "data_batch_4": 10, "test_batch": 8}


@pytest.fixture
def official(monkeypatch):
    """Write a small set whose sizes and checksums count as the official ones."""

    def write(folder):
        counts = dict.fromkeys((*cifar_batches.TRAIN_MD5, "test_batch"), 20)
        pixels = write_batches(folder, counts)
        md5 = {name: cifar_batches.folders.md5_of((folder / name).read_bytes()) for name in counts}
        monkeypatch.setattr(cifar_batches, "OFFICIAL", (100, 20))
        monkeypatch.setattr(cifar_batches, "TEST_MD5", {"test_batch": md5.pop("test_batch")})
        monkeypatch.setattr(cifar_batches, "TRAIN_MD5", md5)
        monkeypatch.setattr(cifar, "VALIDATION", 10)
        return pixels

    return write


def test_shortened_batches_keep_their_official_positions(places):
    pixels = write_batches(places.extra[0] / "CIFAR10/cifar-10-batches-py", SHORT)
    source = cifar.read(config(), places)
    assert source.stamps == ("subset",)
    assert source.val is not None
    expected = [*range(20), *range(10_000, 10_010), *range(30_000, 30_010)]
    assert source.train.index.tolist() == expected[:30]
    assert source.val.index.tolist() == expected[30:]
    np.testing.assert_array_equal(source.train.x[25], pixels["data_batch_2"][5].reshape(3, 32, 32))
    np.testing.assert_array_equal(source.val.y, np.arange(10))
    np.testing.assert_array_equal(source.test.x.reshape(8, -1), pixels["test_batch"])


def test_official_files_come_first(places, official):
    official(places.root / "cifar-10-batches-py")
    write_jpeg(places.extra[0] / "CIFAR10-jpeg")
    source = cifar.read(config(), places)
    assert source.stamps == ()
    assert source.val is not None
    assert (len(source.train.y), len(source.val.y), len(source.test.y)) == (90, 10, 20)
    np.testing.assert_array_equal(np.sort(source.val.y), np.arange(10))  # stratified: one of each class
    assert cifar.read(config(source="jpeg"), places).stamps == ("jpeg",)


def test_then_the_jpeg_copy_then_the_shortened_one(places):
    write_batches(places.extra[0] / "CIFAR10/cifar-10-batches-py", SHORT)
    assert cifar.read(config(), places).stamps == ("subset",)
    write_jpeg(places.extra[0] / "CIFAR10-jpeg")
    assert cifar.read(config(), places).stamps == ("jpeg",)
    assert cifar.read(config(source="subset"), places).stamps == ("subset",)


def test_a_flipped_bit_in_official_files(places, official):
    official(places.root / "cifar-10-batches-py")
    path = places.root / "cifar-10-batches-py/data_batch_3"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data_batch_3 is damaged: its md5") as caught:
        cifar.read(config(), places)
    assert one_line(caught)


def test_a_missing_batch_is_not_passed_over(places, official):
    official(places.root / "cifar-10-batches-py")
    write_jpeg(places.extra[0] / "CIFAR10-jpeg")
    (places.root / "cifar-10-batches-py/data_batch_5").unlink()
    with pytest.raises(UserError, match=r"80 training and 20 test .*expected 100 and 20"):
        cifar.read(config(), places)
    (places.root / "cifar-10-batches-py/test_batch").unlink()
    with pytest.raises(UserError, match="none of test_batch is there"):
        cifar.read(config(), places)


def test_official_is_downloaded_when_asked_for(places, official, monkeypatch):
    write_jpeg(places.extra[0] / "CIFAR10-jpeg")

    def fetch(into):
        official(into / "cifar-10-batches-py")
        return into / "cifar-10-batches-py"

    monkeypatch.setattr(cifar_batches, "_fetch", fetch)
    assert cifar.read(config(source="official"), places).stamps == ()
    assert [p.name for p in places.root.iterdir()] == ["cifar-10-batches-py"]


def test_a_shortened_set_is_never_overwritten(places):
    write_batches(places.root / "cifar-10-batches-py", SHORT)
    with pytest.raises(UserError, match="Move that folder away"):
        cifar.read(config(source="official"), places)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("auto", r"no CIFAR-10 in .*root/cifar-10-batches-py.*extra/CIFAR10.*\(no network\).*XFEEDBACK_DATA"),
        ("official", r"no CIFAR-10 in .*\(no network\)"),
        ("jpeg", r"source=jpeg: nothing in .*root/CIFAR10-jpeg, .*extra/CIFAR10-jpeg"),
        ("subset", r"source=subset: nothing in .*root/cifar-10-batches-py"),
    ],
)
def test_nowhere(places, source, message):
    with pytest.raises(UserError, match=message) as caught:
        cifar.read(config(source=source), places)
    assert one_line(caught)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "no array 'data'"),
        ({b"labels": [1]}, "no array 'data'"),
        ({b"data": np.zeros((3, 3072)), b"labels": [1] * 3}, "no array 'data'"),
        ({b"data": np.zeros((3, 3), np.uint8), b"labels": [1] * 3}, "no array 'data'"),
        ({b"data": np.zeros((3, 3072), np.uint8), b"labels": [1] * 2}, "no list 'labels' of 3"),
        ({b"data": np.zeros((3, 3072), np.uint8), b"labels": [1, 10, 1]}, "no list 'labels'"),
        ({b"data": np.zeros((3, 3072), np.uint8)}, "no list 'labels'"),
    ],
)
def test_batches_of_another_content(places, batch, message):
    folder = places.root / "cifar-10-batches-py"
    write_batches(folder, SHORT)
    (folder / "data_batch_2").write_bytes(pickle.dumps(batch, protocol=3))
    with pytest.raises(UserError, match=message) as caught:
        cifar.read(config(), places)
    assert "data_batch_2" in str(caught.value)


@pytest.mark.parametrize("augment", ["crop_flip", "none"])
def test_augmentation_is_a_choice(places, augment):
    write_batches(places.extra[0] / "cifar-10-batches-py", SHORT)
    assert cifar.read(config(augment=augment), places).augment == augment


@pytest.fixture(scope="module")
def shared(shared_data, tmp_path_factory):
    """The shared folder's two copies of CIFAR-10 (the JPEG copy takes some 10 s to decode)."""
    folder = tmp_path_factory.mktemp("cifar")
    places = Places(root=folder / "none", extra=(shared_data,), cache=folder)
    return places, {source: cifar.read(cifar.Config(source=source), places) for source in ("jpeg", "subset")}


@pytest.mark.parametrize(("scale", "span"), [("half", (-1, 1)), ("unit", (0, 1))])
def test_scales_span_what_they_say(places, scale, span):
    write_batches(places.extra[0] / "CIFAR10/cifar-10-batches-py", SHORT)
    source = cifar.read(config(scale=scale), places)
    for channel in range(3):
        black, white = ((value - source.mean[channel]) / source.std[channel] for value in (0.0, 1.0))
        assert (black, white) == span


def test_shared_copies_show_the_same_images(shared):
    """About 30 dB between the copies of an image; another image is farther away."""
    _, sources = shared
    for split in ("train", "test"):
        jpeg, subset = getattr(sources["jpeg"], split), getattr(sources["subset"], split)
        row = {index: i for i, index in enumerate(jpeg.index.tolist())}
        rows = [row[index] for index in subset.index.tolist()]
        np.testing.assert_array_equal(jpeg.y[rows], subset.y)
        error = ((jpeg.x[rows].astype(float) - subset.x) ** 2).mean((1, 2, 3))
        assert (10 * np.log10(255**2 / error)).min() > 20
        other = ((jpeg.x[rows[1:]].astype(float) - subset.x[:-1]) ** 2).mean((1, 2, 3))
        assert np.median(10 * np.log10(255**2 / other)) < 12


def test_shared_copies_have_the_published_splits(shared):
    places, sources = shared
    sizes = {n: (len(s.train.y), len(s.val.y), len(s.test.y)) for n, s in sources.items()}
    assert sizes == {"jpeg": (36_000, 4_000, 5_000), "subset": (6_000, 1_051, 1_017)}
    assert sources["jpeg"].val.index.tolist() == list(range(36_000, 40_000))
    assert cifar.read(cifar.Config(), places).stamps == ("jpeg",)


def test_decoys_on_real_photographs(shared):
    places, _ = shared
    config = cifar.Config(source="subset", limit_train=500, limit_test=200)
    where = {"root": places.root, "extra_roots": places.extra, "cache": places.cache}
    task = load(config, DecoyConfig(name="corner"), seed=0, **where)
    assert (task.name, task.in_shape, task.augment) == ("decoy_cifar", (3, 32, 32), "crop_flip")
    assert task.stamps == ("subset", "limit_train=500", "limit_test=200")
    assert task.val is not None
    assert len(task.val) == 200
    for batch in task.train_loader(128, "cpu", seed=0):
        assert batch.x.isfinite().all()
        assert batch.mask is not None
        assert batch.mask.sum() == len(batch) * 256
