"""Rows, differences, verdicts, and the stable CSV."""

import csv
import io

import pytest

from tests.report.runfolders import Cell, standard, write_run, write_runs
from xfeedback import papers
from xfeedback.errors import UserError
from xfeedback.report.cells import labels
from xfeedback.report.collect import collect
from xfeedback.report.findings import findings
from xfeedback.report.metrics import ordered
from xfeedback.report.rows import Comparison, build
from xfeedback.report.tables import COLUMNS, long_csv, markdown
from xfeedback.report.words import is_best, judge, signed

GOLDEN = """\
dataset,model,method,metric,mean,sd,ci_low,ci_high,n_seeds,published,verdict,boot_low,boot_high
decoy_digits,gapnet,plain,acc/random,11,1,8.51586,13.4841,3,,not published,,
decoy_digits,gapnet,plain,acc/clean,90,0,90,90,3,,not published,,
decoy_digits,gapnet,plain,explanation/inside,20,,,,1,,not published,,
decoy_digits,gapnet,plain,cost/step_ratio,1,0,1,1,3,,not published,,
decoy_digits,gapnet,plain,cost/step_ms,4,2,-0.968275,8.96828,3,,not published,,
decoy_digits,gapnet,xbl,acc/random,93,1.41421,80.2938,105.706,2,,\
"not published; +82.5 [76.1, 88.9] over plain, p 0.0039",,
decoy_digits,gapnet,xbl,acc/clean,90.5,0.707107,84.1469,96.8531,2,,\
"not published; no difference from plain shown (+0.5 [-5.9, 6.9], p 0.5)",,
decoy_digits,gapnet,xbl,cost/step_ratio,2.25,0.353553,-0.926551,5.42655,2,,not published,,
decoy_digits,gapnet,xbl,cost/step_ms,7,4.24264,-31.1186,45.1186,2,,not published,,
decoy_digits,gapnet,xbl,status,,,,,1,,"failed: loss became nan (term=xbl/exp, step=12) (1 of 3 seeds)",,
decoy_digits,gapnet,rrr,status,,,,,2,,failed: no memory (2 of 3 seeds),,
decoy_digits,gapnet,rrr,status,,,,,1,,unfinished (1 of 3 seeds),,
"""


def _numbers(random, clean, cost, **more):
    return {"acc/random": random, "acc/clean": clean, "cost/step_ms": cost, **more}


def _golden_runs(root):
    """Worked by hand: t(0.975) is 12.706205 for one degree of freedom and 4.302653 for two."""
    plain, xbl, rrr = Cell("plain"), Cell("xbl", {"c_exp": 10.0}), Cell("rrr", {"weight": 1.0})
    return [
        write_run(root, xbl, 0, maps=False, metrics=_numbers(92.0, 90.0, 4.0)),  # cost 4 / 2
        write_run(root, xbl, 1, maps=False, metrics=_numbers(94.0, 91.0, 10.0)),  # cost 10 / 4
        write_run(root, xbl, 2, "failed"),
        write_run(root, rrr, 0, "failed", error="no\n memory"),
        write_run(root, rrr, 1, "failed", error="no memory"),
        write_run(root, rrr, 2, "unfinished"),
        write_run(root, plain, 0, maps=False, metrics=_numbers(10.0, 90.0, 2.0, **{"explanation/inside": 20.0})),
        write_run(root, plain, 1, maps=False, metrics=_numbers(11.0, 90.0, 4.0)),
        write_run(root, plain, 2, maps=False, metrics=_numbers(12.0, 90.0, 6.0)),
    ]


def _comparison(root, **kwargs) -> Comparison:
    found = collect([root])
    return build(found.runs, warnings=found.warnings, **kwargs)


def test_golden_csv(tmp_path):
    comparison = build(collect(_golden_runs(tmp_path)).runs)
    assert long_csv(comparison) == GOLDEN
    assert tuple(next(csv.reader(io.StringIO(GOLDEN)))) == COLUMNS


def test_the_baseline_comes_first_then_the_order_given(tmp_path):
    folders = write_runs(tmp_path, [standard()[i] for i in (3, 2, 0, 1)], maps=False)
    assert [row.method for row in build(collect(folders).runs).rows] == ["plain", "saliency_guided", "xbl", "rrr"]


def test_cost_ratio_is_paired_by_seed_within_data_set_and_model(tmp_path):
    cost = {("plain", "a"): {0: 2.0, 1: 8.0}, ("plain", "b"): {0: 100.0}, ("xbl", "a"): {0: 3.0, 1: 4.0, 2: 99.0}}
    for (method, dataset), by_seed in cost.items():
        for seed, value in by_seed.items():
            write_run(tmp_path, Cell(method, dataset=dataset), seed, maps=False, metrics={"cost/step_ms": value})
    rows = {(row.method, row.dataset): row for row in _comparison(tmp_path).rows}
    assert rows["xbl", "a"].values["cost/step_ratio"] == {0: 1.5, 1: 0.5}
    assert rows["plain", "b"].summaries["cost/step_ratio"].mean == 1.0


def test_each_row_meets_the_baseline_with_its_own_options(tmp_path):
    for rate, base, ours in ((0.1, 10.0, 20.0), (0.01, 50.0, 51.0)):
        extra = {"optimiser": {"lr": rate}}
        write_run(tmp_path, Cell("plain", extra=extra), 0, maps=False, metrics={"acc/test": base})
        write_run(tmp_path, Cell("xbl", {"c_exp": 1.0}, extra=extra), 0, maps=False, metrics={"acc/test": ours})
    rows = {row.label: row for row in _comparison(tmp_path).rows}
    assert rows["xbl (lr=0.1)"].differences["acc/test"].mean == 10.0
    assert rows["xbl (lr=0.01)"].differences["acc/test"].mean == 1.0


def test_another_baseline_and_an_unknown_one(tmp_path):
    write_runs(tmp_path, standard()[:3], maps=False)
    comparison = _comparison(tmp_path, baseline="rrr")
    assert comparison.rows[0].method == "rrr"
    assert set(comparison.rows[0].differences) == set()
    assert judge(comparison.rows[1], "acc/random", "rrr").verdict.endswith("relative to rrr, p < 0.001")
    with pytest.raises(UserError, match=r"unknown baseline 'rr'\. Did you mean 'rrr'"):
        _comparison(tmp_path, baseline="rr")


def test_without_plain_there_are_no_differences(tmp_path):
    write_runs(tmp_path, [standard()[2]], maps=False)
    comparison = _comparison(tmp_path)
    assert judge(comparison.rows[0], "acc/random", "plain").verdict == "not published"
    assert "cost/step_ratio" not in comparison.rows[0].summaries
    assert "nothing to compare with" in findings(comparison.groups[0], "plain")[0]


def test_labels_name_what_differs():
    one, ten = {"method.xbl.c_exp": "1", "optimiser.lr": "1"}, {"method.xbl.c_exp": "10", "optimiser.lr": "1"}
    assert labels("xbl", {"a": one}) == {"a": "xbl"}
    assert labels("xbl", {"a": one, "b": ten}) == {"a": "xbl (c_exp=1)", "b": "xbl (c_exp=10)"}
    clash = labels("m", {"a": {"m.x.lr": "1", "o.lr": "2"}, "b": {"m.x.lr": "2", "o.lr": "3"}})
    assert clash == {"a": "m (x.lr=1, o.lr=2)", "b": "m (x.lr=2, o.lr=3)"}
    same = labels("xbl", {"aaaaaaaa": one, "bbbbbbbb": one})
    assert same == {"aaaaaaaa": "xbl (aaaaaa)", "bbbbbbbb": "xbl (bbbbbb)"}
    many = labels("xbl", {f"{n}{n}": dict.fromkeys("abcd", str(n // 2)) | {"e": str(n)} for n in range(4)})
    assert len(set(many.values())) == 4
    assert all("+2 more" in label for label in many.values())


def _publish(monkeypatch, value, **changes):
    shared = {"paper": "p", "block": "b", "unit": "%", "source": "s", "note": None, "origin": "paper"}
    cell = papers.Published(
        dataset="decoy_digits", method="xbl", metric="acc/random", value=value,
        **{"protocol": None, "not_comparable": None, **shared, **changes},
    )  # fmt: skip
    monkeypatch.setattr(papers, "_index", lambda: {("decoy_digits", "xbl", "acc/random"): [cell]})


@pytest.mark.parametrize(
    ("value", "changes", "stamps", "verdict"),
    [
        (93.4, {}, (), "reproduced (within interval)"),
        (80.0, {}, (), "not reproduced"),
        (99.0, {}, (), "not reproduced"),
        (93.4, {}, ("subset",), "not comparable: ours is stamped subset"),
        (93.4, {"protocol": "clean"}, (), "reproduced (within interval)"),
        (93.4, {"protocol": "paper"}, (), "not comparable: published for variant=paper, ours is clean"),
        (93.4, {"not_comparable": "other data"}, (), "not comparable: other data"),
    ],
)
def test_verdict_beside_a_published_number(tmp_path, monkeypatch, value, changes, stamps, verdict):
    _publish(monkeypatch, value, **changes)
    for seed, accuracy in enumerate((92.0, 93.0, 94.0)):
        write_run(tmp_path, Cell("xbl", stamps=stamps), seed, maps=False, metrics={"acc/random": accuracy})
    comparison = _comparison(tmp_path)
    assert judge(comparison.rows[0], "acc/random", "plain") == type(judge(comparison.rows[0], "acc/random", "plain"))(
        value, verdict
    )
    line = next(csv.DictReader(io.StringIO(long_csv(comparison))))
    assert (float(line["published"]), line["verdict"]) == (value, verdict)


def test_one_seed_is_never_called_reproduced(tmp_path, monkeypatch):
    _publish(monkeypatch, 93.0)
    write_run(tmp_path, Cell("xbl"), 0, maps=False, metrics={"acc/random": 93.0})
    write_run(tmp_path, Cell("plain"), 0, maps=False, metrics={"acc/random": 11.0})
    verdict = judge(_comparison(tmp_path).rows[1], "acc/random", "plain").verdict
    assert verdict == "not comparable: one seed has no interval; +82.0 relative to plain (1 seed, no interval)"


def test_bold_only_when_apart_from_the_baseline(tmp_path):
    values = {"plain": (50.0, 50.0, 50.0), "rrr": (60.0, 61.0, 62.0), "xbl": (40.0, 70.0, 100.0)}
    for method, by_seed in values.items():
        for seed, value in enumerate(by_seed):
            write_run(tmp_path, Cell(method), seed, maps=False, metrics={"acc/test": value, "cost/step_ms": 1.0})
    (group,) = _comparison(tmp_path).groups
    best = {row.method: is_best(row, group, "acc/test") for row in group.rows}
    assert best == {"plain": False, "rrr": False, "xbl": False}  # xbl leads, but its interval holds 0
    (other,) = build([run for row in group.rows if row.method != "xbl" for run in row.runs]).groups
    assert [is_best(row, other, "acc/test") for row in other.rows] == [False, True]
    assert not any(is_best(row, other, "cost/step_ratio") for row in other.rows)


def test_findings_come_from_the_numbers(tmp_path):
    write_runs(tmp_path / "fooled", standard(), maps=False)
    (group,) = _comparison(tmp_path / "fooled").groups
    plain = group.rows[0].summaries
    lead, *rest = findings(group, "plain")
    assert lead.startswith("plain reads the decoy: ")
    assert f"{plain['acc/random'].mean:.1f} %" in lead
    assert f"{plain['acc/correlated'].mean:.1f} %" in lead
    assert rest[0].startswith("Better than plain on random decoys: xbl")
    assert rest[1].startswith("No difference from plain shown on random decoys, p adjusted for 3 rows: saliency_guided")

    honest = {"acc/random": 90.0, "acc/correlated": 92.0}
    write_run(tmp_path / "honest", Cell("plain"), 0, maps=False, metrics=honest)
    write_run(tmp_path / "honest", Cell("xbl"), 0, maps=False, metrics=honest)
    (group,) = _comparison(tmp_path / "honest").groups
    assert findings(group, "plain") == [
        "plain loses 2.0 points once decoys are random (92.0 % to 90.0 %).",
        "One seed in common with plain on random decoys, so no interval: xbl 90.0 % (+0.0).",
    ]


def _measured(root, *rows):
    for cell, by_seed in rows:
        for seed, value in enumerate(by_seed):
            write_run(root, cell, seed, maps=False, metrics={"acc/test": value})


def test_bold_is_adjusted_for_the_number_of_rows(tmp_path):
    """One row at p = 0.035 is bold; beside five that show nothing it is not."""
    rows = (Cell("plain"), (50.0, 50.0, 50.0)), (Cell("xbl"), (51.0, 52.0, 51.5))
    _measured(tmp_path / "two", *rows)
    (group,) = _comparison(tmp_path / "two").groups
    assert group.rows[1].differences["acc/test"].p_value == pytest.approx(0.0351, abs=1e-4)
    assert [is_best(row, group, "acc/test") for row in group.rows] == [False, True]
    more = [(Cell("rrr", {"lam": n}), (49.0, 51.0, 50.0 + n / 10)) for n in range(5)]
    _measured(tmp_path / "many", *rows, *more)
    (group,) = _comparison(tmp_path / "many").groups
    assert not any(is_best(row, group, "acc/test") for row in group.rows)


def test_controls_are_named_apart_and_missing_seeds_are_counted(tmp_path):
    control = Cell("xbl", {"told": "torus"}, stamps=("annotation.control=torus",))
    rows = [
        (Cell("plain"), (50.0, 50.0, 50.0)),
        (Cell("xbl"), (70.0, 71.0, 72.0)),
        (control, (60.0, 61.0, 62.0)),
        (Cell("rrr"), (50.0, 51.0, 53.0)),
    ]
    _measured(tmp_path, *rows)
    (group,) = _comparison(tmp_path).groups
    text = "\n".join(findings(group, "plain"))
    assert "Better than plain on the test set: xbl (told=-) 71.0 %" in text
    assert "Controls that are better than plain too: xbl (told=torus) 61.0 %" in text
    assert "on the test set, p adjusted for 3 rows: rrr 51.3 % (+1.3 [-2.5, 5.1], p 0.27; about 17 seeds would" in text


def test_ranks_over_several_data_sets(tmp_path):
    for dataset, lead in (("digits", 70.0), ("mnist", 40.0)):
        rows = (Cell("plain", dataset=dataset), (50.0, 51.0)), (Cell("xbl", dataset=dataset), (lead, lead + 1))
        _measured(tmp_path, *rows)
    comparison = _comparison(tmp_path)
    assert comparison.ranks == {"plain": 1.5, "xbl": 1.5}
    assert "Mean rank over the 2 tables (1 = best): plain 1.50, xbl 1.50." in markdown(comparison)
    write_run(tmp_path, Cell("plain", dataset="svhn"), 0, "failed")
    assert "Mean rank over the 2 tables" in markdown(_comparison(tmp_path))


def test_metric_order_and_signs():
    names = ["zeta", "cost/step_ms", "acc/test", "explanation/mnd", "acc/new", "explanation/inside", "acc/random"]
    expected = ["acc/test", "acc/random", "acc/new", "explanation/inside", "explanation/mnd", "cost/step_ms", "zeta"]
    assert ordered(names) == expected
    assert [signed(value) for value in (-0.04, 0.0, -1.26, 2.0)] == ["+0.0", "+0.0", "-1.3", "+2.0"]
