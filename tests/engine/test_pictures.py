import io

import numpy as np
import pytest
from PIL import Image

from xfeedback.engine.pictures import CELL, GAP, GREEN, LEFT, RED, TEXT, run_picture, write_pictures

PITCH = CELL + GAP


def arrays(channels=1):
    mask, wrong = np.zeros((2, 32, 32), dtype=bool), np.zeros((2, 32, 32), dtype=bool)
    mask[:, 8:24, 8:24], wrong[:, :4, :4] = True, True
    heat = np.zeros((2, 32, 32), dtype=np.float16)
    heat[:, 8:24, 8:24] = 1
    return {
        "images": np.full((2, 32, 32, channels), 90, dtype=np.uint8),
        "label": np.array([0, 1]),
        "prediction": np.array([0, 0]),
        "index": np.array([5, 6]),
        "mask": mask,
        "wrong": wrong,
        "map/grad_cam": heat,
        "map/gradient": np.zeros_like(heat),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_input_annotation_and_explanations_stand_where_they_belong(channels):
    picture = np.array(run_picture(arrays(channels), ["zero", "one"]))
    assert picture.shape == (2 * TEXT + 3 * PITCH, LEFT + 2 * PITCH, 3)
    for left in (LEFT, LEFT + PITCH):
        shown, heat, flat = (picture[TEXT + r * PITCH :, left:][:CELL, :CELL] for r in range(3))
        assert tuple(shown[24, 48]) == GREEN
        assert tuple(shown[0, 5]) == RED
        assert tuple(shown[48, 48]) == (90, 90, 90)
        assert tuple(flat[48, 48]) == (90, 90, 90)
        assert heat[48, 48, 0] > 200
        assert tuple(heat[2, 90]) == (90, 90, 90)
    inks = [np.diff(picture[-TEXT:, LEFT + n * PITCH :][:, :PITCH].astype(int).sum((0, 1)))[0] for n in (0, 1)]
    assert inks[0] > 0 > inks[1]  # more green than red where the prediction is right, less where it is wrong


def test_arrays_and_picture_are_written(tmp_path):
    write_pictures(tmp_path, arrays(), ["zero", "one"])
    with np.load(tmp_path / "explanations.npz", allow_pickle=False) as found:
        assert {name: found[name].tolist() for name in found} == {name: v.tolist() for name, v in arrays().items()}
    Image.open(io.BytesIO((tmp_path / "explanations.png").read_bytes())).verify()
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_to_show_writes_nothing(tmp_path):
    write_pictures(tmp_path, {}, ["zero"])
    assert not list(tmp_path.iterdir())
