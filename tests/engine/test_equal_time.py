"""Plain training at equal time: as many epochs and a schedule as long as a longer run of plain has, bit for bit."""

import pytest
import torch

from tests.engine.small import small_spec
from xfeedback.engine.equal_time import lengthened
from xfeedback.engine.run import run_experiment


def spec(tmp_path, method, **parts):
    return small_spec(tmp_path, method=method, decoy={"name": "none"}, **parts)


@pytest.mark.parametrize(("factor", "epochs"), [(2.67, 5), (1.0, 2), (0.1, 1)])
def test_epochs_and_milestones_are_stretched(tmp_path, factor, epochs):
    step = {"name": "adam", "schedule": "step", "milestones": [1, 2]}
    asked = spec(tmp_path, {"plain_equal_time": {"time_factor": factor}}, optimiser=step)
    longer = lengthened(asked)
    assert longer.trainer.max_epochs == epochs
    assert longer.optimiser.milestones == tuple(max(1, round(m * factor)) for m in (1, 2))
    assert asked.trainer.max_epochs == 2
    first = spec(tmp_path, {"plain_equal_time": {"time_factor": factor}}, phases={"name": "classes", "base_epochs": 4})
    assert lengthened(first).phases.base_epochs == max(1, round(4 * factor))


def test_other_methods_are_left_alone(tmp_path):
    asked = spec(tmp_path, {"saliency_guided": {}})
    assert lengthened(asked) is asked


@pytest.mark.parametrize("schedule", [{"schedule": "cosine"}, {"schedule": "step", "milestones": [1]}])
def test_it_is_a_longer_run_of_plain_bit_for_bit(tmp_path, schedule):
    asked = spec(tmp_path, {"plain_equal_time": {"time_factor": 2.0}}, optimiser={"name": "adam", **schedule})
    stretched = {**schedule, "milestones": [2]} if "milestones" in schedule else schedule
    plain = spec(
        tmp_path, {"plain": {}}, optimiser={"name": "adam", **stretched}, trainer={"max_epochs": 4, "progress": False}
    )
    outcomes = [run_experiment(s) for s in (asked, plain)]
    assert [o.status for o in outcomes] == ["done", "done"]
    found, expected = (torch.load(o.folder / "weights.pt", weights_only=True) for o in outcomes)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    record = outcomes[0].record
    assert record["epochs"] == 4
    assert "control=equal_time" in record["stamps"]
    assert outcomes[0].folder == asked.folder


def test_a_factor_of_0_is_refused(tmp_path):
    with pytest.raises(Exception, match=r"method.plain_equal_time.time_factor=0.0 must be above 0"):
        spec(tmp_path, {"plain_equal_time": {"time_factor": 0.0}})
