"""Each experiment with attention pooling says how it is run, and every cell of its sweep is one that can work."""

import pytest

from tests.test_experiments import EXPERIMENTS, specs, swept

LAP = sorted(path.stem for path in (EXPERIMENTS / "lap").glob("*.yaml"))
CELLS = {"synthetic": 1, "markers": 5, "tiles": 6, "bccd": 3, "imagenette": 7, "imagenet": 3, "cifar": 5}


@pytest.mark.parametrize("name", LAP)
def test_header_and_cells(name):
    text = (EXPERIMENTS / "lap" / f"{name}.yaml").read_text()
    head = text.split("defaults:")[0]
    assert f"# command:  python run.py -m experiment=lap/{name}\n" in head
    assert all(f"\n# {word}" in head for word in ("hardware:", "time: ", "figures: "))
    assert len({cell.cell for cell in specs(f"lap/{name}")}) == CELLS[name]
    assert f"{CELLS[name] * len(swept(f'lap/{name}')['seed'])} runs" in head


def test_the_synthetic_experiment_is_without_markers():
    assert not specs("lap/synthetic")[0].decoy.on


def test_the_markers_mostly_tell_the_class():
    cells = specs("lap/markers")
    losses = [cell.methods["lap"].loss for cell in cells]  # type: ignore[attr-defined]
    assert [(loss.black, loss.black_margin) for loss in losses] == [(0, 0), (2, 10), (2, 10), (2, 10), (2, 0)]
    assert [cell.dataset.annotation.control for cell in cells] == ["none", "none", "torus", "shuffled", "none"]
    for cell in cells:
        assert (cell.decoy.on, cell.decoy.p, cell.decoy.code, cell.decoy.size) == (True, 0.95, "hue", 16)
