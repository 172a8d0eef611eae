"""The copy of CIFAR-10 in JPEG: its order, its cache, and what is damaged."""

import io
import tarfile

import numpy as np
import pytest
import torch

from tests.data.fakes import write_jpeg
from tests.data.small_cifar import config, one_line
from xfeedback.data.sets import cifar
from xfeedback.errors import UserError


def test_jpeg_copy_is_in_official_order_and_cached(places, capsys):
    levels = write_jpeg(places.extra[0] / "CIFAR10-jpeg")
    before = sorted(places.extra[0].rglob("*"))
    first = cifar.read(config(), places)
    assert first.val is not None
    parts = (first.train, first.val, first.test)
    assert [len(p.y) for p in parts] == [28, 12, 10]
    assert np.concatenate([p.index for p in parts]).tolist() == [*range(40), *range(10)]
    found = np.concatenate([p.x[:, 1, 16, 16] for p in parts]).astype(int)
    assert np.abs(found - levels).max() <= 1
    assert "decoding" in capsys.readouterr().err
    second = cifar.read(config(), places)
    assert "decoding" not in capsys.readouterr().err
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.test.x, first.test.x)
    assert sorted(places.extra[0].rglob("*")) == before
    assert len(list(places.cache.iterdir())) == 1


@pytest.mark.parametrize("damage", ["short", "empty", "bit", "other"])
def test_a_damaged_cache_is_made_anew(places, caplog, damage):
    write_jpeg(places.extra[0] / "CIFAR10-jpeg")
    first = cifar.read(config(), places)
    (cache,) = places.cache.iterdir()
    content = cache.read_bytes()
    if damage == "other":
        torch.save([1, 2], cache)
    elif damage == "bit":
        stored = torch.load(cache)
        stored["x"][3, 0, 5, 5] ^= 1
        torch.save(stored, cache)
    else:
        cache.write_bytes(content[: len(content) // 2] if damage == "short" else b"")
    again = cifar.read(config(), places)
    assert again.fingerprint == first.fingerprint
    assert "damaged and is made anew" in caplog.text
    assert cache.read_bytes() == content


def test_another_archive_has_another_cache(places):
    write_jpeg(places.extra[0] / "CIFAR10-jpeg", n_train=40)
    first = cifar.read(config(), places).fingerprint
    write_jpeg(places.root / "CIFAR10-jpeg", n_train=40, n_test=9)
    assert cifar.read(config(declared_sizes=((40, 9),)), places).fingerprint != first
    assert len(list(places.cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written(places):
    write_jpeg(places.extra[0] / "CIFAR10-jpeg")
    places.cache.touch()
    with pytest.raises(UserError, match=r"cannot write the cache .*paths.cache"):
        cifar.read(config(), places)


def test_undeclared_jpeg_size(places):
    write_jpeg(places.extra[0] / "CIFAR10-jpeg", n_train=39)
    with pytest.raises(UserError, match="39 training and 10 test images of CIFAR-10 as JPEG"):
        cifar.read(config(), places)


def member(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cifar10_jpg.tar.xz", lambda c: c[: len(c) // 2], "tar.xz is damaged"),
        ("cifar10_jpg.tar.xz", lambda _: b"", "tar.xz is damaged"),
        ("cifar10_jpg.tar.xz", lambda _: b"no archive", "tar.xz is damaged"),
        ("cifar10_jpg.tar.xz", lambda _: member("other", b""), "50 of 50 images are not in it"),
        ("cifar10_jpg.tar.xz", lambda _: member("data_batch_1/3.jpg", b"no image"), "3.jpg is no readable image"),
        ("index.csv", lambda _: b"", "index.csv is damaged"),
        ("index.csv", lambda _: b"a,b\n1,2\n", "no table with file"),
        ("index.csv", lambda c: c.replace(b"data_batch_1,7,", b"data_batch_9,7,"), "no table with file"),
        ("index.csv", lambda c: c.replace(b",7,7", b",7,70"), "no labels from 0 to 9"),
        ("index.csv", lambda c: c.replace(b"data_batch_1,7,", b"data_batch_1,8,"), "the same official position twice"),
    ],
)
def test_damaged_jpeg_copy(places, name, change, message):
    write_jpeg(places.extra[0] / "CIFAR10-jpeg")
    path = places.extra[0] / "CIFAR10-jpeg" / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        cifar.read(config(), places)
    assert one_line(caught)
    assert not places.cache.exists()


def test_half_a_jpeg_copy_is_named(places):
    write_jpeg(places.extra[0] / "CIFAR10-jpeg")
    (places.extra[0] / "CIFAR10-jpeg/index.csv").unlink()
    with pytest.raises(UserError, match=r"cannot read .*index.csv"):
        cifar.read(config(), places)
