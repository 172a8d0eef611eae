"""Several seeds by their number: what is planned, what is refused, and the same folders whatever way they are run."""

import pytest

from tests.cli.command import DIGITS, measured, read, run
from xfeedback.command import composed, several
from xfeedback.engine.seeds import Seeds
from xfeedback.errors import UserError

QUIET = (*DIGITS, "trainer=cpu", "trainer.progress=false")


def test_a_number_of_seeds_is_a_sweep_of_each_row_from_the_given_seed_on(tmp_path):
    ended = run("method=plain,xbl", "seeds=2", "seed=5", "sweep.dry=true", *QUIET, cwd=tmp_path)
    lines = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert lines[0].startswith("4 cells (2 rows), 4 to run")
    named = [line.split("  ")[1] for line in lines if line.startswith("to run")]
    assert named == [f"{method} on decoy_digits, seed {seed}" for method in ("plain", "xbl") for seed in (5, 6)]


@pytest.mark.parametrize("count", [0, -1, "x", 2.5, True])
def test_other_numbers_of_seeds_are_refused_in_one_line(count):
    with pytest.raises(UserError, match=rf"^seeds={count} must be a whole number, 1 or more[^\n]*$"):
        Seeds.of({"seeds": count})


def test_other_ways_are_refused_with_the_nearest():
    with pytest.raises(
        UserError, match=r"^execution=vmpa must be one of auto, vmap, processes, serial\. Did you.*'vmap'"
    ):
        Seeds.of({"execution": "vmpa"})
    with pytest.raises(UserError, match="execution=vmap is a way to run several seeds: add seeds="):
        Seeds.of({"execution": "vmap"}).refuse_single()
    with pytest.raises(UserError, match="seeds=3 is several runs: add -m"):
        Seeds.of({"seeds": 3}).refuse_single()


def test_the_flag_for_several_runs_is_added_where_runs_are_asked_for():
    assert several(["seeds=3", "method=xbl"]) == ["seeds=3", "method=xbl", "-m"]
    assert several(["seed=0,1", "-m", "method=xbl"]) == ["seed=0,1", "method=xbl", "-m"]
    for typed in (
        ["seeds=3", "-m"],
        ["seeds=null"],
        ["method=xbl"],
        ["--cfg", "job", "seeds=3"],
        ["--help", "seeds=3"],
    ):
        assert several(typed) == typed


def test_seeds_and_execution_are_no_part_of_a_run():
    assert "seeds" not in composed([])
    assert composed(["seeds=4", "execution=vmap"]) == composed([])


@pytest.mark.slow
def test_as_one_program_and_in_processes_like_single_runs(tmp_path):
    """Two seeds as one, three in processes of which two are finished, and one alone in another folder."""
    joint = run("method=xbl", "seeds=2", "execution=vmap", *QUIET, cwd=tmp_path)
    assert joint.code == 0, joint.err
    assert "note: trained as one program with the seeds 0, 1 (execution=vmap)" in joint.out
    more = run("method=xbl", "seeds=4", "execution=processes", *QUIET, cwd=tmp_path, timeout=600)
    assert more.code == 0, more.err
    assert "4 cells (1 row), 2 finished before, 2 to run" in more.out
    (tmp_path / "alone").mkdir()
    for seed in (1, 3):
        assert run("method=xbl", f"seed={seed}", *QUIET, cwd=tmp_path / "alone").code == 0
    folders = sorted((tmp_path / "outputs" / "runs").iterdir())
    alone = sorted((tmp_path / "alone" / "outputs" / "runs").iterdir())
    assert [folder.name for folder in alone] == [folders[1].name, folders[3].name]
    assert measured(alone[1]) == measured(folders[3])
    wanted, found = (read(folder)["metrics"]["acc/random"] for folder in (alone[0], folders[1]))
    assert found == pytest.approx(wanted, abs=1.5)
