"""What speaks against a row stands in front, and one rule decides for sentences, verdicts and bold."""

import json

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tests.report.runfolders import Cell, write_run
from xfeedback.report.collect import collect
from xfeedback.report.doubts import doubts
from xfeedback.report.findings import findings
from xfeedback.report.rows import Group, build
from xfeedback.report.sections import results
from xfeedback.report.tables import long_csv, markdown
from xfeedback.report.words import is_best, judge


def measured(root, *rows, metric="acc/test", **more):
    for cell, by_seed in rows:
        for seed, value in enumerate(by_seed):
            write_run(root, cell, seed, maps=False, metrics={metric: value, **more})


def group_of(root) -> Group:
    (group,) = build(collect([root]).runs).groups
    return group


def test_one_rule_for_sentences_verdicts_and_bold(tmp_path):
    """A row whose own interval excludes 0 (p 0.035), beside four others: nothing may call it different."""
    rows = [(Cell("plain"), (50.0, 50.0, 50.0)), (Cell("xbl"), (51.0, 52.0, 51.5))]
    rows += [(Cell("rrr", {"lam": n}), (49.0, 51.0, 50.0 + n / 10)) for n in range(4)]
    measured(tmp_path, *rows)
    group = group_of(tmp_path)
    (row,) = (row for row in group.rows if row.method == "xbl")
    difference = row.differences["acc/test"]
    raw = scipy_stats.ttest_rel((51.0, 52.0, 51.5), (50.0, 50.0, 50.0)).pvalue
    assert difference.interval is not None
    assert difference.interval.low > 0
    assert row.p_values["acc/test"] == pytest.approx(5 * raw)
    assert judge(row, "acc/test", "plain").verdict.endswith("no difference from plain shown (+1.5 [0.3, 2.7], p 0.18)")
    text = "\n".join(findings(group, "plain"))
    assert "Better than plain" not in text
    assert "xbl 51.5 % (+1.5 [0.3, 2.7], p 0.18" in text
    assert not any(is_best(row, group, "acc/test") for row in group.rows)


def test_seeds_that_would_show_it_are_those_of_the_adjusted_test(tmp_path):
    rows = [(Cell("plain"), (50.0, 50.0, 50.0)), (Cell("xbl"), (50.0, 51.0, 53.0))]
    measured(tmp_path / "one", *rows)
    measured(tmp_path / "three", *rows, *((Cell("rrr", {"lam": n}), (49.0, 51.0, 50.0)) for n in range(2)))
    texts = ["\n".join(findings(group_of(tmp_path / name), "plain")) for name in ("one", "three")]
    needed = [int(text.split("about ")[1].split()[0]) for text in texts]
    drawn = np.random.default_rng(0).normal(4 / 3, np.std([0, 1, 3], ddof=1), size=(20_000, max(needed)))
    for count, level in zip(needed, (0.05, 0.05 / 3), strict=True):
        power = [(scipy_stats.ttest_1samp(drawn[:, :n], 0, axis=1).pvalue < level).mean() for n in (count - 1, count)]
        assert power[0] < 0.81
        assert power[1] > 0.79


def test_numbers_of_fewer_seeds_than_finished_say_so(tmp_path):
    """Where one network's maps are all dead nothing is inside; only three seeds of five can be compared."""
    measured(tmp_path, (Cell("plain"), (50.0, 50.0, 51.0)), (Cell("xbl"), (70.0, 71.5, 72.0, 10.0, 11.0)))
    for seed, inside in enumerate((80.0, 81.0, None)):
        metrics = {"acc/test": 60.0 + seed * seed} | ({} if inside is None else {"explanation/inside": inside})
        write_run(tmp_path, Cell("rrr"), seed, maps=False, metrics=metrics)
    comparison = build(collect([tmp_path]).runs)
    text = markdown(comparison)
    assert "| 80.5 ± 6.4 (2 of 3) | 3 |" in text
    assert "xbl 46.9 % (+20.8 [" in text
    assert "], p < 0.001, 3 seeds in common)" in text
    (row,) = (row for row in comparison.rows if row.method == "xbl")
    assert judge(row, "acc/test", "plain").verdict.endswith("over plain, p < 0.001, 3 seeds in common")
    (found,) = comparison.groups
    assert "80.5</span><small>± 6.4 (2 of 3)</small>" in results(found, "plain", {row.label: 0 for row in found.rows})


def test_worst_sides_first(tmp_path):
    rows = [(Cell("plain"), (50.0, 50.0, 51.0)), (Cell("xbl"), (70.0, 71.0, 72.0)), (Cell("rrr"), (60.0, 60.0))]
    measured(tmp_path, *rows)
    write_run(tmp_path, Cell("rrr"), 2, "failed", error="loss is nan")
    lead, *rest = findings(group_of(tmp_path), "plain")
    assert lead.startswith("plain reaches")
    assert rest[0] == "Not finished: rrr (1 seed)."
    assert rest[1] == "Two seeds only, so intervals are wide and say little: rrr."
    assert rest[2].startswith("Better than plain")


def test_a_collapsed_run_is_named_with_its_seed(tmp_path):
    measured(tmp_path, (Cell("plain"), (50.0, 50.0)), **{"predicted/largest_share": 12.0})
    for seed, share in ((0, 20.0), (1, 100.0)):
        metrics = {"acc/test": 10.0, "predicted/largest_share": share}
        write_run(tmp_path, Cell("xbl"), seed, maps=False, metrics=metrics)
    comparison = build(collect([tmp_path]).runs)
    plain, xbl = comparison.rows
    assert doubts(plain) == []
    assert doubts(xbl) == ["predicts a single class (1 of 2 seeds): seed 1"]
    assert "Collapsed: xbl (predicts a single class (1 of 2 seeds): seed 1)." in findings(comparison.groups[0], "plain")
    assert "**xbl** predicts a single class" in markdown(comparison)


def test_runs_on_other_data_than_the_baseline_are_named(tmp_path):
    """Files of a folder were changed between two runs: the pair is of two test sets."""
    measured(tmp_path, (Cell("plain"), (50.0, 50.0)), (Cell("xbl"), (70.0, 71.0)), (Cell("rrr"), (60.0, 61.0)))
    changed, unknown = (next(tmp_path.glob(f"*-{name}-s1-*")) / "provenance.json" for name in ("xbl", "rrr"))
    known = json.loads(changed.read_text())
    changed.write_text(json.dumps(known | {"data": {"fingerprint": "f" * 64}}))
    unknown.write_text(json.dumps({name: value for name, value in known.items() if name != "data"}))
    comparison = build(collect([tmp_path]).runs)
    line = "read other data than the baseline (1 of 2 seeds): seed 1"
    assert [doubts(row) for row in comparison.rows] == [[], [], [line]]
    assert f"Other data: xbl ({line})." in findings(comparison.groups[0], "plain")


def test_bootstrap_stands_in_the_csv_from_eight_seeds_on(tmp_path):
    values = np.random.default_rng(0).normal(50, 3, size=8).round(3).tolist()
    measured(tmp_path, (Cell("plain"), values), (Cell("xbl"), values[:7]))
    lines = [line.split(",") for line in long_csv(build(collect([tmp_path]).runs)).splitlines()[1:]]
    (low, high), few = map(float, lines[0][-2:]), lines[1][-2:]
    interval = scipy_stats.t.interval(0.95, 7, loc=np.mean(values), scale=scipy_stats.sem(values))
    assert (low, high) == pytest.approx(interval, abs=1.5)
    assert low < np.mean(values) < high
    assert few == ["", ""]
