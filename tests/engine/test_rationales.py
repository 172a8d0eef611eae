"""Texts with rationales through the evaluation: agreement with people, and what deleting tokens does."""

import pytest
import torch
from sklearn.metrics import auc, f1_score, precision_recall_curve

from xfeedback import data, models
from xfeedback.data.decoy import DecoyConfig
from xfeedback.engine.evaluate import evaluate, explanations, marked_share
from xfeedback.engine.options import EvaluationConfig
from xfeedback.metrics.rationales import aopc

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Texts of 3 to 8 words; every third has no rationale."""
    folder = tmp_path_factory.mktemp("texts")
    numbers = torch.Generator().manual_seed(0)
    rows = ["text\tlabel\trationale"]
    for k in range(40):
        words = [f"w{int(i)}" for i in torch.randint(0, 12, (3 + k % 6,), generator=numbers)]
        marks = "0" * len(words) if k % 3 == 0 else "1" + "01"[k % 2] + "0" * (len(words) - 2)
        rows.append(f"{' '.join(words)}\t{k % 2}\t{marks}")
    path = folder / "a.tsv"
    path.write_text("\n".join(rows))
    config = data.config_class("text_file")(train=str(path), val=str(path), test=str(path), min_count=1)
    return data.load(config, DecoyConfig(name="none"), seed=0, root=folder, cache=folder)


@pytest.fixture(scope="module")
def network(task):
    config = models.config_class("text_cnn")(name="text_cnn", width=6, filters=4)
    return models.build(config, task.in_shape, task.n_classes, 0, kind="text", vocabulary=task.vocabulary)


CONFIG = EvaluationConfig(
    batch_size=16, explainers=("gradient",), faithfulness=("aopc", "road"), faithfulness_explainers=("gradient",)
)


def maps(network, task):
    network.eval()
    loader = task.test_loaders(40, CPU)["test"]
    explained, _, _ = explanations(network, task, CONFIG, loader)
    batch = next(iter(loader))
    return batch, *explained.maps(["gradient"], batch.x)


def test_agreement_is_that_of_scikit_learn_over_the_annotated_texts(network, task):
    metrics = evaluate(network, task, CONFIG, CPU).metrics
    batch, found, _ = maps(network, task)
    rows = [k for k in range(40) if k % 3]
    real = batch.x != 0
    share = sum(float(batch.mask[k].sum() / real[k].sum()) for k in rows) / len(rows)
    assert marked_share(task.val) == pytest.approx(share)
    f1, area = [], []
    for k in rows:
        scores, marks = found["gradient"][k][real[k]], batch.mask[k][real[k]]
        chosen = torch.zeros_like(marks)
        chosen[scores.argsort(descending=True, stable=True)[: int(-(-share * len(marks) // 1))]] = True
        f1.append(f1_score(marks, chosen))
        precision, recall, _ = precision_recall_curve(marks, scores)
        area.append(auc(recall, precision))
    assert metrics["explanation/token_f1"] == pytest.approx(100 * sum(f1) / len(f1), abs=1e-4)
    assert metrics["explanation/auprc"] == pytest.approx(100 * sum(area) / len(area), abs=1e-4)


def test_deleting_tokens_is_measured_for_texts_and_roads_imputation_left_out(network, task):
    evaluation = evaluate(network, task, CONFIG, CPU)
    batch, found, logits = maps(network, task)
    expected = aopc(network, batch.x, found["gradient"], logits.argmax(1))
    for name in ("comprehensiveness", "sufficiency"):
        value = float(getattr(expected, name).mean())
        assert evaluation.metrics[f"faithfulness/{name}_gradient"] == pytest.approx(value, abs=1e-6)
        assert f"faithfulness/{name}_random" in evaluation.metrics
        assert len(evaluation.curves[f"{name}_gradient"]) == 5
    assert "faithfulness: road was left out: it is for images" in evaluation.notes


def test_no_rationales_are_no_agreement(task):
    from dataclasses import replace

    assert marked_share(replace(task.val, mask=None)) is None
    assert marked_share(replace(task.val, annotated=torch.zeros(40, dtype=torch.bool))) is None
