"""Sentences of a comparison with several baseline rows."""

from xfeedback.report.collect import collect
from xfeedback.report.findings import findings
from xfeedback.report.rows import build
from xfeedback.report.words import judge

from .runfolders import Cell, write_run


def model(dropout: float) -> dict:
    return {"model": {"name": "lenet", "dropout": dropout}}


def sentences(tmp_path, cells):
    for cell, values in cells:
        for seed, value in enumerate(values):
            write_run(tmp_path, cell, seed, metrics={"acc/test": value})
    (group,) = build(collect([tmp_path]).runs).groups
    return findings(group, "plain")


def test_every_baseline_row_has_its_sentence_and_rows_are_compared_with_the_nearest(tmp_path):
    said = sentences(
        tmp_path,
        [
            (Cell("plain", extra=model(0.5)), (40.0, 41.0, 42.0)),
            (Cell("plain", extra=model(0.0)), (30.0, 31.0, 32.0)),
            (Cell("xbl", extra=model(0.0)), (35.0, 36.1, 36.9)),
        ],
    )
    assert {
        "plain (dropout=0.5) reaches 41.0 % on the test set.",
        "plain (dropout=0) reaches 31.0 % on the test set.",
    } <= {sentence.replace("dropout=0.0", "dropout=0") for sentence in said}
    assert said[2] == "Each other row is compared with the one of these whose options are nearest to its own."
    assert any(sentence.startswith("Better than plain") and "(+5.0" in sentence for sentence in said)


def test_what_is_said_once_decoys_are_random_is_measured_on_random_decoys(tmp_path):
    """Over phases their average decides, and that is no accuracy on random decoys."""
    metrics = {"continual/average_accuracy": 55.0, "acc/random": 20.0, "acc/correlated": 99.0}
    for seed in range(2):
        write_run(tmp_path, Cell("plain"), seed, maps=False, metrics=metrics)
    (group,) = build(collect([tmp_path]).runs).groups
    assert findings(group, "plain")[0] == "plain reaches 55.0 % over the phases' tests."


def test_a_single_baseline_needs_no_such_words(tmp_path):
    said = sentences(tmp_path, [(Cell("plain"), (30.0, 31.0)), (Cell("xbl"), (35.0, 36.5))])
    assert not any("compared with the one" in sentence for sentence in said)


def test_p_is_adjusted_for_the_rows_that_are_tested(tmp_path):
    said = sentences(
        tmp_path, [(Cell("plain"), (30.0, 31.0, 32.0)), (Cell("xbl"), (31.0, 30.0, 33.0)), (Cell("rrr"), (35.0,))]
    )
    assert any(s.startswith("No difference from plain shown on the test set: xbl") for s in said)
    assert not any("adjusted" in sentence for sentence in said)


def test_a_baseline_that_did_not_measure_a_view_is_not_said_to_lack_the_seeds(tmp_path):
    for seed in range(3):
        write_run(tmp_path, Cell("plain"), seed, maps=False, metrics={"acc/test": 90.0 + seed})
        write_run(tmp_path, Cell("xbl"), seed, maps=False, metrics={"acc/test": 95.0, "acc/clean": 80.0})
    (group,) = build(collect([tmp_path]).runs).groups
    assert judge(group.rows[1], "acc/clean", "plain").verdict == "not published; plain has no number with these seeds"
