"""The experiments of EWC: one cell is fine-tuning, the others differ from it in lambda alone."""

import pytest

from tests.conftest import ROOT
from tests.test_experiments import specs, swept


@pytest.mark.parametrize("name", ["split_digits", "split_mnist"])
def test_cells_differ_in_lambda_alone(name):
    cells, params = specs(f"continual/{name}"), swept(f"continual/{name}")
    assert [cell.continual and cell.continual.weight for cell in cells] == [
        None if weight == "0" else float(weight) for weight in params["continual.weight"]
    ]
    without = {key: value for key, value in cells[-1].identity().items() if key != "continual"}
    assert without == cells[0].identity()
    one = cells[0]
    assert (one.label, one.phases.name, one.phases.outputs, one.phases.count) == (name, "classes", "per_phase", 5)
    assert one.trainer.select_on == "last"
    head = (ROOT / "conf" / "experiment" / "continual" / f"{name}.yaml").read_text().split("defaults:")[0]
    assert f"# command:  python run.py -m experiment=continual/{name}\n" in head
    assert f"{len(cells) * len(params['seed'])} runs" in head
    assert all(f"\n# {word}" in head for word in ("hardware:", "time: ", "figures: "))
