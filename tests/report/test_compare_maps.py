import importlib.util
from pathlib import Path

import numpy as np
import pytest

from xfeedback.errors import UserError

SCRIPT = Path(__file__).parents[2] / "scripts/compare_maps.py"
spec = importlib.util.spec_from_file_location("compare_maps", SCRIPT)
assert spec is not None
assert spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def explanations(folder: Path, value: float, index=(3, 4)) -> Path:
    folder.mkdir()
    arrays = {
        "images": np.zeros((2, 8, 8, 1), np.uint8),
        "label": np.array([0, 1]),
        "prediction": np.array([0, 0]),
        "index": np.array(index),
        "map/grad_cam": np.full((2, 8, 8), value, np.float16),
    }
    np.savez(folder / "explanations.npz", **arrays)
    return folder


def test_the_same_places_of_other_images_are_other_images(tmp_path):
    runs = {"a": explanations(tmp_path / "a", 0.25), "b": explanations(tmp_path / "b", 0.75)}
    with np.load(runs["b"] / "explanations.npz") as file:
        arrays = dict(file)
    arrays["images"][0, :4, :4] = 255  # a larger patch
    np.savez(runs["b"] / "explanations.npz", **arrays)
    with pytest.raises(UserError, match="other test images"):
        script.combined(runs, "grad_cam")


def draw(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["compare_maps.py", *arguments])
    return script.main()


def test_each_run_gives_a_map_of_its_own(tmp_path, monkeypatch):
    runs = {"plain": explanations(tmp_path / "a", 0.25), "xbl": explanations(tmp_path / "b", 0.75)}
    arrays = script.combined(runs, "grad_cam")
    assert [name for name in arrays if name.startswith("map/")] == ["map/plain", "map/xbl"]
    assert arrays["map/plain"].max() == 0.25
    assert arrays["map/xbl"].min() == 0.75
    out = tmp_path / "out.png"
    assert draw(monkeypatch, str(out), *(f"{name}={folder}" for name, folder in runs.items())) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("explainer", "index", "message"),
    [("lime", (3, 4), "no explanations by lime"), ("grad_cam", (3, 5), "other test images")],
)
def test_what_can_not_be_compared_is_named(tmp_path, monkeypatch, capsys, explainer, index, message):
    first, second = explanations(tmp_path / "a", 0.25), explanations(tmp_path / "b", 0.5, index)
    assert draw(monkeypatch, str(tmp_path / "out.png"), f"a={first}", f"b={second}", explainer) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
