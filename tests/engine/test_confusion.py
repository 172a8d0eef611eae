import json

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from tests.engine.small import small_spec
from xfeedback.engine.confusion import INK, LEFT, TOP, confusion, confusion_picture, write_confusion
from xfeedback.engine.run import run_experiment


def test_counts_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    y, predicted = (torch.randint(0, 4, (200,), generator=generator) for _ in range(2))
    predicted[predicted == 2] = 0  # a class that is never predicted
    found = confusion(predicted, y, 5)  # and one that is not there at all
    np.testing.assert_array_equal(found, confusion_matrix(y, predicted, labels=range(5)))


def test_a_row_that_is_all_right_is_dark_on_the_diagonal_alone():
    sheet = np.array(confusion_picture(np.array([[3, 0], [1, 1]]), ["cat", "dog"]))
    corner = sheet[TOP + 2, LEFT + 2], sheet[TOP + 2, LEFT + 44 + 2]
    np.testing.assert_array_equal(corner[0], INK)
    assert corner[1].min() > 240


def test_nothing_is_written_where_nothing_was_counted(tmp_path):
    write_confusion(tmp_path, {}, ["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_a_hundred_classes_fit_a_picture():
    assert max(confusion_picture(np.eye(100, dtype=np.int64), [str(n) for n in range(100)]).size) < 800


def test_a_run_keeps_the_matrix_of_each_view(tmp_path):
    outcome = run_experiment(small_spec(tmp_path))
    found = json.loads((outcome.folder / "confusion.json").read_text())
    metrics = outcome.record["metrics"]
    assert found["views"][0] == "random"
    assert len(found["classes"]) == 10
    for view in found["views"]:
        counts = np.array(found["counts"][view])
        assert counts.sum() == 40
        np.testing.assert_allclose(100 * np.trace(counts) / counts.sum(), metrics[f"acc/{view}"])
    with Image.open(outcome.folder / "confusion.png") as picture:
        assert picture.size[0] > 360
