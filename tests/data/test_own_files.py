"""Own data by one argument: folders of clips, files of series, files of arrays."""

import numpy as np
import pytest
import soundfile
import torch

from tests.data.sounds import write
from xfeedback.config import from_mapping
from xfeedback.data import config_class
from xfeedback.data import load as load_task
from xfeedback.data.decoy import DecoyConfig
from xfeedback.errors import UserError


@pytest.fixture
def load(tmp_path):
    def read(name, **options):
        config = from_mapping(config_class(name), {"name": name, **options}, "dataset")
        return load_task(config, DecoyConfig(name="none"), seed=0, root=tmp_path, cache=tmp_path / "cache")

    return read


def refused(load, says, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        load(*args, **kwargs)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def clips(root, words=("no", "yes"), n=5, **sound):
    for word in words:
        for number in range(n):
            write(root / word / f"{number}.wav", seconds=0.1, **sound)
    return root


def test_clips_of_any_rate_become_spectrograms(load, tmp_path):
    root = clips(tmp_path / "mine")
    write(root / "no" / "0.wav", seconds=0.1, rate=8_000, channels=2)
    task = load("audio_folder", root=str(root), seconds=0.2)
    assert task.class_names == ("no", "yes")
    assert task.in_shape == (1, 40, 21)
    assert sorted(len(part) for part in (task.train, task.val, task.test)) == [2, 2, 6]
    indices = torch.cat([part.index for part in (task.train, task.val, task.test)])
    assert sorted(indices.tolist()) == list(range(10))
    assert not task.has_annotations


def test_lists_of_clips_are_heeded(load, tmp_path):
    root = clips(tmp_path / "mine")
    lists = {"train": ["no/0", "yes/1.wav", "no/2"], "test": ["no/3", "yes/4"]}
    (root / "splits").mkdir()
    for name, lines in lists.items():
        (root / "splits" / f"{name}.txt").write_text("\n".join(lines))
    task = load("audio_folder", root=str(root))
    assert task.train.index.tolist() == [0, 2, 6]
    assert task.test.index.tolist() == [3, 9]
    assert task.val is None
    assert "5 clips in no split" in task.stamps
    (root / "splits" / "test.txt").write_text("no/33")
    refused(load, "test.txt: there is no no/33. Did you mean 'no/3'?", "audio_folder", root=str(root))
    (root / "splits" / "test.txt").write_text("no/0")
    refused(load, "test.txt: no/0 is in the split train too", "audio_folder", root=str(root))


def test_a_folder_of_clips_that_can_not_be_used(load, tmp_path):
    refused(load, "dataset=audio_folder needs dataset.root=FOLDER", "audio_folder")
    refused(load, "/nowhere is no folder", "audio_folder", root="/nowhere")
    root = clips(tmp_path / "mine", words=("no",))
    refused(load, "has 1 word folder(s)", "audio_folder", root=str(root))
    (root / "yes").mkdir()
    refused(load, "yes has no .wav file", "audio_folder", root=str(root))
    write(root / "yes" / "a.wav").tofile(root / "yes" / "b.wav")
    refused(load, "b.wav is damaged", "audio_folder", root=str(root))
    soundfile.write(root / "yes" / "b.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    refused(load, "b.wav is damaged: a sample is no number", "audio_folder", root=str(root))
    (root / "yes" / "b.wav").unlink()
    (root / "yes" / "b.wav").symlink_to(tmp_path / "gone.wav")
    says = f"dataset=audio_folder: cannot read {root}/yes/b.wav: No such file or directory."
    refused(load, says, "audio_folder", root=str(root))


SERIES = np.random.default_rng(0).normal(size=(10, 6, 2)).round(3)
LABELS = ["up" if k % 2 else "down" for k in range(10)]


def written(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_the_same_series_in_every_form_are_the_same(load, tmp_path):
    """A line a series, a line a step, the archives' two forms, and arrays."""
    x = SERIES[..., 0]
    wide = ["label," + ",".join(map(str, range(6)))]
    wide += [",".join([label, *map(str, one)]) for one, label in zip(x, LABELS, strict=True)]
    long = ["value,series,label"]
    long += [f"{v},s{k},{label}" for k, (one, label) in enumerate(zip(x, LABELS, strict=True)) for v in one]
    ucr = ["\t".join([label, *map(str, one)]) for one, label in zip(x, LABELS, strict=True)]
    uea = ["@problemName mine", "@classLabel true down up", "@data"]
    uea += [",".join(map(str, one)) + f":{label}" for one, label in zip(x, LABELS, strict=True)]
    files = {"w.csv": wide, "l.csv": long, "u.tsv": ucr, "u.ts": uea}
    paths = [written(tmp_path / name, lines) for name, lines in files.items()]
    tasks = [load("series_file", train=path, test=path) for path in paths]
    np.savez(tmp_path / "a.npz", x_train=x, y_train=LABELS, x_test=x, y_test=LABELS)
    tasks.append(load("series_arrays", file=str(tmp_path / "a.npz")))
    assert {task.fingerprint for task in tasks} == {tasks[0].fingerprint}
    assert {task.class_names for task in tasks} == {("down", "up")}
    np.testing.assert_array_equal(tasks[0].test.x[..., 0], x.astype(np.float32))


def test_series_of_several_features_and_lengths(load, tmp_path):
    lines = ["series,label,a,b"]
    for k, (one, label) in enumerate(zip(SERIES, LABELS, strict=True)):
        lines += [f"{k},{label},{a},{b}" for a, b in one[: 6 - k % 3]]
    path = written(tmp_path / "l.csv", lines)
    task = load("series_file", train=path, val_share=0.0)
    assert task.in_shape == (6, 2)
    assert (len(task.train), len(task.test)) == (8, 2)
    assert torch.bincount(task.test.y).tolist() == [1, 1]
    lengths = torch.cat([task.train.valid.sum(1), task.test.valid.sum(1)])
    assert sorted(lengths.tolist()) == sorted(6 - k % 3 for k in range(10))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["labl,1,2", "a,1,2"], "line 1: the header has no column 'label'. Did you mean 'labl'?"),
        (["label,1,2", "a,1,2", "b,1"], "line 3 has 2 field(s), and the header 3"),
        (["label,1,2", "a,1,x"], "line 2: could not convert string to float: 'x'"),
        (["label,1,2", ",1,2"], "line 2: the label is empty"),
        (["label,1,2"], "holds no series"),
        ([], "is empty; it must begin with a header"),
        (["series,label", "1,a"], "the header names no column of values"),
        (["series,label,x", "1,a,1", "2,b,1", "1,a,2"], "line 4: series '1' goes on after another one began"),
        (["series,label,x", "1,a,1", "1,b,1"], "line 3: the label is 'b', and the series began with 'a'"),
        (["label,1,2", "a,1,2", "a,2,3"], "has a single class in training, 'a'"),
    ],
)
def test_mistakes_in_a_file_of_series(load, tmp_path, lines, says):
    path = written(tmp_path / "a.csv", lines)
    refused(load, says, "series_file", train=path, test=path)


def test_other_files_of_series_are_refused(load, tmp_path):
    refused(load, "dataset=series_file needs dataset.train=FILE.csv", "series_file")
    refused(load, "a.xlsx must be a file of series: .csv, .tsv, .ts", "series_file", train="a.xlsx")
    refused(load, "cannot read a.csv: No such file", "series_file", train="a.csv")


rng = np.random.default_rng(1)
X = rng.integers(0, 256, (30, 3, 10, 12), dtype=np.uint8)
Y = np.arange(30) % 3
MASK = np.zeros((30, 10, 12), dtype=bool)
MASK[:20, 2:4, 3:5] = True


def saved(path, **found):
    if path.suffix == ".npz":
        np.savez(path, **found)
    else:
        torch.save(
            {
                k: torch.from_numpy(v) if isinstance(v, np.ndarray) and v.dtype.kind != "U" else v
                for k, v in found.items()
            },
            path,
        )
    return str(path)


@pytest.mark.parametrize("name", ["a.npz", "a.pt"])
def test_images_with_masks_as_arrays(load, tmp_path, name):
    task = load("image_arrays", file=saved(tmp_path / name, x=X, y=Y, mask=MASK, classes=["a", "b", "c"]))
    assert task.class_names == ("a", "b", "c")
    assert [len(part) for part in (task.train, task.val, task.test)] == [18, 6, 6]
    for part in (task.train, task.val, task.test):
        np.testing.assert_array_equal(part.x, X[part.index])
        np.testing.assert_array_equal(part.y, Y[part.index])
        np.testing.assert_array_equal(part.mask, MASK[part.index])
        assert part.annotated.tolist() == (part.index < 20).tolist()
    assert "67 % annotated" in task.stamps
    train = X[task.train.index] / 255
    np.testing.assert_allclose(task.mean, train.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(task.std, train.std((0, 2, 3)), atol=1e-4)


def test_images_as_floats_with_colours_last_and_own_splits(load, tmp_path):
    x = (X / 255).transpose(0, 2, 3, 1)
    parts = {"train": slice(0, 15), "val": slice(15, 21), "test": slice(21, 30)}
    found = {f"{key}_{name}": {"x": x, "y": Y + 7}[key][own] for name, own in parts.items() for key in "xy"}
    task = load("image_arrays", file=saved(tmp_path / "a.npz", **found), channels="last")
    assert task.class_names == ("7", "8", "9")
    assert task.in_shape == (3, 10, 12)
    assert task.val.index.tolist() == list(range(15, 21))
    assert task.test.index.tolist() == list(range(9))
    np.testing.assert_allclose(task.test.x, X[21:] / 255, atol=1e-6)
    np.testing.assert_allclose(task.mean, (X[:15] / 255).mean((0, 2, 3)), atol=1e-4)
    assert not task.has_annotations
    assert not config_class("image_arrays")(file=str(tmp_path / "a.npz")).has_masks


def test_wrong_evidence_alone_makes_all_else_right(load, tmp_path):
    path = saved(tmp_path / "a.npz", x=X[:, 0], y=Y, wrong=MASK)
    assert config_class("image_arrays")(file=path).has_masks
    task = load("image_arrays", file=path)
    expected = np.where(MASK.any((1, 2))[:, None, None], ~MASK, False)
    np.testing.assert_array_equal(task.train.mask, expected[task.train.index])
    np.testing.assert_array_equal(task.train.wrong, MASK[task.train.index])


class Dangerous:
    def __reduce__(self):
        return print, ("never",)


BAD_ARRAYS = [
    ({"x": X}, "has no 'y'"),
    ({"x": X, "y": Y[:29]}, "'y' is (29,), and 'x' has 30 samples"),
    ({"x": X, "y": Y / 2}, "'y' is float64; labels are whole numbers or texts"),
    ({"x": X, "y": Y, "maks": MASK}, "'maks' is not understood. Did you mean 'mask'?"),
    ({"x": X, "y": Y, "mask": MASK[:, :5]}, "'mask' is bool (30, 5, 12); expected whole numbers (30, 10, 12)"),
    ({"x": X.astype(float), "y": Y}, "images range from 0 to 255; expected uint8, or floats in [0, 1]"),
    ({"x": X.astype(np.int64), "y": Y}, "images are int64; expected uint8"),
    ({"x": X.transpose(0, 2, 3, 1), "y": Y}, "with colours last say dataset.channels=last"),
    ({"x": X.repeat(2, 1)[:, :4].transpose(0, 2, 3, 1), "y": Y}, "with colours last say dataset.channels=last"),
    ({"x": X, "y": Y, "classes": ["a", "b", "a"]}, "'classes' names 'a' twice"),
    ({"x": X[0], "y": Y[:3]}, "no training image of class"),
    ({"x": X / 255 + np.where(np.arange(30) == 4, np.nan, 0)[:, None, None, None], "y": Y}, "images range from nan"),
    ({"x": X / 255 + np.where(np.arange(30) == 4, np.inf, 0)[:, None, None, None], "y": Y}, "the first in sample 4"),
    ({"x": X, "y": Y, "classes": ["a", "b"]}, "'classes' names 2, so labels must be 0 to 1"),
    ({"x": X, "y": 0 * Y}, "has 1 class in training"),
    ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "the test samples have the label '3'"),
    ({"x_train": X, "y_train": Y}, "a file holds x and y, or x_train"),
]


@pytest.mark.parametrize("case", range(len(BAD_ARRAYS)))
def test_mistakes_in_a_file_of_arrays(load, tmp_path, case):
    refused(load, BAD_ARRAYS[case][1], "image_arrays", file=saved(tmp_path / "a.npz", **BAD_ARRAYS[case][0]))


def test_files_that_are_no_arrays(load, tmp_path, capsys):
    refused(load, "dataset=image_arrays needs dataset.file=FILE.npz", "image_arrays")
    refused(load, "cannot read a.npz: there is no such file", "image_arrays", file="a.npz")
    refused(load, "must be a file of arrays", "image_arrays", file="a.csv")
    np.savez(tmp_path / "o.npz", x=X, y=np.array([Dangerous()] * 30, dtype=object))
    refused(load, "Object arrays cannot be loaded", "image_arrays", file=str(tmp_path / "o.npz"))
    torch.save({"x": Dangerous()}, tmp_path / "o.pt")
    refused(load, "cannot read", "image_arrays", file=str(tmp_path / "o.pt"))
    (tmp_path / "c.npz").write_bytes(b"PK no archive")
    refused(load, "cannot read", "image_arrays", file=str(tmp_path / "c.npz"))
    torch.save({"x": torch.zeros(30, 4, 4, dtype=torch.bfloat16), "y": torch.tensor(Y)}, tmp_path / "b.pt")
    refused(load, "Got unsupported ScalarType BFloat16", "image_arrays", file=str(tmp_path / "b.pt"))
    torch.save({"x": [[1], [1, 2]], "y": torch.tensor(Y)}, tmp_path / "r.pt")
    refused(load, "'x' is no array: its rows differ in length", "image_arrays", file=str(tmp_path / "r.pt"))
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("place", range(0, 700, 35))
def test_a_damaged_archive_is_refused_wherever_the_damage_is(load, tmp_path, place):
    np.savez_compressed(tmp_path / "a.npz", x=X, y=Y)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[place : place + 30] = bytes(byte ^ 0x5A for byte in content[place : place + 30])
    (tmp_path / "a.npz").write_bytes(content)
    refused(load, "a.npz: ", "image_arrays", file=str(tmp_path / "a.npz"))


def test_series_with_masks_as_arrays(load, tmp_path):
    mask = SERIES > 0.5
    mask[3] = False
    x = SERIES.copy()
    x[:, 5:] = np.nan  # nobody has the last step
    labels = np.array([k % 2 for k in range(10)])
    task = load(
        "series_arrays", file=saved(tmp_path / "a.pt", x=x, y=labels, mask=mask, classes=["z", "a"]), val_least=2
    )
    assert task.class_names == ("z", "a")
    assert task.in_shape == (5, 2)
    assert len(task.test) == 2
    known = {x[k, :5].astype(np.float32).tobytes(): k for k in range(10)}
    for part in (task.train, task.val, task.test):
        for row in range(len(part)):
            k = known[part.x[row].numpy().tobytes()]
            np.testing.assert_array_equal(part.mask[row], mask[k, :5])
            assert bool(part.annotated[row]) == (k != 3)
            assert int(part.y[row]) == labels[k]
    assert "90 % annotated" in task.stamps


def test_series_as_arrays_with_own_validation(load, tmp_path):
    labels = np.array([k % 2 for k in range(10)])
    parts = {"train": slice(0, 4), "val": slice(4, 6), "test": slice(6, 10)}
    found = {f"{key}_{name}": {"x": SERIES, "y": labels}[key][own] for name, own in parts.items() for key in "xy"}
    task = load("series_arrays", file=saved(tmp_path / "a.npz", **found))
    np.testing.assert_allclose(task.val.x, SERIES[4:6], rtol=1e-6)
    np.testing.assert_allclose(task.mean, SERIES[:4].mean((0, 1)), rtol=1e-5)
    assert task.val.index.tolist() == [4, 5]
