"""What a model card says of the data."""

from dataclasses import replace

import pytest

from tests.engine.small import small_spec
from xfeedback import trained
from xfeedback.commands import card
from xfeedback.engine.run import run_experiment


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    outcome = run_experiment(small_spec(tmp_path_factory.mktemp("run"), trainer={"max_epochs": 1}))
    assert outcome.status == "done", outcome.record
    return trained.load(outcome.folder)


@pytest.mark.parametrize(
    ("decoy", "said"),
    [
        ({}, "Trained on images with class-coded patches"),
        ({"train": "clean"}, "Tested on images with class-coded patches"),
        ({"code": "released"}, "Trained on images with coloured patches"),
    ],
)
def test_the_card_says_where_the_patches_were(loaded, decoy, said):
    spec = replace(loaded.spec, decoy=replace(loaded.spec.decoy, name="corner", **decoy))
    assert said in card.text(replace(loaded, spec=spec), None)


def test_the_card_of_a_run_on_validation_data_says_so(loaded):
    spec = replace(loaded.spec, evaluation=replace(loaded.spec.evaluation, split="validation"))
    metrics = {"val/acc/test": 50.0, "val/predicted/largest_share": 99.5}
    text = card.text(replace(loaded, spec=spec, result={**loaded.result, "metrics": metrics}), None)
    assert "On the validation data, by the selected weights" in text
    assert "It says the same class of 99.50 % of the validation data." in text
    assert "test set" not in text
