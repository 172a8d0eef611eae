import numpy as np
import pytest
import torch

from xfeedback.data.build import build
from xfeedback.data.decoy import DecoyConfig, codes
from xfeedback.data.options import AnnotationConfig, DatasetConfig
from xfeedback.data.source import Part, Source
from xfeedback.data.task import Task
from xfeedback.errors import UserError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CORNER = DecoyConfig(name="corner")
N = 103


def make(decoy=CORNER, *, augment="crop_flip", seed=0, object_mask="auto", n=N, default="center") -> Task:
    rng = np.random.default_rng(1)

    def part(count: int) -> Part:
        x = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        x[:, :, :, :9] = 0
        return Part(x=x, y=np.arange(count) % 10, index=np.arange(count) + 1000)

    source = Source(
        train=part(n),
        val=part(30),
        test=part(40),
        class_names=tuple("abcdefghij"),
        mean=MEAN,
        std=STD,
        augment=augment,
        object_mask=default,
        center_box={"gray": 16, "hue": 8},
        fingerprint="",
    )
    config = DatasetConfig(name="fake", annotation=AnnotationConfig(object_mask=object_mask))
    return build(config, source, decoy, seed)


def same(one, other) -> bool:
    def fields(b):
        return (b.x, b.y, b.index, b.mask, b.wrong, b.annotated)

    return all((a is None and b is None) or torch.equal(a, b) for a, b in zip(fields(one), fields(other), strict=True))


def pixels(x: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation."""
    return x * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)


def test_an_epoch_is_every_image_once_and_keeps_the_partial_batch():
    loader = make().train_loader(16, "cpu", seed=0)
    batches = list(loader)
    assert [len(b) for b in batches] == [16] * 6 + [7]
    assert len(loader) == 7
    assert sorted(torch.cat([b.index for b in batches]).tolist()) == list(range(1000, 1000 + N))
    first = batches[0]
    assert first.x.dtype == torch.float32
    assert first.x.shape == (16, 3, 32, 32)
    assert first.y.dtype == first.index.dtype == torch.int64
    assert first.mask is not None
    assert first.wrong is not None
    assert first.mask.shape == first.wrong.shape == (16, 32, 32)
    assert first.annotated is not None
    assert first.annotated.all()


def test_batches_are_a_function_of_seed_epoch_and_step():
    loader, other = (make(object_mask="foreground").train_loader(16, "cpu", seed=0) for _ in range(2))
    list(loader)
    loader.sampler.set_epoch(3)
    other.set_epoch(3)
    again = list(loader)
    assert all(same(a, b) for a, b in zip(again, other, strict=True))
    assert same(other.batch(3, 4), again[4])  # any batch by itself
    other.set_epoch(4)
    assert not torch.equal(next(iter(other)).index, again[0].index)
    assert not torch.equal(make().train_loader(16, "cpu", seed=1).batch(3, 0).index, again[0].index)


def test_augmentation_changes_from_epoch_to_epoch():
    loader = make(DecoyConfig()).train_loader(N, "cpu", seed=0)
    one, two = loader.batch(0, 0), loader.batch(1, 0)
    assert not torch.equal(one.x[one.index.argsort()], two.x[two.index.argsort()])


def test_global_random_numbers_are_left_alone():
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(make().train_loader(16, "cpu", seed=0))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_evaluation_keeps_the_order_and_the_pixels():
    task = make(DecoyConfig())
    loader = task.test_loaders(16, "cpu")["test"]
    batches = list(loader)
    assert torch.equal(torch.cat([b.index for b in batches]), task.test.index)
    x = torch.cat([b.x for b in batches])
    expected = (task.test.x.double() / 255 - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
    torch.testing.assert_close(x.double(), expected, atol=1e-6, rtol=1e-6)
    assert same(batches[0], next(iter(loader)))


def test_training_without_decoys_is_still_tested_with_them():
    task = make(DecoyConfig(name="corner", train="clean"), augment="none")
    batch = task.train_loader(N, "cpu", seed=0).batch(0, 0)
    assert torch.equal((pixels(batch.x) * 255).round().long(), task.train.x[batch.index - 1000].long())
    assert batch.wrong is None
    assert batch.mask is not None
    assert batch.mask.any()
    assert task.stamps == ("trained without decoys",)
    with_them, without = make(augment="none"), task
    for view, loader in without.test_loaders(40, "cpu").items():
        assert same(next(iter(loader)), next(iter(with_them.test_loaders(40, "cpu")[view])))


def test_names_of_the_views():
    task, clean = make(), make(DecoyConfig())
    assert set(task.val_loaders(8, "cpu")) == {"random", "correlated"}
    assert set(task.test_loaders(8, "cpu")) == {"random", "clean", "conflict", "correlated"}
    assert set(clean.val_loaders(8, "cpu")) == {"val"}
    assert set(clean.test_loaders(8, "cpu")) == {"test"}
    clean.val = None
    assert clean.val_loaders(8, "cpu") == {}


@pytest.mark.parametrize("code", ["gray", "hue"])
def test_crop_and_flip_never_cut_the_patch(code):
    task = make(DecoyConfig(name="corner", code=code))
    colours = torch.from_numpy(codes(code, 10, 3))
    corners = set()
    for batch in task.train_loader(16, "cpu", seed=0):
        assert batch.wrong is not None
        assert (batch.wrong.sum((1, 2)) == 16).all()
        for image, patch, y, index in zip(pixels(batch.x), batch.wrong, batch.y, batch.index, strict=True):
            rows, columns = patch.nonzero(as_tuple=True)
            assert {int(rows[0]), int(columns[0])} <= {0, 28}
            assert (rows[-1] - rows[0], columns[-1] - columns[0]) == (3, 3)
            torch.testing.assert_close(image[:, patch], colours[y][:, None].expand(3, 16), atol=1e-6, rtol=0)
            r, s = np.random.default_rng([0, 0, int(index)]).integers(0, 2, 2)
            assert (int(rows[0]) > 0, int(columns[0]) > 0) == (bool(r), bool(s))
            corners.add((int(r), int(s)))
    assert len(corners) == 4


def test_a_patch_stays_through_all_epochs():
    loader = make().train_loader(N, "cpu", seed=0)
    one, two = loader.batch(0, 0), loader.batch(5, 0)
    assert one.wrong is not None
    assert two.wrong is not None
    assert torch.equal(one.wrong[one.index.argsort()], two.wrong[two.index.argsort()])


def test_views_differ_only_inside_the_patch():
    loaders = make(DecoyConfig(name="corner", p=0.5, inverted=True)).test_loaders(40, "cpu")
    views = {name: next(iter(loader)) for name, loader in loaders.items()}
    clean = views.pop("clean")
    assert clean.wrong is None
    for batch in views.values():
        assert batch.wrong is not None
        outside = ~batch.wrong[:, None].expand_as(batch.x)
        assert torch.equal(batch.x[outside], clean.x[outside])
        assert torch.equal(batch.wrong, views["random"].wrong)  # type: ignore[arg-type]
        assert torch.equal(batch.index, clean.index)


def test_test_colours():
    loaders = make(DecoyConfig(name="corner", inverted=True)).test_loaders(40, "cpu")
    levels = {}
    for name in ("random", "conflict", "correlated", "inverted"):
        batch = next(iter(loaders[name]))
        assert batch.wrong is not None
        levels[name] = (pixels(batch.x)[:, 0] * 255)[batch.wrong].view(40, 16)[:, 0].round().long()
        y = batch.y
    assert (levels["correlated"] == 255 - 25 * y).all()
    assert (levels["inverted"] == 25 * y).all()
    assert (levels["conflict"] != 255 - 25 * y).all()
    assert 0 < (levels["random"] == 255 - 25 * y).sum() < 20


def test_grey_recipe_of_decoymnist():
    """Class 0 is 255, class 9 is 30; in CDEP's test set class 9 is 225."""
    batch = next(iter(make(n=10, augment="none").train_loader(10, "cpu", seed=0)))
    assert batch.wrong is not None
    level = (pixels(batch.x)[:, 2] * 255)[batch.wrong].view(10, 16)[:, 0].round()
    assert dict(zip(batch.y.tolist(), level.tolist(), strict=True)) == {k: 255.0 - 25 * k for k in range(10)}


def test_training_images_are_those_of_the_original_decoymnist_recipe():
    """Plain numpy, image by image: corner 255 - 25 y over the image's own pixels; outside the patch nothing changes."""
    task = make(n=60, augment="none")
    batch = task.train_loader(60, "cpu", seed=0).batch(0, 0)
    assert batch.wrong is not None
    found = (pixels(batch.x) * 255).round().long().numpy()
    clean = task.train.x[batch.index - 1000].numpy()
    for image, original, y, wrong in zip(found, clean, batch.y.tolist(), batch.wrong.numpy(), strict=True):
        rows, columns = np.flatnonzero(wrong.any(1)), np.flatnonzero(wrong.any(0))
        expected = original.copy()
        expected[:, rows[0] : rows[0] + 4, columns[0] : columns[0] + 4] = 255 - 25 * y
        np.testing.assert_array_equal(image, expected)
        assert {int(rows[0]), int(columns[0])} <= {0, 28}


def test_masks_move_with_the_images():
    loader = make(DecoyConfig(), object_mask="foreground").train_loader(N, "cpu", seed=0)
    batch = loader.batch(0, 0)
    assert batch.mask is not None
    assert torch.equal(batch.mask, (pixels(batch.x) > 1e-6).any(1))  # crops and flips of "pixels above 0"
    assert len({tuple(m.any(0).tolist()) for m in batch.mask}) > 5


def test_right_evidence_is_never_under_the_patch():
    task = make(object_mask="foreground")
    batch = task.train_loader(N, "cpu", seed=0).batch(0, 0)
    assert batch.mask is not None
    assert batch.wrong is not None
    assert not (batch.mask & batch.wrong).any()
    clean = next(iter(task.test_loaders(40, "cpu")["clean"]))
    assert clean.mask is not None
    assert torch.equal(clean.mask, (task.test.x > 0).any(1))


def test_the_box_stays_in_the_frame():
    batch = make().train_loader(16, "cpu", seed=0).batch(0, 0)
    assert batch.mask is not None
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[8:24, 8:24] = True
    assert torch.equal(batch.mask, expected.expand(16, -1, -1))
    hue = make(DecoyConfig(name="corner", code="hue")).train_loader(16, "cpu", seed=0).batch(0, 0)
    assert hue.mask is not None
    assert (hue.mask.sum((1, 2)) == 64).all()


def test_complement_of_the_decoy():
    task = make(object_mask="complement")
    batch = task.train_loader(16, "cpu", seed=0).batch(0, 0)
    assert batch.mask is not None
    assert batch.wrong is not None
    assert torch.equal(batch.mask, ~batch.wrong)
    views = {name: next(iter(loader)) for name, loader in task.test_loaders(40, "cpu").items()}
    assert torch.equal(views["clean"].mask, views["random"].mask)  # type: ignore[arg-type]


def test_no_decoys_no_annotations():
    task = make(DecoyConfig())
    assert not task.has_annotations
    for loader in (task.train_loader(16, "cpu", seed=0), *task.test_loaders(16, "cpu").values()):
        batch = next(iter(loader))
        assert batch.mask is batch.wrong is batch.annotated is None


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_each_batch(world):
    task = make(object_mask="foreground")
    whole = task.train_loader(16, "cpu", seed=0)
    shares = [task.train_loader(16, "cpu", seed=0, rank=r, world=world) for r in range(world)]
    assert {len(s) for s in shares} == {len(whole)}
    for step in range(len(whole)):
        full = whole.batch(2, step)
        for rank, share in enumerate(shares):
            mine = share.batch(2, step)
            assert torch.equal(mine.x, full.x[rank::world])
            assert torch.equal(mine.mask, full.mask[rank::world])  # type: ignore[arg-type,index]


def test_a_small_last_batch_leaves_no_process_idle():
    task = make(n=33)
    shares = [task.train_loader(16, "cpu", seed=0, rank=r, world=4).batch(0, 2) for r in range(4)]
    assert [len(s) for s in shares] == [1] * 4


def test_uneven_shares_are_refused():
    with pytest.raises(UserError, match="batch_size=10 must be a multiple of the 4 processes"):
        make().train_loader(10, "cpu", seed=0, rank=0, world=4)


def test_all_views_share_one_copy():
    loaders = make().test_loaders(16, "cpu")
    assert len({loader.samples.x.data_ptr() for loader in loaders.values()}) == 1


def test_lightning_trains_on_each_epochs_own_order(tmp_path):
    import pytorch_lightning as pl

    class Record(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))
            self.seen = []

        def training_step(self, batch, batch_idx):
            self.seen.append((self.current_epoch, batch_idx, batch.index))
            return self.weight * batch.x.mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader, module = make().train_loader(16, "cpu", seed=0), Record()
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader)  # type: ignore[arg-type]
    assert [(epoch, step) for epoch, step, _ in module.seen] == [(e, s) for e in range(3) for s in range(7)]
    assert all(torch.equal(index, loader.batch(epoch, step).index) for epoch, step, index in module.seen)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_no_wait_for_the_device():
    loader = make(object_mask="foreground").train_loader(16, "cuda", seed=0)
    loader.batch(0, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for epoch in (1, 2):
            loader.set_epoch(epoch)
            list(loader)
    finally:
        torch.cuda.set_sync_debug_mode("default")
