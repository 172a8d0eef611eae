import pytest

from xfeedback.report.findings import findings
from xfeedback.report.metrics import describe, headline, ordered
from xfeedback.report.rows import Group, Row
from xfeedback.report.stats import summarise
from xfeedback.report.tables import headline_metrics, wide_metrics

SCORES = ("inside", "wrong", "wr", "ap95", "ar95", "iou50", "pointing", "mnd", "mnd_u", "dead", "decoy_effect")
VIEWS = ("acc/random", "acc/conflict", "acc/clean", "acc/correlated")


@pytest.mark.parametrize(
    ("name", "short", "better"),
    [
        ("acc/worst_group", "worst group", "higher"),
        ("acc/reliance", "reliance", "lower"),
        ("explanation/wr", "WR", "lower"),
        ("explanation/ap95", "AP@95", "higher"),
        ("explanation/ar95", "AR@95", "higher"),
        ("explanation/iou50", "IoU@.5", "higher"),
        ("explanation/pointing", "pointing", "higher"),
        ("explanation/mnd", "MND", "lower"),
        ("explanation/mnd_u", "MND_u", "lower"),
        ("explanation/decoy_effect", "decoy effect", "lower"),
        ("explanation/mnd_gradient", "MND, gradient", "lower"),
        ("explanation/mnd_u_gradient", "MND_u, gradient", "lower"),
        ("explanation/wr_integrated_gradients", "WR, integrated gradients", "lower"),
        ("explanation/ap95_occlusion", "AP@95, occlusion", "higher"),
        ("acc/random", "random", "higher"),
        ("explanation/area_wrong", "area of wrong", None),
        ("explanation/leak_share", "leak", None),
        ("predicted/largest_share", "top class", None),
    ],
)
def test_names_and_directions(name, short, better):
    metric = describe(name)
    assert (metric.short, metric.better, metric.unit) == (short, better, "%")
    assert metric.digits == (2 if "mnd" in name else 1)


@pytest.mark.parametrize(
    ("name", "short", "better", "unit", "digits"),
    [
        ("faithfulness/drop_area_gradient", "drop area, gradient", "lower", "%", 1),
        ("faithfulness/drop_gain_deep_shap", "drop gain, DeepSHAP", "higher", "%", 1),
        ("faithfulness/road_smoothgrad", "ROAD, SmoothGrad", "higher", "%", 1),
        ("faithfulness/road_morf_gradient_shap", "ROAD MoRF, GradientSHAP", "lower", "%", 1),
        ("faithfulness/road_lerf_random", "ROAD LeRF, random map", "higher", "%", 1),
        ("faithfulness/deletion_deeplift", "deletion, DeepLIFT", "lower", "%", 1),
        ("faithfulness/sufficiency_integrated_gradients", "suff, integrated gradients", "lower", "", 3),
        ("faithfulness/comprehensiveness_gradient", "comp, gradient", "higher", "", 3),
        ("faithfulness/aup_gradient", "AUP, gradient", "higher", "", 3),
        ("faithfulness/diff_aur_gradient", "Diff(AUR), gradient", "higher", "", 3),
    ],
)
def test_names_and_directions_of_faithfulness(name, short, better, unit, digits):
    metric = describe(name)
    assert (metric.short, metric.better, metric.unit, metric.digits) == (short, better, unit, digits)


def test_order_of_one_explainers_scores():
    names = [f"explanation/{score}{ending}" for ending in ("_gradient", "") for score in reversed(SCORES[:-1])]
    assert ordered(names)[: len(SCORES) - 1] == [f"explanation/{score}" for score in SCORES[:-1]]


def test_what_is_no_accuracy_on_a_view_decides_nothing():
    assert headline(["acc/reliance", "acc/worst_group", "acc/test"]) == "acc/test"
    assert headline(["acc/reliance", "acc/worst_group"]) is None
    assert not describe("acc/reliance").is_accuracy
    assert describe("acc/worst_group").is_accuracy


def test_the_terminal_shows_views_and_one_score_whatever_was_measured():
    names = [*VIEWS, "acc/worst_group", "acc/reliance", "cost/step_ratio", "cost/step_ms"]
    names += [f"explanation/{score}{ending}" for score in SCORES for ending in ("", "_gradient")]
    names += ["faithfulness/drop_area_gradient"]
    row = Row(
        dataset="d", model="m", method="x", label="x", cell="c", runs=(), is_baseline=False,
        summaries={name: summarise([1.0]) for name in names},
    )  # fmt: skip
    group = Group(dataset="d", model="m", rows=(row,))
    assert headline_metrics(group) == [*VIEWS, "explanation/inside", "cost/step_ratio"]
    assert set(wide_metrics(group)) == set(names) - {"cost/step_ms"}


def test_where_nothing_was_explained_the_terminal_shows_calibration():
    names = ["acc/test", "cost/step_ratio", "calibration/ece", "calibration/ece_scaled", "calibration/nll"]
    row = Row(
        dataset="d", model="m", method="x", label="x", cell="c", runs=(), is_baseline=False,
        summaries={name: summarise([1.0]) for name in names},
    )  # fmt: skip
    group = Group(dataset="d", model="m", rows=(row,))
    assert set(headline_metrics(group)) == set(names) - {"calibration/ece_scaled"}
    assert set(wide_metrics(group)) == set(names)


def test_on_validation_data_the_same_accuracy_decides_and_the_same_columns_are_shown():
    names = [f"val/{name}" for name in ("acc/clean", "acc/random", "acc/worst_group", "explanation/inside")]
    assert headline(names) == "val/acc/random"
    assert headline([*names, "acc/clean"]) == "acc/clean"  # where there is test data, that decides
    row = Row(
        dataset="d", model="m", method="x", label="x", cell="c", runs=(), is_baseline=False,
        summaries={name: summarise([1.0]) for name in [*names, "cost/step_ratio"]},
    )  # fmt: skip
    group = Group(dataset="d", model="m", rows=(row,))
    expected = ["val/acc/random", "val/acc/clean", "val/explanation/inside", "cost/step_ratio"]
    assert headline_metrics(group) == expected
    assert findings(group, "plain") == [
        "Random decoys, validation data: x 1.0 %; nothing to compare with.",
    ]
