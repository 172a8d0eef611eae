"""Seeds that are trained as one leave what single runs leave."""

import json

import pytest
import torch

from tests.engine.small import small_spec
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.run import run_experiment
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.stacked.layers import CannotStackError
from xfeedback.engine.stacked.run import run_stack

SEEDS = (3, 4)


def specs(outputs, seeds=SEEDS, **parts) -> list[RunSpec]:
    parts = {"method": {"xbl": {}}, "optimiser": {"schedule": "cosine"}} | parts
    return [small_spec(outputs, seed=seed, **parts) for seed in seeds]


def history(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: float(value) for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same runs one by one and as one."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    return [run_experiment(spec) for spec in specs(alone)], run_stack(specs(together))


def test_the_folders_have_the_same_names_and_hold_the_same_files(both):
    for one, other in zip(*both, strict=True):
        assert (one.status, other.status) == ("done", "done")
        assert one.folder.name == other.folder.name
        names = [{str(path.relative_to(o.folder)) for path in o.folder.rglob("*")} for o in (one, other)]
        assert names[0] - {"checkpoints"} == names[1] - {"checkpoints"}


def test_results_histories_and_weights_are_those_of_single_runs(both):
    for one, other in zip(*both, strict=True):
        own = {name: value for name, value in one.record["metrics"].items() if not name.startswith("cost/")}
        assert other.record["metrics"] == pytest.approx(
            {**own, "cost/step_ratio": other.record["metrics"]["cost/step_ratio"]}, rel=1e-3, abs=1e-3
        )
        same = ("run", "cell", "seed", "stamps", "select_on", "selected_epoch", "epochs", "steps", "resumed")
        assert {key: one.record[key] for key in same} == {key: other.record[key] for key in same}
        for line, expected in zip(history(other.folder), history(one.folder), strict=True):
            assert line == pytest.approx(expected, rel=1e-4, abs=1e-6)
        found, wanted = (torch.load(o.folder / "weights.pt", weights_only=True) for o in (other, one))
        for name, weight in wanted.items():
            torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5)
