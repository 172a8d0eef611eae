import os

import numpy as np

from tests.engine.small import small_spec
from xfeedback.engine import console
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
