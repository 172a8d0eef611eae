"""Published numbers: every file follows the schema, and a number is found only where its paper gives one."""

from pathlib import Path

import pytest
import yaml

from xfeedback import papers
from xfeedback.errors import UserError


def test_every_paper_has_a_file_with_cells():
    assert {cell.paper for cell in papers.everything()} == {
        "xbl",
        "saliency_guided",
        "xai_increment",
        "challenger",
        "lap",
    }
    assert all(path.stem == yaml.safe_load(path.read_text())["paper"] for path in papers.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize(
    ("dataset", "method", "metric", "value"),
    [
        ("movie_rationales", "plain", "faithfulness/comprehensiveness_integrated_gradients", 0.265),
        ("movie_rationales", "saliency_guided", "faithfulness/comprehensiveness_integrated_gradients", 0.306),
        ("esnli", "random_explanation", "faithfulness/sufficiency", 0.366),
        ("synthetic_series", "saliency_guided", "faithfulness/diff_aur_tcn_deep_shap", 0.192),
        ("synthetic_series", "plain", "faithfulness/diff_aup_transformer_integrated_gradients", 0.061),
        ("speech_commands", "xai_increment", "gain/max_over_phases", 1.5),
    ],
)
def test_numbers_of_the_papers(dataset, method, metric, value):
    cell = papers.published(dataset, method, metric)
    assert cell is not None
    assert cell.number == value
    assert cell.source


@pytest.mark.parametrize(
    ("dataset", "method", "metric"),
    [
        ("mnist", "saliency_guided", "acc/test"),  # said to be preserved, no figure in reach
        ("decoy_cifar", "xbl", "acc/test"),  # not in reach
        ("imagenet", "lip", "acc/resnet50"),  # somebody else's number
        ("decoy_digits", "xbl", "acc/random"),  # nobody's table
    ],
)
def test_no_number_where_there_is_none(dataset, method, metric):
    assert papers.published(dataset, method, metric) is None


def test_third_party_pairs_are_kept_as_pairs():
    cell = next(c for c in papers.everything() if c.method == "lip" and c.metric == "acc/resnet50")
    assert cell.value == (76.40, 78.19)
    with pytest.raises(ValueError, match="no single value"):
        _ = cell.number


def _write(path: Path, change) -> Path:
    content = yaml.safe_load((papers.FOLDER / "xai_increment.yaml").read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("title"), "expected the keys"),
        (lambda c: c.update(blocks=None), "expected a list"),
        (lambda c: c["blocks"][0].update(origin="rumour"), "origin is rumour"),
        (lambda c: c["blocks"][0].update(protocol="papr"), "protocol is papr"),
        (lambda c: c["blocks"][0]["cells"][0].update(value="93 %"), "neither a number"),
        (lambda c: c["blocks"][0]["cells"][0].update(value=True), "neither a number"),
        (lambda c: c["blocks"][0]["cells"].append(c["blocks"][0]["cells"][0]), "stands twice"),
    ],
)
def test_a_file_off_the_schema_is_refused_by_name(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        papers.load(_write(tmp_path / "wrong.yaml", change))
    assert "wrong.yaml" in str(caught.value)
