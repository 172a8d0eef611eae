import json
import subprocess
import sys

import pytest

from tests.engine.small import small_spec
from xfeedback.engine.folder import BusyError, RunFolder
from xfeedback.errors import TrainingError, UserError


@pytest.fixture
def folder(tmp_path):
    return RunFolder(small_spec(tmp_path))


def names(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_a_good_run_ends_with_its_result(folder):
    with folder.opened():
        assert not folder.begun
        folder.begin({"git": None})
        assert folder.begun
        assert folder.result() is None
        folder.checkpoints.mkdir()
        (folder.checkpoints / "epoch-000001-x.ckpt").touch()
        written = folder.finish({"metrics": {"acc/test": 1.0}})
    result = folder.result()
    assert result == written
    assert {"dataset": "decoy_digits", "model": "gapnet", "method": "plain", "seed": 0}.items() <= result.items()
    assert {"status": "done", "run": folder.path.name, "cell": folder.spec.cell, "variant": "clean"}.items() <= (
        result.items()
    )
    assert names(folder.path) == [".lock", "checkpoints", "config.yaml", "provenance.json", "result.json"]


def test_a_failure_says_why_and_the_next_try_forgets_it(folder):
    try:
        raise TrainingError("the loss is not finite")
    except TrainingError as error:
        written = folder.fail(error, "one line")
    kept = json.loads((folder.path / "error.json").read_text())
    assert kept == written
    assert (kept["status"], kept["error"], kept["kind"]) == ("failed", "one line", "TrainingError")
    assert "test_folder.py" in kept["traceback"]
    assert folder.begun
    folder.begin({})
    assert not (folder.path / "error.json").exists()


def test_where_even_the_error_can_not_be_written_the_line_says_so(tmp_path):
    spec = small_spec(tmp_path / "file" / "x")
    (tmp_path / "file").touch()
    record = RunFolder(spec).fail(TrainingError("a"), "why")
    assert record["error"].startswith("why (error.json could not be written: ")


def test_one_process_at_a_time(folder):
    code = (
        "import fcntl, os, sys, time\n"
        f"handle = os.open({str(folder.path / '.lock')!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    folder.path.mkdir(parents=True)
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(BusyError, match="another process is at work on this run"), folder.opened():
            pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with folder.opened():
        pass


def test_an_error_inside_is_not_mistaken_for_a_lock(folder):
    with pytest.raises(BlockingIOError), folder.opened():
        raise BlockingIOError


def test_a_run_set_aside_is_kept_whole(folder):
    for number in range(2):
        folder.begin({"number": number})
        before = {path.name: path.read_bytes() for path in folder.path.iterdir()} | {".lock": b""}
        kept_in = folder.set_aside()
        assert not folder.path.exists()
        kept = sorted((folder.path.parents[1] / "superseded").iterdir())
        assert len(kept) == number + 1
        assert kept[-1] == kept_in
        assert {path.name: path.read_bytes() for path in kept[-1].iterdir()} == before


def test_a_run_that_is_being_trained_is_not_set_aside(folder):
    with folder.opened():
        folder.begin({})
        with pytest.raises(BusyError, match="another process is at work on this run"):
            folder.set_aside()
        assert folder.begun


def test_looking_whether_a_folder_can_be_written_makes_nothing(folder, tmp_path):
    folder.check()
    assert not list(tmp_path.iterdir())
    folder.begin({})
    folder.check()


@pytest.mark.parametrize("step", ["check", "opened", "begin", "set_aside"])
def test_a_folder_that_can_not_be_written_is_refused(step, folder, tmp_path):
    steps = {
        "check": folder.check,
        "opened": lambda: folder.opened().__enter__(),
        "begin": lambda: folder.begin({}),
        "set_aside": None,
    }
    if step == "set_aside":
        folder.begin({})
    (tmp_path / ("superseded" if step == "set_aside" else "runs")).touch()
    with pytest.raises(UserError, match=r"cannot write to .*: .* Choose another folder with paths\.outputs=FOLDER"):
        (steps[step] or folder.set_aside)()


def test_a_damaged_result_is_named(folder):
    folder.path.mkdir(parents=True)
    (folder.path / "result.json").write_text('{"metrics"')
    with pytest.raises(UserError, match=r"cannot read .*result\.json"):
        folder.result()
