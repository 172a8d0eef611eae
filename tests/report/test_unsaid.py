"""Options that a run does not say: at their defaults since it is older than them, or since it left them there."""

from dataclasses import fields

import pytest

from tests.report.runfolders import Cell, write_run
from xfeedback.data import config_class
from xfeedback.engine.options import EvaluationConfig, TrainerConfig
from xfeedback.methods.lap import KnowledgeOptions
from xfeedback.report.cells import flatten
from xfeedback.report.collect import collect
from xfeedback.report.rows import build
from xfeedback.report.unsaid import completed


def rows(root, *cells: Cell):
    for cell in cells:
        write_run(root, cell, 0, maps=False, metrics={"acc/test": 50.0})
    (group,) = build(collect([root]).runs).groups
    return group.rows


def test_a_row_at_the_default_of_a_younger_option_says_so(tmp_path):
    cells = [Cell("rrr", {"weight": 2.0, **more}) for more in ({}, {"every_n_steps": 4})]
    found = rows(tmp_path, Cell("plain"), *cells)
    assert {row.label for row in found} == {"plain", "rrr (every_n_steps=1)", "rrr (every_n_steps=4)"}
    assert all("method.rrr.every_n_steps" not in row.options for row in found if row.method == "plain")


def test_rows_are_not_told_apart_by_what_means_the_same(tmp_path):
    cells = [Cell("rrr", {"weight": 2.0}), Cell("rrr", {"weight": 1.0, "every_n_steps": 1})]
    assert {row.label for row in rows(tmp_path, *cells)} == {"rrr (weight=2)", "rrr (weight=1)"}


def test_what_the_variant_decides_and_options_of_nobody_stay_unsaid():
    config = {"variant": "clean", "method": {"xbl": {"target": "label"}, "mine": {"a": 1}}}
    says = {"method": {"xbl": {"c_exp": 1.0}, "mine": {"a": 1, "b": 2}}}
    found = completed({"one": flatten(config), "two": flatten(says)})
    assert found["one"] == flatten(config)
    assert "variant" not in found["two"]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("trainer", TrainerConfig),
        ("evaluation", EvaluationConfig),
        ("dataset", config_class("cifar")),
        ("method.lap.loss", KnowledgeOptions),
        ("method.rrr", None),
    ],
)
def test_every_younger_option_has_the_default_of_its_kind(part, kind):
    """But for those that are no part of a cell, which are nowhere."""
    values = {f.name: f.default for f in fields(kind) if f.name in kind.younger} if kind else {"every_n_steps": 1}
    methods = {"lap": {"loss": {"black": 1.0}}, "rrr": {"weight": 1.0}}
    older = flatten({"dataset": {"name": "cifar"}, "method": methods})
    said = flatten({f"{part}.{name}": value for name, value in values.items()})
    found = completed({"older": older, "newer": {**older, **said}})
    assert found["older"] == found["newer"]
