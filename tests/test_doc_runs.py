"""Every command of README and docs, typed: shortened by what `QUICK` says, in a copy of the repository.

`make test-slow ARGS="tests/test_doc_runs.py -n 2"`. The commands of the walkthroughs and worked examples are run as
they stand, by `test_walkthroughs.py` and `test_add_pages.py`, and those of the FAQ that must be refused by
`test_doc_commands.py`, which composes all others without training and belongs to `make test`.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.command import environment
from tests.conftest import ROOT
from tests.data.miniature import write_imagenet
from tests.data.test_imagenette import write_imagenette
from tests.models.test_huggingface import write_bert
from tests.test_doc_commands import EXAMPLES, FIRST
from tests.test_walkthroughs import BLOCK as DONE
from tests.test_walkthroughs import PAGES as WALKTHROUGHS

pytestmark = pytest.mark.slow

ON_CPU = "trainer.accelerator=cpu trainer.precision=32-true trainer.threads=1"
QUICK = f"debug=quick trainer.max_epochs=1 {ON_CPU} evaluation.explained=8 evaluation.faithfulness_samples=8"
"""What a command that trains has at its end."""
WALKED = "".join(text for page in WALKTHROUGHS for kind, text in DONE.findall(page.read_text()) if kind == "sh")
COLLECTED = {"test", "test-slow", "test-gpu", "slurm-test"}
"""Targets that run tests; here they are found and not run."""
MINIATURE = "dataset.declared_sizes=[[32,12]] dataset.val_per_class=2 dataset.size=32 dataset.short_side=36"

LEFT_OPEN = {
    "experiment=": "dataset.limit_train=100 dataset.limit_test=50",
    "experiment=lap/imagenet ": MINIATURE,
    "dataset=imagenet ": MINIATURE,
    "trainer=ddp": "trainer.devices=2",
    "experiment=lap/imagenette": "dataset.size=48",
    "experiment=saliency_guided/bird": "dataset.root=FOLDER dataset.size=64",
    "hydra/sweeper=optuna": "hydra.sweeper.n_trials=2",
    "hydra/launcher=submitit_slurm": "sweep.dry=true",
    "samples_per_class=": "dataset.limit_train=null",
    "experiment=challenger/": "dataset.limit_train=null",
    "report.diff": "--least 0",
    "phases=mistakes ": "phases.n=2",
    "experiment=xai_increment/clean": "phases.n=2",
    "experiment=xai_increment/paper": "phases.n=2",
}
"""What is added to a command that has these words."""
COSTLY = (
    ("method/xai_increment", "n_masks: null", "n_masks: 16"),
    ("method/xai_increment", "up_to: 10", "up_to: 4"),
    ("continual/ewc", "n: 4242", "n: 64"),
)
"""Defaults that take minutes on two cores, and what the copy of the repository has in their place."""
LACKING = {"logger=mlflow": "mlflow", "model=huggingface": "transformers"}
"""Optional packages that commands with these words need."""
SAID = {
    r"method=(\.\.\.|NAME)": "method=xbl",
    "plain,NAME": "plain,xbl",
    r"RUNS=\.\.\.": "RUNS=outputs",
    " --entity NAME": "",
    "/scratch/data": "scratch",
}
"""Names that a page leaves open, and what only somebody with an account can type."""


def shortened(line: str) -> str:
    """The command as it is typed here."""
    line = re.split(r"\s+#", line)[0]
    for left_open, said in SAID.items():
        line = re.sub(left_open, said, line)
    program, _, words = line.partition(" ")
    if program == "make":
        return shortened_target(words)
    added = [more for given, more in LEFT_OPEN.items() if given in f"{words} "]
    if trains(line):
        words = re.sub(r"\bseeds=\d+", "seeds=2", re.sub(r"\bseed=[\d,]+", "seed=0", words))
        added.append(QUICK)
    return " ".join([program, words, *added])


def trains(line: str) -> bool:
    options = re.match(r"(python run\.py|xfeedback) (?!data |explain|export|predict)", line)
    return options is not None and not re.search(r"--|sweep\.dry", line)


def shortened_target(words: str) -> str:
    """A target of the Makefile: tests are found and not run, timings are tried, the lock is looked at."""
    target = words.split(maxsplit=1)[0]
    arguments = {
        "run": f'ARGS="seed=0 {QUICK}"',
        "bench": 'ARGS="--quick"',
        **dict.fromkeys(COLLECTED, 'ARGS="--collect-only -q"'),
    }
    if target == "lock":
        return "make -n lock"
    return f"make {target} {arguments[target]}" if target in arguments else f"make {words}"


ELSEWHERE = re.compile(rf"\b({'|'.join(EXAMPLES)}|NAME=|new_method\.py)\b|xfeedback \w+$")
"""Worked examples, a name in a text and no command, and what `test_doc_commands.py` runs."""
COMMANDS = {
    shortened(line): page for line, page in sorted(FIRST.items()) if line not in WALKED and not ELSEWHERE.search(line)
}
"""What is typed, and a page that has it."""


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository: cheap defaults; experiments of one seed, one epoch, one value of what else is swept."""
    root = tmp_path_factory.mktemp("repository")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for path in (root / "conf" / "experiment").rglob("*.yaml"):
        text = re.sub(r"(trainer\.max_epochs=)\d+", r"\g<1>1", path.read_text())
        head, params, tail = text.partition("    params:\n")
        path.write_text(
            head + params + re.sub(r"^(      (?!method)[\w.]+: [^,\n]+),.*$", r"\1", tail, flags=re.MULTILINE)
        )
    for choice, default, few in COSTLY:
        path = root / "conf" / f"{choice}.yaml"
        assert default in path.read_text()
        path.write_text(path.read_text().replace(default, few))
    link_environment(root / ".venv")
    return root


def link_environment(place: Path) -> None:
    """This environment, as one that is up to date: installing there would change this one."""
    place.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".installed"):
            (place / entry.name).symlink_to(entry)
    torch_build = (place / ".torch").read_text().strip() if (place / ".torch").exists() else "locked"
    (place / f".installed-{torch_build}").touch()


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """A data folder: the real sets, and small generated ones in official layouts where they would be fetched."""
    root = tmp_path_factory.mktemp("data")
    for folder in shared_data.iterdir():
        (root / folder.name).symlink_to(folder)
    write_imagenette(root, "imagenette2-160", "imagenette")
    write_imagenet(root)
    return root


@pytest.fixture(scope="session")
def finished(repository: Path, stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of runs that have ended, for the commands that read them."""
    place = tmp_path_factory.mktemp("finished")
    link(repository, place)
    small = f"{QUICK} seed=0,1"
    type_in(f"python run.py -m method=plain,rrr,xbl dataset=decoy_digits {small}", place, stored)
    series = "dataset=ts_benchmark model=tcn evaluation.faithfulness=[relevance]"
    type_in(f"python run.py -m method=plain,saliency_guided {series} {small}", place, stored)
    return place / "outputs"


@pytest.fixture
def folder(repository: Path, stored: Path, tmp_path: Path) -> Path:
    """A folder as a person has it: the repository's files, and what the pages leave open."""
    link(repository, tmp_path)
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        for number in range(24):
            path = tmp_path / "FOLDER" / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = (
                rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
                if part == "images"
                else 255 * np.eye(24, dtype=np.uint8)
            )
            Image.fromarray(pixels).save(path)
    for name in ("PATH", "shapes"):
        (tmp_path / name).symlink_to(tmp_path / "FOLDER")
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(tmp_path / name)
    words = [(" ".join(rng.choice(list("abcdefgh"), 6)), "xy"[number % 2]) for number in range(60)]
    for name in ("train.tsv", "test.tsv"):
        (tmp_path / name).write_text(
            "text\tlabel\trationale\n" + "".join(f"{text}\t{label}\t110000\n" for text, label in words)
        )
    (tmp_path / "cells.txt").write_text("method=plain\nmethod=xbl\n")
    np.savez(tmp_path / "FILE.npz", x=rng.random((60, 3, 16, 16), dtype=np.float32), y=np.arange(60) % 2)
    series = rng.normal(size=(60, 2, 30)).astype(np.float32)
    torch.save({"x": torch.from_numpy(series), "y": torch.arange(60) % 2}, tmp_path / "FILE.pt")
    rows = [",".join(["ab"[number % 2], *(f"{value:.3f}" for value in one[0])]) for number, one in enumerate(series)]
    header = ",".join(["label", *map(str, range(30))])
    (tmp_path / "series.csv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path


def link(repository: Path, place: Path) -> None:
    for entry in repository.iterdir():
        if entry.name not in (".git", "outputs", "build"):
            (place / entry.name).symlink_to(entry)


def type_in(line: str, place: Path, data: Path) -> str:
    """Run a command in a folder and return what it printed; fails unless it ends well."""
    env = environment(
        PATH=f"{Path(sys.executable).parent}:{environment()['PATH']}",
        PYTHONPATH=str(place),
        PYTHONWARNINGS="ignore",
        XFEEDBACK_DATA=str(data),
        WANDB_MODE="offline",
        CUDA_VISIBLE_DEVICES="",
    )
    done = subprocess.run(
        line, shell=True, cwd=place, env=env, capture_output=True, text=True, timeout=1800, check=False
    )
    said = " ".join((done.stdout + done.stderr).split())
    if done.returncode and "source=official" in line and "downloading it failed" in said:
        pytest.skip("CIFAR-10 as published is downloaded, and there is no network")
    assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-2500:]}"
    return done.stdout


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: f"{COMMANDS[line]}: {line[:60]}")
def test_command_ends_well(line, folder, stored, request):
    for words, package in LACKING.items():
        if words in line:
            pytest.importorskip(package, reason=f"the optional package {package} is not installed")
    if line.startswith(("make ledger", "make table")) or "outputs/" in line:
        ended = request.getfixturevalue("finished")
        for name in ("outputs", "from-the-cluster", "../from-the-cluster"):
            shutil.copytree(ended, folder / name, dirs_exist_ok=True)
        line = line.replace("/NAME", f"/{next(ended.glob('runs/*xbl*')).name}")
    if "model=huggingface" in line:
        write_bert(folder / "FOLDER", positions=512)
    if "dataset=imagenet " in line:
        line = line.replace("FOLDER/Annotations/CLS-LOC", f"{stored}/boxes").replace("FOLDER", f"{stored}/imagenet")
    said = type_in(line, folder, stored)
    assert said or line in ("make docs", "make setup")
