"""Jobs of a cluster that were lost: what becomes of their runs."""

from types import SimpleNamespace

import pytest

from tests.engine.small import small_spec
from xfeedback import files
from xfeedback.engine import launch, sweep
from xfeedback.engine.folder import RunFolder
from xfeedback.errors import Preempted


class Job:
    """A handle as submitit's."""

    def __init__(self, number, state="OUT_OF_MEMORY"):
        self.job_id, self.state = f"7_{number}", state
        self.paths = SimpleNamespace(folder=f"outputs/slurm/7_{number}")

    def done(self):
        return self.state != "UNKNOWN"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Three runs in a queue: one ends, one is lost, one has recorded its own failure."""
    specs = [small_spec(tmp_path, seed=seed) for seed in range(3)]
    plan = sweep.plan(specs)
    RunFolder(specs[2]).fail(ValueError("bad"), "its own reason")
    files.write_json(specs[0].folder / "result.json", {})
    jobs = [Job(0, "COMPLETED"), Job(1), Job(2, "FAILED")]
    monkeypatch.setattr(launch, "submitted", lambda *_: jobs)
    monkeypatch.setattr(launch, "_not_queued", lambda _: set())
    start = launch.starter(lambda _: [], "submitit_slurm", [])
    return specs, start(sweep.enqueue(plan))


def test_a_lost_job_is_recorded_with_its_state_and_where_its_logs_are(started):
    specs, stopped = started
    assert stopped is None
    record = files.read_json(specs[1].folder / "error.json")
    assert record["error"] == "job 7_1 was lost (OUT_OF_MEMORY); its logs: outputs/slurm/7_1"
    assert record["seed"] == 1


def test_a_job_that_ended_or_recorded_its_failure_is_left_as_it_is(started):
    specs, _ = started
    assert not (specs[0].folder / "error.json").exists()
    assert files.read_json(specs[2].folder / "error.json")["error"] == "its own reason"


def test_a_lost_job_whose_run_another_process_is_at_work_on_is_left_alone(tmp_path):
    spec = small_spec(tmp_path)
    (cell,) = sweep.enqueue(sweep.plan([spec]))
    with RunFolder(spec).opened():
        launch._wait([Job(0)], [cell], slurm=False)
    assert not (spec.folder / "error.json").exists()


def test_a_task_that_slurm_forgot_is_lost_after_two_looks_at_the_queue(tmp_path, monkeypatch):
    """Cancelled before its turn: the accounting has no line for it, and the queue has it no more."""
    spec = small_spec(tmp_path)
    (cell,) = sweep.enqueue(sweep.plan([spec]))
    answers = iter([("7_0", 0, ""), ("", 1, "slurm_load_jobs error: Unable to contact"), ("7_1", 0, ""), ("", 0, "")])
    asked = []

    def squeue(command, **_):
        assert command[0] == "squeue"
        out, code, error = next(answers)
        asked.append(out)
        return SimpleNamespace(stdout=out, returncode=code, stderr=error)

    monkeypatch.setattr(launch.subprocess, "run", squeue)
    monkeypatch.setattr(launch.time, "sleep", lambda _: None)
    monkeypatch.setattr(launch, "LOOK", -1.0)
    launch._wait([Job(0, "UNKNOWN")], [cell], slurm=True)
    assert len(asked) == 4
    error = files.read_json(spec.folder / "error.json")["error"]
    assert error == "job 7_0 was lost (no longer in the queue); its logs: outputs/slurm/7_0"


def test_a_run_that_was_told_to_stop_has_not_failed(tmp_path):
    folder = RunFolder(small_spec(tmp_path))
    folder.fail(Preempted(12), "stopped by SIGUSR2")
    assert folder.state(since=0.0) == "left"
    folder.fail(ValueError("bad"), "bad")
    assert folder.state(since=0.0) == "failed"


def test_a_job_gets_the_launcher_that_an_experiment_chose_and_the_path_of_its_cell(tmp_path):
    job = launch.jobs_of([tmp_path / "it's.yaml"], ["hydra/launcher=joblib"])
    assert job == [["hydra/launcher=joblib", f"+queued='{tmp_path}/it\\'s.yaml'"]]
    assert launch.jobs_of([tmp_path / "a.yaml"]) == [[f"+queued='{tmp_path}/a.yaml'"]]
