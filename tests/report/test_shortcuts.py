"""Gates, controls and correlations, against scipy and runs whose numbers are made up."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.conftest import ROOT
from tests.report.runfolders import Cell
from xfeedback.report.collect import Run
from xfeedback.report.rows import Comparison, Row, build
from xfeedback.report.shortcuts import collapsed, controls_of, correlation, gates, markdown, spearman, verdict

SEEDS = (0, 1, 2, 3, 4)
NOISE = {0: 0.3, 1: -0.5, 2: 0.1, 3: -0.2, 4: 0.4}


def run(cell: Cell, seed: int, **metrics: float) -> Run:
    names = {name.replace("__", "/"): value for name, value in metrics.items()}
    run = Run(
        folder=ROOT / cell.name(seed), dataset=cell.dataset, model=cell.model, method=cell.method, seed=seed,
        cell=cell.cell, variant="clean", status="done", metrics=names, stamps=cell.stamps,
    )  # fmt: skip
    run.__dict__["config"] = cell.config(seed)
    return run


def runs(cell: Cell, random: float, *, mnd: float = 5.0, wrong: float = 1.0, **more: float) -> list[Run]:
    spread = 0.5 if cell.method == "xbl" and not cell.stamps else 1
    return [
        run(
            cell, seed,
            acc__random=random + spread * NOISE[seed], acc__correlated=99.0, acc__reliance=99 - random - NOISE[seed],
            acc__worst_group=random - 20, predicted__largest_share=12.0 if seed else 100.0,
            explanation__decoy_effect=(100 - random) / 2, explanation__mnd=mnd + NOISE[seed],
            explanation__wrong=wrong, explanation__area_wrong=1.56, **more,
        )
        for seed in SEEDS
    ]  # fmt: skip


PLAIN, XBL = Cell("plain"), Cell("xbl", {"c_exp": 10})
EQUAL = Cell("plain_equal_time", {"time_factor": 1.13}, stamps=("control=equal_time",))
STRONG = Cell("xbl", {"c_exp": 30})


def told(cell: Cell, control: str) -> Cell:
    return replace(
        cell, stamps=(f"annotation.control={control}",), extra={"dataset": {"annotation": {"control": control}}}
    )


def comparison(torus: float = 57.0, equal: float = 30.0) -> Comparison:
    found = [
        *runs(PLAIN, 28, mnd=12, wrong=8.8), *runs(EQUAL, equal, mnd=11),
        *runs(XBL, 96, mnd=1), *runs(told(XBL, "torus"), torus, mnd=7),
        *runs(STRONG, 90, mnd=2), *runs(told(STRONG, "torus"), 80, mnd=3),
    ]  # fmt: skip
    return build(found)


def row(found: Comparison, method: str, c_exp: str | None = None) -> Row:
    return next(
        r for r in found.rows
        if r.method == method and not r.is_control and c_exp in (None, r.options.get(f"method.{method}.c_exp"))
    )  # fmt: skip


@pytest.mark.parametrize("levels", [None, 4])
def test_spearman_equals_scipys(levels):
    """With four levels most values are tied."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 17))
    y += x
    if levels:
        x, y = np.floor(x * levels / 4), np.floor(y * levels / 4)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(spearman(x, y), expected, rtol=0, atol=1e-12)
    assert np.isnan(spearman(np.ones(5), np.arange(5)))


def test_interval_is_that_of_scipys_percentile_bootstrap():
    rng = np.random.default_rng(1)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    found = correlation("m", x.tolist(), y.tolist())
    assert found is not None
    assert found.n == 40
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    oracle = stats.bootstrap(
        (x, y), lambda a, b, axis=-1: spearman(a, b), paired=True, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    assert (found.interval.low, found.interval.high) == pytest.approx(oracle, abs=0.02)


def test_few_or_equal_runs_have_no_correlation():
    assert correlation("m", [1, 2, 3], [1, 2, 3]) is None
    assert correlation("m", [1, 1, 1, 1], [1, 2, 3, 4]) is None


def test_gates_of_plain():
    found = gates(row(comparison(), "plain"))
    assert [gate.seed for gate in found] == list(SEEDS)
    assert all(gate.fooled and gate.shown for gate in found)
    assert found[0].reliance == pytest.approx(99 - 28.3)
    weak = build([*runs(PLAIN, 90, wrong=1.2), *runs(XBL, 96)])
    assert not any(gate.fooled or gate.shown for gate in gates(row(weak, "plain")))
    text = markdown(weak)
    assert "on 0 of 5 seeds: strengthen the decoy" in text
    assert "on 0 of 5 seeds: a loss on the map has nothing to push" in text


def test_controls_stand_beside_the_row_that_they_are_nearest_to():
    found = comparison()
    group = found.groups[0]
    for c_exp in ("10", "30"):
        controls = controls_of(row(found, "xbl", c_exp), group)
        assert {control.method for control in controls} == {"xbl", "plain_equal_time"}
        assert [c.options["method.xbl.c_exp"] for c in controls if c.method == "xbl"] == [c_exp]


def test_success_needs_plain_and_every_control_beaten():
    found = comparison()
    assert (
        verdict(row(found, "xbl", "10"), found.groups[0])
        == "success: +68.0 [67.8, 68.2] over plain, and beats 2 control(s)"
    )
    lost = comparison(torus=96.0)
    assert "not shown to beat xbl" in verdict(row(lost, "xbl", "10"), lost.groups[0])
    lost = comparison(equal=97.0)
    assert verdict(row(lost, "xbl", "10"), lost.groups[0]) == "not shown to beat plain_equal_time"
    bare = build([*runs(PLAIN, 90), *runs(XBL, 96)])
    assert verdict(row(bare, "xbl"), bare.groups[0]) == (
        "not shown to gain 10 points over plain (+6.0 [5.8, 6.2]); no control stands beside it"
    )


def test_success_costs_at_most_five_points_without_decoys():
    ceiling = Cell("plain", extra={"decoy": {"train": "clean"}})

    def found(clean: float) -> Comparison:
        rows = ((PLAIN, 28, 30), (ceiling, 84, 97), (XBL, 96, clean), (EQUAL, 30, 30))
        return build([r for cell, a, at in rows for r in runs(cell, a, acc__clean=at)])

    assert verdict(row(found(93), "xbl"), found(93).groups[0]).startswith("success")
    text = verdict(row(found(91), "xbl"), found(91).groups[0])
    assert text.startswith("6.0 points below plain")
    assert text.endswith("without decoys")
    assert markdown(found(93)).count("Gates, ") == 1


def test_collapsed_runs_are_counted():
    found = comparison()
    assert collapsed(row(found, "plain")) == 1
    old = build([run(PLAIN, seed, acc__random=50.0) for seed in SEEDS])
    assert collapsed(row(old, "plain")) is None
    assert "not recorded" in markdown(old)


def test_the_page_has_all_three_tables():
    text = markdown(comparison())
    assert text.count("| 1 of 5 |") == 6
    line = next(line for line in text.splitlines() if line.startswith("| Mean normalised distance |"))
    assert line.split("|")[4].strip() == "30"
    assert float(line.split("|")[2]) < -0.9
    assert markdown(build([run(PLAIN, 0, acc__test=50.0)])).endswith("No run was tested with random decoys.\n")
