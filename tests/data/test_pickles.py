import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from xfeedback.data.pickles import load
from xfeedback.errors import UserError

PATH = Path("some/batch")


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_arrays_and_plain_values():
    value = {b"data": np.arange(12, dtype=np.uint8).reshape(3, 4), b"labels": [1, 2, 3], b"name": "x"}
    found = load(PATH, pickle.dumps(value, protocol=3))
    np.testing.assert_array_equal(found[b"data"], value[b"data"])
    assert found[b"labels"] == [1, 2, 3]


def test_python_2_text_is_bytes():
    assert load(PATH, b"(dp0\nS'labels'\np1\n(lp2\nI3\nas.") == {b"labels": [3]}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_is_refused_and_not_run(tmp_path, protocol):
    with pytest.raises(UserError, match="some/batch is refused") as caught:
        load(PATH, pickle.dumps({b"data": Touch(tmp_path / "owned")}, protocol=protocol))
    assert not (tmp_path / "owned").exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["builtins eval", "builtins getattr", "numpy load", "numpy.core.multiarray fromfile", "numpy ndarray.tofile"],
)
def test_other_names_are_refused(name):
    module, attribute = name.split()
    with pytest.raises(UserError, match="refused"):
        load(PATH, f"c{module}\n{attribute}\n.".encode())


def test_damage_is_one_line():
    whole = pickle.dumps({b"data": np.zeros((5, 5)), b"labels": list(range(1000))}, protocol=3)
    for content in (
        b"",
        b"no pickle at all",
        whole[:50],
        whole[: len(whole) // 2],
        whole[:-1],
        b"\x80\x03" + whole[9:],
    ):
        with pytest.raises(UserError, match="some/batch is damaged") as caught:
            load(PATH, content)
        assert "\n" not in str(caught.value)
