"""Folders of runs whose files hold something else than a run wrote: one line, whatever it is."""

import json
import shutil

import pytest
import yaml

from tests.engine.small import small_spec
from xfeedback import trained
from xfeedback.commands import card
from xfeedback.engine.run import run_experiment
from xfeedback.errors import UserError


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    outcome = run_experiment(small_spec(tmp_path_factory.mktemp("done"), trainer={"max_epochs": 1}))
    assert outcome.status == "done", outcome.record
    return outcome.folder


ODD = (None, -5, "x", [1], {"a": "b"})
"""What JSON and YAML may hold in the place of what belongs there."""


def damaged(whole):
    """Every content that another, or nothing, stands in for, of the whole and of each name of it."""
    yield from (value for value in ODD if not isinstance(value, dict))
    for name in whole:
        yield {key: value for key, value in whole.items() if key != name}
        yield from ({**whole, name: value} for value in ODD)


@pytest.mark.parametrize("name", ["result.json", "provenance.json", "inputs.json", "config.yaml", "error.json"])
def test_odd_contents_are_one_line(done, tmp_path, name):
    """Each is taken or refused in a line, by loading and by the card."""
    folder, refused = tmp_path / "odd", 0
    shutil.copytree(done, folder, ignore=shutil.ignore_patterns("checkpoints", "*.png"))
    if name == "error.json":
        (folder / "result.json").unlink()
        (folder / name).write_text('{"error": "none"}')
    whole = yaml.safe_load((folder / name).read_text())
    for content in damaged(whole):
        (folder / name).write_text(json.dumps(content))
        try:
            card.text(trained.load(folder), None)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
    assert refused >= 5
