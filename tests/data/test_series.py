"""Series from the archives' files: missing values, unequal lengths, labels, splits; and the real files."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xfeedback import data
from xfeedback.config import from_mapping
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import AnnotationConfig, Places
from xfeedback.data.sets import ucr, uea
from xfeedback.errors import UserError

ROWS = ["1\t1.0\t2.0\t3.0", "2\t2.0\t4.0\t6.0"] * 4


def ucr_source(tmp_path, train=ROWS, test=ROWS, **options):
    folder = tmp_path / "UCRArchive_2018" / "Made"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Made_TRAIN.tsv").write_text("\n".join(train) + "\n")
    (folder / "Made_TEST.tsv").write_text("\n".join(test) + "\n")
    return ucr.read(ucr.Config(problem="Made", **options), Places(root=tmp_path, cache=tmp_path))


def uea_source(tmp_path, body, head=("@timeStamps false", "@classLabel true a b"), **options):
    folder = tmp_path / "UEA_ts" / "Made"
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("TRAIN", "TEST"):
        (folder / f"Made_{part}.ts").write_text("\n".join(["# text", "@problemName Made", *head, "@data", *body]))
    return uea.read(uea.Config(problem="Made", **options), Places(root=tmp_path, cache=tmp_path))


def loaded(tmp_path, source, config, **annotation):
    from xfeedback.data.build import build

    return build(replace(config, annotation=AnnotationConfig(**annotation)), source, DecoyConfig(name="none"), 0)


def test_a_set_is_read_as_it_stands(tmp_path):
    found = ucr_source(tmp_path, test=["2\t7.0\t8.0\t9.5"])
    assert (found.kind, found.class_names, found.stamps) == ("series", ("1", "2"), ())
    assert found.test.x.tolist() == [[[7.0], [8.0], [9.5]]]
    assert found.test.y.tolist() == [1]
    assert found.test.valid is None
    assert found.train.x.dtype == np.float32


def test_training_mean_and_sd_of_each_feature(tmp_path):
    body = ["1,2,3:10,10,10:a", "3,4,5:10,10,10:b", "0,0,0:10,10,10:b", "9,9,9:10,10,10:a"]
    found = uea_source(tmp_path, body)
    cells = found.train.x[..., 0]
    np.testing.assert_allclose((found.mean, found.std), [(cells.mean(), 10), (cells.std(), 1)], rtol=1e-6)
    task = loaded(tmp_path, found, uea.Config(problem="Made"))
    x = next(iter(task.train_loader(4, "cpu", 0))).x
    assert tuple(x.shape) == (4, 3, 2)
    assert float(x[..., 0].mean()) == pytest.approx(0, abs=1e-6)
    assert not x[..., 1].any()  # a constant feature becomes 0


def test_a_constant_series_is_a_series_like_others(tmp_path):
    found = ucr_source(tmp_path, train=[*ROWS, "1\t5.0\t5.0\t5.0"])
    task = loaded(tmp_path, found, ucr.Config(problem="Made"))
    whole = torch.cat([batch.x for batch in task.train_loader(4, "cpu", 0)])
    assert torch.isfinite(whole).all()
    assert len(whole) == 9


def test_values_missing_between_others_are_interpolated_or_refused(tmp_path):
    whole = [f"{row}\t1.0\t1.0" for row in ROWS]
    train = [*whole, "1\tNaN\t1.0\tNaN\t3.0\t3.0"]
    found = ucr_source(tmp_path, train, whole)
    assert found.train.x[-1, :, 0].tolist() == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert found.stamps == ("1 series with missing values",)
    with pytest.raises(UserError, match=r"Made_TRAIN.tsv, line 9: a value is missing; dataset.missing=interpolate"):
        ucr_source(tmp_path, train, whole, missing="refuse")
    body = ["1,?,3:1,2,3:a", "1,2,3:?,?,4:b"]
    assert uea_source(tmp_path, body).train.x.tolist() == [[[1, 1], [2, 2], [3, 3]], [[1, 4], [2, 4], [3, 4]]]


UNEQUAL = [*ROWS, "1\t4.0\t8.0\tNaN"]


def test_series_that_end_early_are_padded_and_say_so(tmp_path):
    found = ucr_source(tmp_path, train=UNEQUAL)
    assert found.stamps == ("lengths 2 to 3",)
    assert found.train.valid[-1].tolist() == [True, True, False]
    real = np.concatenate([found.train.x[:-1].ravel(), [4.0, 8.0]])
    np.testing.assert_allclose((found.mean[0], found.std[0]), (real.mean(), real.std()), rtol=1e-6)
    task = loaded(tmp_path, found, ucr.Config(problem="Made"))
    batch = next(iter(task.train_loader(9, "cpu", 0)))
    short = int((batch.index == 8).nonzero())
    assert batch.x[short, 2, 0] == 0
    assert batch.x[short, 0, 0] == pytest.approx((4 - found.mean[0]) / found.std[0], rel=1e-5)
    assert batch.valid.sum(1).tolist() == [2 if i == 8 else 3 for i in batch.index.tolist()]


def test_series_of_several_lengths_are_stretched_or_refused_when_asked_for(tmp_path):
    found = ucr_source(tmp_path, train=UNEQUAL, unequal="stretch")
    assert found.train.x[-1, :, 0].tolist() == [4.0, 6.0, 8.0]
    assert found.train.valid is None
    with pytest.raises(UserError, match=r"series of 2 to 3 steps; take dataset.unequal=pad or stretch"):
        ucr_source(tmp_path, train=UNEQUAL, unequal="refuse")


def test_masks_of_series_come_from_a_file_and_never_reach_padding(tmp_path):
    found = ucr_source(tmp_path, train=UNEQUAL)
    mask = np.zeros((9, 3, 1), dtype=bool)
    mask[:, 1:] = True
    np.savez(tmp_path / "masks.npz", train=mask, test=mask[:8])
    task = loaded(tmp_path, found, ucr.Config(problem="Made"), object_mask="file", file=str(tmp_path / "masks.npz"))
    for batch in task.train_loader(4, "cpu", 0):
        expected = [1 if i == 8 else 2 for i in batch.index.tolist()]
        assert batch.mask.sum((1, 2)).tolist() == expected
        assert batch.annotated.all()
    np.savez(tmp_path / "flat.npz", train=mask[..., 0], test=mask[:8, :, 0])
    with pytest.raises(UserError, match=r"must be whole numbers of shape \(9, 3, 1\): one mask per sample"):
        loaded(tmp_path, found, ucr.Config(), object_mask="file", file=str(tmp_path / "flat.npz"))


@pytest.mark.parametrize(
    "annotation", [{"object_mask": "center"}, {"object_mask": "foreground"}, {"control": "torus"}, {"noise": "box"}]
)
def test_what_acts_on_pixels_is_refused_in_one_line(tmp_path, annotation):
    ((option, value),) = annotation.items()
    with pytest.raises(UserError, match=rf"^dataset.annotation.{option}={value} is for images, and ucr holds series"):
        loaded(tmp_path, ucr_source(tmp_path), ucr.Config(), **annotation)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (ROWS, ["3\t1\t2\t3"], r"Made_TEST.tsv, line 1: no training series has the label '3'"),
        (ROWS[::2], ROWS[::2], r"Made has a single class in training, '1'"),
        ([*ROWS, "1\tNaN\tNaN\tNaN"], ROWS, r"Made_TRAIN.tsv, line 9: no value in dimension 1"),
        ([*ROWS, "1\t1\tx\t2"], ROWS, r"line 9: could not convert string to float: 'x'"),
        ([*ROWS, "1\t1\tinf\t2"], ROWS, r"line 9: a value is infinite"),
        ([*ROWS, "1,1,2,3"], ROWS, r"line 9: no value after the label; values are separated by tabs"),
        (ROWS, [""], r"Made has no test series"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_their_line(tmp_path, train, test, message):
    with pytest.raises(UserError, match=message):
        ucr_source(tmp_path, train, test)


@pytest.mark.parametrize(
    ("body", "head", "message"),
    [
        (["1,2:a"], ("@timeStamps true", "@classLabel true a"), "gives a time with each value"),
        (["1,2:a"], ("@targetlabel true",), "has no class labels"),
        (["1,2:1,2,3:a"], ("@classLabel true a b",), r"line 5: dimensions of 2 and 3 values in one series"),
        (["1 2 a"], ("@classLabel true a b",), r"line 5: no values; dimensions and the label"),
        (["1,2:a", "1,2:3,4:b"], ("@classLabel true a b",), r"Made has series of 1 and 2 dimensions"),
    ],
)
def test_ts_files_that_cannot_be_used_are_refused(tmp_path, body, head, message):
    with pytest.raises(UserError, match=message):
        uea_source(tmp_path, body, head)


def test_a_file_without_data_is_refused(tmp_path):
    path = tmp_path / "x.ts"
    path.write_text("@classLabel true a b\n")
    with pytest.raises(UserError, match="it has no line @data"):
        uea.rows(path)


def test_a_fifth_validates_where_each_class_is_large_enough(tmp_path):
    rows = ["1\t1\t2"] * 15 + ["2\t3\t4"] * 5
    found = ucr_source(tmp_path, rows, rows[:1])
    assert np.bincount(found.val.y).tolist() == [3, 1]
    assert sorted([*found.val.index, *found.train.index]) == list(range(20))
    for options in ({"val_least": 6}, {"val_share": 0.0}):
        assert ucr_source(tmp_path, rows, rows[:1], **options).val is None


def test_labels_are_ordered_as_numbers_where_they_are_some(tmp_path):
    rows = [f"{label}\t1\t2" for label in ("10", "-1", "2")]
    assert ucr_source(tmp_path, rows, rows).class_names == ("-1", "2", "10")


def test_a_set_that_is_not_there_is_named_with_its_nearest(tmp_path):
    ucr_source(tmp_path)
    with pytest.raises(
        UserError, match=r"no Maid/Maid_TRAIN.tsv .* Did you mean 'Made'\? There are: Made. Get the set"
    ):
        ucr.read(ucr.Config(problem="Maid"), Places(root=tmp_path, cache=tmp_path))
    with pytest.raises(UserError, match=r"dataset.problem=\.\./x must be the name of one of the archive's sets"):
        from_mapping(ucr.Config, {"problem": "../x"}, "dataset")


OFFICIAL = {"GunPoint": (50, 150, 150, 2), "SyntheticControl": (300, 300, 60, 6), "SwedishLeaf": (500, 625, 128, 15)}


@pytest.mark.parametrize("problem", OFFICIAL)
def test_real_sets_have_the_archives_sizes(shared_data, tmp_path, problem):
    train, test, length, classes = OFFICIAL[problem]
    places = Places(root=tmp_path, extra=(shared_data,), cache=tmp_path)
    found = ucr.read(ucr.Config(problem=problem), places)
    sizes = (len(found.train.y) + len(found.val.y), len(found.test.y), found.train.x.shape[1], len(found.class_names))
    assert sizes == (train, test, length, classes)
    assert found.stamps == ()


def test_both_archives_hold_the_same_gunpoint(shared_data, tmp_path):
    places = Places(root=tmp_path, extra=(shared_data,), cache=tmp_path)
    one = ucr.read(ucr.Config(problem="GunPoint"), places)
    other = uea.read(uea.Config(problem="GunPoint"), places)
    np.testing.assert_allclose(one.train.x, other.train.x, atol=1e-6)
    assert one.test.y.tolist() == other.test.y.tolist()


def test_a_real_set_of_several_dimensions(shared_data, tmp_path):
    task = data.load(uea.Config(), DecoyConfig(name="none"), seed=0, root=shared_data, cache=tmp_path)
    assert (task.name, task.in_shape, task.n_classes) == ("BasicMotions", (100, 6), 4)
    assert len(task.train) + len(task.val) == len(task.test) == 40
    x = torch.cat([batch.x for batch in task.train_loader(8, "cpu", 0)])
    np.testing.assert_allclose((x.mean((0, 1)), x.std((0, 1))), (np.zeros(6), np.ones(6)), atol=1e-3)
