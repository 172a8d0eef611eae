"""``data check`` finds what is there and every mistake, and what it says to type works; ``data prepare`` loads."""

import json
import shlex

import numpy as np
import pytest
from hydra.errors import MissingConfigException
from PIL import Image

from tests.cli.command import run
from tests.data.fakes import write_idx
from tests.data.sounds import write
from xfeedback import commands
from xfeedback.builder import explain
from xfeedback.command import composed
from xfeedback.commands import inspected
from xfeedback.commands.data import loaded
from xfeedback.errors import UserError


def checked(path, capsys):
    """What ``data check`` prints, by the first word of each line; the suggested command must load as it says."""
    assert commands.run(["data", "check", str(path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    said = {line[2:12].strip(): line[13:] for line in lines}
    for name in ("type", "compare"):
        options = [word for word in shlex.split(said.get(name, "")) if word.startswith(("dataset", "paths"))]
        if options:
            task = loaded(options)
            total = len(task.train) + len(task.test) + (len(task.val) if task.val is not None else 0)
            assert said["samples"].startswith(f"{total} in {task.n_classes} classes: ")
    return head, said


def problems(path, capsys):
    with pytest.raises(UserError) as caught:
        commands.run(["data", "check", str(path)])
    assert "\n" not in str(caught.value)
    found = [line[13:] for line in capsys.readouterr().out.splitlines() if line.startswith("  wrong ")]
    assert f"has {len(found)} problem" in str(caught.value)
    return found


def pictures(root, names=("cat", "dog"), n=5, masks=0):
    rng = np.random.default_rng(0)
    for name in names:
        for number in range(n):
            for kind in ("images", "masks") if number < masks else ("images",):
                (root / kind / name).mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 256, (20, 16 + number), dtype=np.uint8)
                Image.fromarray(pixels if kind == "images" else 255 * (pixels > 128).astype(np.uint8)).save(
                    root / kind / name / f"{number}.png"
                )
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_images_with_masks(tmp_path, capsys):
    head, said = checked(pictures(tmp_path / "my pets", masks=3), capsys)
    assert head.endswith("my pets: images in class folders with masks, dataset=image_folder")
    assert said["samples"] == "10 in 2 classes: cat 5, dog 5"
    assert said["annotated"] == "6 of 10 (60 %)"
    assert said["sizes"] == "16x20 to 20x20"
    assert {"xbl", "rrr", "plain"} <= set(said["methods"].split(", "))
    assert "method=xbl dataset=image_folder" in said["type"]


@pytest.mark.parametrize(
    "name", ["data (1)", "x,y=z", "d'q", "J\u00fcrgens Daten", 'a"b', "plain", "two words", "a&b#c"]
)
def test_what_to_type_is_understood_whatever_the_folder_is_called(tmp_path, capsys, name):
    _, said = checked(pictures(tmp_path / name), capsys)
    options = [word for word in shlex.split(said["type"]) if word.startswith("dataset")]
    assert composed(options)["dataset"]["root"] == str(tmp_path / name)


def test_images_without_masks(tmp_path, capsys):
    _, said = checked(pictures(tmp_path / "pets"), capsys)
    assert said["annotated"] == "none"
    assert "xbl" in said["need masks"].split(", ")
    assert "xbl" not in said["methods"].split(", ")
    assert "method=saliency_guided" in said["type"]


def test_every_mistake_in_a_folder_of_images_is_named(tmp_path, capsys):
    root = pictures(tmp_path / "pets", masks=2)
    (root / "images" / "cat" / "4.png").write_bytes(b"no picture")
    Image.new("L", (30, 30), 255).save(root / "masks" / "dog" / "0.png")
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20) % 100).resize((17, 20)).save(
        root / "masks" / "dog" / "1.png"
    )
    found = problems(root, capsys)
    assert len(found) == 3
    for part in ("cat/4.png", "masks/dog/0.png is 30x30", "masks/dog/1.png"):
        assert any(part in line for line in found), part
    Image.new("L", (16, 20), 255).save(root / "masks" / "dog" / "9.png")
    assert any("masks/dog/9.png has no image" in line for line in problems(root, capsys))


def test_what_is_left_out_and_what_is_there_twice_is_said(tmp_path, capsys):
    root = pictures(tmp_path / "pets")
    (root / "images" / "cat" / "notes.txt").write_text("")
    (root / "images" / "cat" / "7.png").write_bytes((root / "images" / "dog" / "1.png").read_bytes())
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, exif in (("turned", turned), ("not", Image.Exif())):
        Image.new("RGB", (8, 8)).save(root / "images" / "cat" / f"{name}.jpg", exif=exif)
    commands.run(["data", "check", str(root)])
    out = capsys.readouterr().out
    assert "1 image(s) are turned by viewers (EXIF orientation)" in out
    assert "1 file(s) are left out" in out
    assert "1 group of files with the same content in several classes, e.g. " in out
    assert "cat/7.png" in out


def test_images_without_a_bright_level_are_counted(tmp_path, capsys):
    root = pictures(tmp_path / "pets")
    levels = np.linspace(0, 4095, 64).reshape(8, 8)
    for name, scale in (("12bit", 1), ("16bit", 16)):
        Image.fromarray((levels * scale).astype(np.uint16)).save(root / "images" / "cat" / f"{name}.tif")
    commands.run(["data", "check", str(root)])
    assert "1 image(s) have no level above 31 of 255" in capsys.readouterr().out


def test_clips(tmp_path, capsys):
    for word in ("no", "yes"):
        for number in range(5):
            write(tmp_path / "words" / word / f"{number}.wav", seconds=0.3, rate=8_000 if number else 16_000)
    head, said = checked(tmp_path / "words", capsys)
    assert head.endswith("clips in word folders, dataset=audio_folder")
    assert said["rates"] == "8000, 16000 samples a second"
    assert said["splits"] == "train 6, validation 2, test 2"
    (tmp_path / "words" / "no" / "1.wav").write_bytes(b"")
    (tmp_path / "words" / "yes" / "1.wav").write_bytes(b"RIFF")
    (tmp_path / "words" / "maybe").mkdir()
    found = problems(tmp_path / "words", capsys)
    assert len(found) == 3
    assert any("maybe has no .wav file" in line for line in found)


def test_texts(tmp_path, capsys):
    entries = [{"text": f"a {'good' if k % 2 else 'bad'} film", "label": k % 2} for k in range(20)]
    entries[1]["rationale"] = [[2, 6]]
    path = tmp_path / "films.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)))
    head, said = checked(path, capsys)
    assert head.endswith("texts with rationales, dataset=text_file")
    assert said["annotated"] == "1 of 20 (5 %)"
    assert "rrr" in said["methods"]
    entries[3] = {"text": "no label"}
    entries[5]["rationale"] = [[50, 60]]
    path.write_text("\n".join(map(json.dumps, entries)))
    found = problems(path, capsys)
    assert [line.split(":")[0].rpartition("line ")[2].split()[0] for line in found] == ["4", "6"]


def test_series_and_arrays(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(20, 4)).round(2)
    rows = [",".join(map(str, [f"c{k % 2}", *one])) for k, one in enumerate(x)]
    path = tmp_path / "s.csv"
    path.write_text("label,1,2,3,4\n" + "\n".join(rows))
    head, said = checked(path, capsys)
    assert head.endswith("s.csv: series, dataset=series_file")
    assert said["shape"] == "4x1"
    np.savez(tmp_path / "s.npz", x=x, y=np.arange(20) % 2)
    assert checked(tmp_path / "s.npz", capsys)[0].endswith("series as arrays, dataset=series_arrays")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 9, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "i.npz", x=pixels, y=np.arange(20) % 2, mask=pixels[..., 0] > 9)
    head, said = checked(tmp_path / "i.npz", capsys)
    assert head.endswith("images as arrays, dataset=image_arrays")
    assert "dataset.channels=last" in said["type"]
    assert said["annotated"] == "20 of 20 (100 %)"
    path.write_text("label,1,2\na,1,inf\nb,,\n")
    found = problems(path, capsys)
    assert len(found) == 2
    np.savez(tmp_path / "i.npz", x=pixels, y=np.arange(19))
    assert "'y' is (19,)" in problems(tmp_path / "i.npz", capsys)[0]


def test_a_set_of_an_archive(tmp_path, capsys):
    for part in ("TRAIN", "TEST"):
        (tmp_path / "Mine").mkdir(exist_ok=True)
        (tmp_path / "Mine" / f"Mine_{part}.tsv").write_text("".join(f"{k % 2}\t{k}\t{k + 1}\n" for k in range(10)))
    head, said = checked(tmp_path / "Mine", capsys)
    assert head.endswith("a set of the UCR archive, dataset=ucr")
    assert "dataset.problem=Mine" in said["type"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "there is no such file or folder"),
        (lambda path: path.mkdir(), "nothing in it is understood"),
        (lambda path: path.write_text("x"), "is of no kind that is understood"),
        (lambda path: (pictures(path.with_name("a")) / "images").rename(path), "must stand in a folder images/: mkdir"),
    ],
)
def test_what_is_not_understood(tmp_path, make, says):
    make(tmp_path / "thing")
    with pytest.raises(UserError) as caught:
        inspected.inspect(tmp_path / "thing")
    assert says in str(caught.value)


def test_prepare_loads_by_the_real_reader(tmp_path):
    folder = tmp_path / "data" / "MNIST" / "raw"
    write_idx(folder)
    options = ("paths.data=data", "paths.shared_data=[]", "dataset.declared_sizes=[[40,20]]")
    ended = run("data", "prepare", "mnist", *options, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("mnist: ready, 36 / 4 / 20 to train, validate and test, of 1x28x28 in 10 classes; ")
    assert not list(tmp_path.glob("outputs/runs"))
    (broken,) = folder.glob("t10k-images*")
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(UserError, match="t10k-images"):
        commands.run(["data", "prepare", "mnist", *options])
    with pytest.raises(MissingConfigException) as caught:
        commands.run(["data", "prepare", "cifra"])
    assert "unknown dataset 'cifra'. Did you mean 'cifar'?" in str(explain(caught.value))
    with pytest.raises(UserError, match="name a data set"):
        commands.run(["data", "prepare", "paths.data=data"])
