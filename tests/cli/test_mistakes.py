"""A mistake costs one line and no more: exit code, suggestion, and nothing written, through the real command line."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.command import DIGITS, Ended, listing, run

NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
MNIST = ("dataset=mnist", "decoy=corner", "model.width=4", "trainer.max_epochs=1", "paths.shared_data=[]")


def refuse(cwd: Path, *options: str, **extra: str) -> Ended:
    """Run a command that must be refused in one line, with nothing written."""
    before = listing(cwd)
    ended = run(*options, cwd=cwd, **extra)
    assert ended.code == 2, ended.err
    assert ended.line.startswith("error: ")
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert listing(cwd) == before
    return ended


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["method=xlb"], "unknown method 'xlb'. Did you mean 'xbl'? Choices: "),
        (["method=[xbl,plian]"], "unknown method 'plian'. Did you mean 'plain'?"),
        (["dataset=cifra"], "unknown dataset 'cifra'. Did you mean 'cifar'? Choices: "),
        (["model=gapnett"], "unknown model 'gapnett'. Did you mean 'gapnet'?"),
        (["trainer.max_epoch=3"], "unknown option 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'?"),
        (["method=xbl", "method.xbl.cexp=3"], "Did you mean 'method.xbl.c_exp'?"),
        (["method.xbl.c_exp=3"], "option 'method.xbl.c_exp' belongs to method=xbl, which is not chosen."),
        (["method=null"], "a group takes the name of a choice"),
        (["seed=0,1"], "seed=0,1 lists several values; add -m to compare them all"),
        (["trainer.max_epochs=-2"], "trainer.max_epochs=-2 must be 1 or more"),
        (["trainer.max_epochs=abc"], "trainer.max_epochs=abc must be an integer"),
        (["trainer.max_epochs=???"], "option 'trainer.max_epochs'"),
        (["paths.data=${oc.env:NOWHERE_AT_ALL}"], "option 'paths.data': "),
        (["trainer=ddp", "trainer.batch_size=63"], "trainer.batch_size=63 must be a multiple of devices (2)"),
        (["seed=abc"], "seed=abc must be an integer, 0 or more"),
        (["optimiser.lr=-1"], "optimiser.lr=-1.0 must be above 0"),
        (["+foo=1"], "unknown option 'foo'."),
        (["-m", "trainer.max_epochs=1,-2"], "trainer.max_epochs=-2 must be 1 or more"),
        (
            ["-m", "trainer=ddp,cpu"],
            "trainer=ddp starts processes of its own and can't be swept with hydra/launcher=basic",
        ),
        (["-m", "method=plain,xlb"], "unknown method 'xlb'. Did you mean 'xbl'?"),
    ],
)
def test_a_wrong_word_or_value_is_refused_at_once(options, says, tmp_path):
    ended = refuse(tmp_path, *options)
    assert says in ended.line
    print(f"\n{ended.seconds:.1f} s")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-m", "model.width=4,abc"], "model.width=abc must be an integer"),
        (["model.width=abc"], "model.width=abc must be an integer"),
        (["method=xbl", "decoy=none", "dataset=digits"], "method=xbl needs annotations and dataset=digits with decoy="),
        (["trainer=gpu"], "torch sees no GPU on this machine. Use trainer=cpu."),
        (["trainer.select_on=val_random"], "decoy_digits has no such validation set; it has none. Use last."),
        (["-m", "seed=0,1", "paths.outputs=/dev/null/x"], "cannot write to /dev/null/x/runs/"),
        (["paths.outputs=/dev/null/x"], "cannot write to /dev/null/x/runs/"),
    ],
)
def test_what_can_not_work_is_refused_before_training(options, says, tmp_path):
    assert says in refuse(tmp_path, *options, CUDA_VISIBLE_DEVICES="").line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "outputs").mkdir(mode=0o555)
    line = refuse(tmp_path).line
    assert "cannot write to outputs/runs/" in line
    assert "Choose another folder with paths.outputs=FOLDER." in line


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_a_data_set_that_is_nowhere_is_refused(place, tmp_path):
    if place == "empty":
        (tmp_path / place).mkdir()
    line = refuse(tmp_path, *MNIST, f"paths.data={place}", **NO_NETWORK).line
    assert line.startswith(f"error: no MNIST in {place}/MNIST/raw, and downloading it failed")
    assert "set XFEEDBACK_DATA to a folder that holds it" in line


def test_a_damaged_file_is_refused(shared_data, tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    shutil.copytree(shared_data / "MNIST" / "raw", raw)
    bad = raw / "t10k-images-idx3-ubyte.gz"
    bad.write_bytes(bad.read_bytes()[:20_000])
    line = refuse(tmp_path, *MNIST, **NO_NETWORK).line
    assert f"{bad.relative_to(tmp_path)} is damaged: " in line
    assert "download it anew, or restore the file" in line


def test_the_traceback_is_there_for_whoever_asks(tmp_path):
    ended = run("trainer.max_epochs=-2", cwd=tmp_path, XFEEDBACK_TRACEBACK="1")
    assert ended.code == 2
    assert ended.err.startswith("Traceback (most recent call last)")
    assert ended.err.strip().splitlines()[-1] == "error: trainer.max_epochs=-2 must be 1 or more"


def test_a_failure_in_training_ends_with_one_line_and_leaves_the_reason(tmp_path):
    options = (*DIGITS, "optimiser.lr=1e30", "trainer.progress=false")
    ended = run(*options, cwd=tmp_path)
    assert ended.code == 1
    assert ended.line.startswith("error: plain on decoy_digits, seed 0: the loss is not finite at epoch 0, step ")
    assert "Lower optimiser.lr" in ended.line
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    kept = {path.name for path in folder.iterdir()}
    assert kept == {".lock", "config.yaml", "provenance.json", "error.json"}


def test_a_mask_that_does_not_fit_is_one_line_and_trains_nothing(tmp_path):
    for name in ("cat", "dog"):
        for i in range(5):
            (tmp_path / "mine" / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (20, 20), i).save(tmp_path / "mine" / "images" / name / f"{i}.png")
    asked = ("dataset=image_folder", f"dataset.root={tmp_path / 'mine'}", "method=xbl")
    ended = run(*asked, cwd=tmp_path)
    assert ended.code == 2
    assert "object_mask=center" in ended.line
    (tmp_path / "mine" / "masks" / "cat").mkdir(parents=True)
    Image.new("L", (21, 20), 255).save(tmp_path / "mine" / "masks" / "cat" / "0.png")
    ended = run(*asked, cwd=tmp_path)
    assert ended.code == 2
    assert "masks/cat/0.png is 21x20" in ended.last
    assert not list(tmp_path.glob("outputs/runs/*/result.json"))
