"""Nothing of the test set is looked at before the final scoring."""

from dataclasses import fields
from typing import Any

import pytest

from tests.engine.small import small_spec
from xfeedback.data.task import Split
from xfeedback.engine import run as engine

HELD = frozenset(field.name for field in fields(Split)) - {"fixed"}
DATA = {"name": "lap_synthetic", "train": 48, "val": 24, "test": 24}


@pytest.mark.parametrize("method", ["plain", "xbl"])
@pytest.mark.parametrize("select_on", ["auto", "last"])
def test_no_part_of_the_test_set_is_read_before_it_is_scored(tmp_path, monkeypatch, method, select_on):
    seen: list[str] = []

    class Spied(Split):
        def __getattribute__(self, name: str) -> Any:
            if name in HELD:
                seen.append(name)
            return super().__getattribute__(name)

        def __len__(self) -> int:
            return count  # how many there are may be known

    def load(spec: engine.RunSpec) -> engine.Task:
        nonlocal count
        task = load_task(spec)
        count = len(task.test)
        task.test = Spied(**{field.name: getattr(task.test, field.name) for field in fields(Split)})
        seen.clear()
        return task

    def scored(*arguments: Any) -> Any:
        before.extend(seen)
        return measure(*arguments)

    load_task, measure, before, count = engine.load_task, engine.measure, [], 0
    monkeypatch.setattr(engine, "load_task", load)
    monkeypatch.setattr(engine, "measure", scored)
    trainer = {"max_epochs": 2, "batch_size": 16, "threads": 1, "progress": False, "select_on": select_on}
    spec = small_spec(tmp_path, dataset=DATA, decoy={"name": "none"}, method={method: {}}, trainer=trainer)
    outcome = engine.run_experiment(spec)
    assert outcome.status == "done"
    assert before == []
    assert {"x", "y"} <= set(seen)
