"""WebDataset shards: the same images, labels and draws as from folders, and an order that splits the shards."""

import tarfile
from collections import defaultdict

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.data.miniature import SYNSETS, add_member, options, truncate, write_imagenet, write_shards
from xfeedback.config import from_mapping
from xfeedback.data import load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.loader import Shard
from xfeedback.data.sets import imagenet
from xfeedback.data.shards import Reader, in_lanes
from xfeedback.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_imagenet(folder)
    write_shards(folder)
    return folder


@pytest.fixture
def own(tmp_path):
    """A copy that a test may damage."""
    write_imagenet(tmp_path)
    write_shards(tmp_path)
    return tmp_path


def taken(place, /, seed=0, **changed):
    held = {"root": None, "shards": str(place / "shards"), "lanes": 2, "turns": 2} | changed
    config = from_mapping(imagenet.Config, options(place, **held), "dataset")
    return load(config, DecoyConfig(name="none"), seed=seed, root=place, cache=place / "cache")


def from_folders(place):
    return taken(place, root=str(place / "imagenet"), shards=None)


def test_images_labels_boxes_and_splits_are_those_of_the_folders(root):
    boxed = {"boxes": str(root / "boxes"), "val_per_class": 1}
    one, other = taken(root, **boxed), taken(root, root=str(root / "imagenet"), shards=None, **boxed)
    assert one.class_names == other.class_names == SYNSETS
    assert one.stamps == other.stamps
    assert one.fingerprint == other.fingerprint
    for split in ("train", "val", "test"):
        assert getattr(one, split).index.equal(getattr(other, split).index)
        assert getattr(one, split).annotated.equal(getattr(other, split).annotated)
    for name in ("ordered_loader", "test_loaders"):
        loaders = [getattr(task, name)(5, "cpu") for task in (one, other)]
        first, second = (loader["test"] if isinstance(loader, dict) else loader for loader in loaders)
        for batch, expected in zip(first, second, strict=True):
            for field in ("x", "y", "index", "mask"):
                assert getattr(batch, field).equal(getattr(expected, field))


def test_training_draws_are_those_of_the_folders(root):
    """An image is cut and mirrored alike in both, whatever its place in the epoch."""
    seen = defaultdict(list)
    for task in (taken(root), from_folders(root)):
        loader = task.train_loader(5, "cpu", seed=3)
        loader.set_epoch(2)
        for batch in loader:
            for x, index in zip(batch.x, batch.index.tolist(), strict=True):
                seen[index].append(x)
    assert len(seen) == 24
    assert all(len(found) == 2 and found[0].equal(found[1]) for found in seen.values())


@pytest.mark.parametrize("n", [1, 7, 23, 64])
@pytest.mark.parametrize(("batch_size", "lanes", "turns"), [(8, 4, 2), (5, 3, 1), (4, 8, 4)])
def test_the_order_equals_a_plain_loop(n, batch_size, lanes, turns):
    rng = np.random.default_rng(n)
    shard, rows = rng.integers(0, 6, n), rng.permutation(n)
    by_shard: dict[int, list[int]] = {}
    for row in rows:
        by_shard.setdefault(int(shard[row]), []).append(int(row))
    series = [row for own in by_shard.values() for row in own]
    expected = [0] * n
    for turn in range(turns):
        for lane in range(lanes):
            for place in range(n):
                if place // batch_size % turns == turn and place % batch_size % lanes == lane:
                    expected[place] = series.pop(0)
    assert in_lanes(torch.from_numpy(rows), shard, batch_size, lanes, turns).tolist() == expected


def test_processes_and_workers_read_shards_of_their_own():
    """40 shards of 12 images, 2 processes with 2 workers each: a shard has one reader, but for the 3 cuts."""
    shard = np.repeat(np.arange(40), 12)
    order = in_lanes(torch.randperm(480, generator=torch.Generator().manual_seed(0)), shard, 8, 2, 2)
    readers = defaultdict(set)
    for place, row in enumerate(order.tolist()):
        readers[shard[row]].add((place % 8 % 2, place // 8 % 2))
    assert sorted(order.tolist()) == list(range(480))
    assert sum(len(found) > 1 for found in readers.values()) <= 3
    assert {reader for found in readers.values() for reader in found} == {(r, w) for r in range(2) for w in range(2)}


def numbers(batches):
    return [(b.index.tolist(), float(b.x.double().sum())) for b in batches]


def test_a_pass_is_repeated_resumed_and_the_same_from_any_number_of_workers(root):
    here, beside = (taken(root, workers=n).train_loader(6, "cpu", seed=3) for n in (0, 2))
    whole = numbers(here)
    assert numbers(beside) == whole
    beside.skip(2)
    assert numbers(beside) == whole[2:]
    assert here.batch(0, 1).index.tolist() == whole[1][0]
    here.set_epoch(1)
    assert numbers(here) != whole
    assert sorted(i for own, _ in numbers(here) for i in own) == sorted(i for own, _ in whole for i in own)


def _read_in_process(rank, folder, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    task = taken(folder)
    loader = task.train_loader(6, "cpu", seed=3, rank=rank, world=2)
    loader.skip(1)
    found = [(batch.index, batch.x) for batch in loader]
    for step, (index, x) in enumerate(found, 1):
        indices, pixels = ([torch.empty_like(part) for _ in range(2)] for part in (index, x))
        dist.all_gather(indices, index)
        dist.all_gather(pixels, x)
        whole = task.train_loader(6, "cpu", seed=3).batch(0, step)
        for other in range(2):
            assert indices[other].equal(whole.index[Shard(rank=other, world=2).of(6)])
            assert pixels[other].equal(whole.x[Shard(rank=other, world=2).of(6)])
    dist.destroy_process_group()


def test_two_processes_share_every_batch_of_one(root, tmp_path):
    """Gloo; from the second batch on, as after a stop inside an epoch."""
    taken(root)
    mp.start_processes(_read_in_process, (root, tmp_path / "store"), nprocs=2, start_method="fork")


def test_a_broken_image_is_named_with_its_shard_or_replaced(own):
    place = own / "imagenet" / "val" / SYNSETS[2] / "ILSVRC2012_val_00000007.JPEG"
    truncate(place)
    for path in (own / "shards").iterdir():
        path.unlink()
    (own / "shards").rmdir()
    write_shards(own)
    (loader,) = taken(own).test_loaders(12, "cpu").values()
    with pytest.raises(UserError, match=r"val-00000\d.tar/ILSVRC2012_val_00000007.JPEG: image file is truncated"):
        list(loader)
    task = taken(own, broken="skip")
    (loader,) = task.test_loaders(12, "cpu").values()
    assert len(list(loader)) == 1
    assert task.stamps_now == ("subset", "1 broken image replaced")


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])


def without_label(path):
    with tarfile.open(path, "w") as shard:
        add_member(shard, "n01440764_0.jpg", b"x")


def twice(path):
    path.write_bytes(path.with_name("imagenet-train-000001.tar").read_bytes())


def compressed(path):
    with tarfile.open(path, "w:gz") as shard:
        add_member(shard, "n01440764_0.jpg", b"x")


def of_another_class(path):
    with tarfile.open(path, "w") as shard:
        add_member(shard, "n03888257_99.jpg", b"x")
        add_member(shard, "n03888257_99.cls", b"0")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, r"train-000000.tar is no whole, uncompressed WebDataset shard: .* Restore it"),
        (compressed, r"train-000000.tar is no whole, uncompressed WebDataset shard"),
        (without_label, r"n01440764_0 has no label; expected n01440764_0.cls with the class's number"),
        (twice, r"hold n\d+_\d twice; keys must differ"),
        (of_another_class, r"must begin with their synset .* and label 0 has"),
    ],
)
def test_shards_that_can_not_be_used_are_refused(own, harm, message):
    harm(own / "shards" / "imagenet-train-000000.tar")
    with pytest.raises(UserError, match=message) as caught:
        taken(own)
    assert "\n" not in str(caught.value)


def test_a_place_without_shards_or_two_places(own):
    with pytest.raises(UserError, match=r"has no \*train\*\.tar; expected WebDataset shards of both parts"):
        taken(own, shards=str(own))
    with pytest.raises(UserError, match="left out where root names image folders"):
        taken(own, root="somewhere")


def test_few_files_stay_open_and_none_travels_to_a_worker(tmp_path):
    reader = Reader()
    for number in range(40):
        path = tmp_path / str(number)
        path.write_bytes(bytes([number] * 10))
        assert reader.read(path, 3, 4) == bytes([number] * 4)
    assert len(reader._open) == 16
    assert reader.__getstate__() == {}
