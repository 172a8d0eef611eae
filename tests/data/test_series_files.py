"""Tables of series as other programs write them."""

import numpy as np
import pytest

from xfeedback.data.series_files import read
from xfeedback.errors import UserError


def same(found, other):
    return all(a.label == b.label and np.array_equal(a.values, b.values) for a, b in zip(found, other, strict=True))


def written(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_of_values_need_no_names(tmp_path):
    named = written(tmp_path / "a.csv", "1,label,2", "7,up,8", "9,down,1")
    plain = written(tmp_path / "b.csv", ",label,", "7,up,8", "9,down,1")
    assert same(read(named), read(plain))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (",label,1,2", "line 1: the first column has no name of its own"),
        ("Unnamed: 0,series,label,x", "line 1: the first column has no name of its own"),
        ("label,1,2,label", "line 1: several columns are called 'label'"),
    ],
)
def test_columns_that_would_be_taken_for_others_are_refused(tmp_path, header, says):
    with pytest.raises(UserError, match=says):
        read(written(tmp_path / "a.csv", header, "0,1,2,3", "1,2,3,4"))


def test_a_table_with_a_byte_order_mark_or_a_header(tmp_path):
    lines = ["1\t7\t8", "2\t9\t1"]
    plain = read(written(tmp_path / "a.tsv", *lines))
    assert same(read(written(tmp_path / "b.tsv", "\ufeff" + lines[0], lines[1])), plain)
    with pytest.raises(UserError, match=r"line 1 is a header, and a \.tsv file of series has none"):
        read(written(tmp_path / "c.tsv", "label\t1\t2", *lines))
