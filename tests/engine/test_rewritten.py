import os

import numpy as np

from tests.data.image_folders import splits, write
from tests.engine.small import small_spec
from xfeedback.engine import console, rewritten
from xfeedback.engine.run import run_experiment
from xfeedback.engine.sweep import plan

LINE = "note: {} was written after a run on it that is skipped; if its content has changed, force=true trains anew"


def test_a_file_that_was_written_after_a_run_is_said_where_the_run_is_skipped(tmp_path, capsys):
    file = tmp_path / "a.npz"
    rng = np.random.default_rng(0)
    np.savez(file, x=rng.random((40, 16, 16)), y=np.arange(40) % 2)
    spec = small_spec(tmp_path, dataset={"name": "image_arrays", "file": str(file)}, decoy={"name": "none"})

    def said():
        outcome = run_experiment(spec)
        capsys.readouterr()
        console.ended(spec, outcome)
        console.planned(plan([spec]))
        return outcome.status, capsys.readouterr().out.count(LINE.format(file))

    assert said() == ("done", 0)
    assert said() == ("skipped", 0)
    begun = (spec.folder / "provenance.json").stat().st_mtime
    os.utime(file, (begun + 5, begun + 5))
    assert said() == ("skipped", 2), "once by the run and once by the sweep"
    file.unlink()
    assert said() == ("skipped", 0)


def test_of_a_folder_its_lists_and_which_files_there_are_count(tmp_path):
    root = tmp_path / "own"
    for name in ("cat", "dog"):
        for i in range(5):
            write(root / "images" / name / f"{i}.png", np.full((16, 16), 20 * i))
    splits(root, train=["cat/0", "dog/0"], test=["cat/1", "dog/1"])
    outputs = root / "outputs"
    spec = small_spec(outputs, dataset={"name": "image_folder", "root": str(root), "size": 16}, decoy={"name": "none"})
    assert run_experiment(spec).status == "done"
    begun = (spec.folder / "provenance.json").stat().st_mtime
    (root / "own_notes.txt").write_text("")
    os.utime(root / "own_notes.txt", (begun + 5, begun + 5))
    assert rewritten.notes([spec]) == ()
    for path in (root / "splits" / "train.txt", root / "images" / "cat"):
        os.utime(path, (begun + 5, begun + 5))
        assert [line.split()[0] for line in rewritten.notes([spec, spec])] == [str(root)]
        os.utime(path, (begun - 5, begun - 5))
        assert rewritten.notes([spec]) == ()
