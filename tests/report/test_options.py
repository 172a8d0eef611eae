"""The table of what differs between the rows."""

import re

import yaml

from tests.report.runfolders import Cell, write_run
from xfeedback.config import CONF
from xfeedback.report.collect import collect
from xfeedback.report.options import differing_options, options
from xfeedback.report.rows import Group, build
from xfeedback.report.unsaid import defaults

ABSENT = "\N{EN DASH}"


def group_of(root, *cells) -> Group:
    for cell in cells:
        write_run(root, cell, 0, maps=False, metrics={"acc/test": 50.0})
    (group,) = build(collect([root]).runs).groups
    return group


def table(group) -> list[list[tuple[str, str]]]:
    """Class and text of each cell, line by line."""
    html = options(group, {row.label: 0 for row in group.rows})
    lines = html.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]
    return [re.findall(r'<td class="(\w+)">(.*?)</td>', line) for line in lines]


def test_only_what_differs_and_a_method_is_compared_with_itself(tmp_path):
    fast = {"optimiser": {"name": "adam", "lr": 0.1}}
    cells = (
        Cell("plain"),
        Cell("xbl", {"c_exp": 1.0, "guided": True}),
        Cell("xbl", {"c_exp": 9.0, "guided": True}, extra=fast),
    )
    group = group_of(tmp_path, *cells, Cell("rrr", {"weight": 3.0}))
    assert differing_options(group) == ["optimiser.lr", "method.xbl.c_exp"]
    by_row = dict(zip((row.label for row in group.rows), table(group), strict=True))  # more rows than options
    assert by_row["plain"] == [("usual", "0.003"), ("usual", ABSENT)]
    rates = {line[0] for label, line in by_row.items() if label.startswith("xbl")}
    assert rates == {("usual", "0.003"), ("own", "0.1")}
    assert by_row["rrr"] == [("usual", "0.003"), ("usual", ABSENT)]


def test_few_rows_stand_side_by_side(tmp_path):
    extra = {"trainer": {"max_epochs": 9, "precision": "16", "batch_size": 8}}
    group = group_of(tmp_path, Cell("plain"), Cell("xbl", extra=extra))
    assert differing_options(group) == ["trainer.max_epochs", "trainer.precision", "trainer.batch_size"]
    assert table(group) == [
        [("usual", "6"), ("own", "9")],
        [("usual", "32"), ("own", "16")],
        [("usual", ABSENT), ("own", "8")],
    ]


def test_nothing_differs(tmp_path):
    group = group_of(tmp_path, Cell("plain"), Cell("xbl", {"c_exp": 1.0}))
    assert "the same in all rows" in options(group, {"plain": 0, "xbl": 1})


def test_options_of_a_method_are_muted_where_they_are_as_in_conf(tmp_path):
    written = yaml.safe_load((CONF / "method" / "xbl.yaml").read_text())["xbl"]
    known = defaults("xbl")
    assert known["xbl.target"] == written["target"]
    assert known["xbl.c_exp"] is None  # the variant decides
    group = group_of(tmp_path, Cell("xbl", {"target": written["target"], "metric": "cityblock", "c_exp": 30.0}))
    html = options(group, {"xbl": 0})
    found = re.findall(r'<code class="(\w+)">(.*?)</code>', html)
    assert found == [
        ("own", "xbl.metric=cityblock"),
        ("own", "xbl.c_exp=30"),
        ("usual", f"xbl.target={written['target']}"),
    ]
    assert defaults("of_somebody_else") == {}
