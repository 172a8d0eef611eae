"""Texts through the real command line: a person's own file, trained on and compared, and a mistake in one line."""

import numpy as np
import pytest

from tests.cli.command import only_run, read, run

HEADER = "text\tlabel\trationale"
QUICK = ("trainer.max_epochs=2", "trainer.batch_size=16", "trainer.threads=1", "dataset.min_count=1")


def texts(path, labels=("dull", "fine"), n=60):
    """Texts whose label follows from one marked word among others."""
    draws = np.random.default_rng(0)
    rows = [HEADER]
    for k in range(n):
        words = [f"w{i}" for i in draws.integers(0, 20, 2 + k % 7)]
        words[k % len(words)] = labels[k % len(labels)]
        marks = "".join("01"[word == labels[k % len(labels)]] for word in words)
        rows.append(f"{' '.join(words)}\t{labels[k % len(labels)]}\t{marks}")
    path.write_text("\n".join(rows) + "\n")
    return f"dataset.{path.stem}={path}"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["text_cnn", "text_lstm", "text_transformer"])
def test_a_persons_own_texts(tmp_path, model):
    options = ("method=[rrr,saliency_guided]", "dataset=text_file", f"model={model}", *QUICK)
    ended = run(*options, texts(tmp_path / "train.tsv"), texts(tmp_path / "test.tsv"), cwd=tmp_path)
    assert ended.code == 0, ended.err
    folder = only_run(tmp_path)
    metrics = read(folder)["metrics"]
    assert {"acc/test", "explanation/token_f1", "explanation/auprc", "explanation/inside"} <= set(metrics)
    assert (folder / "explanations.png").stat().st_size > 1000


def test_a_label_that_training_never_saw_is_one_line_and_trains_nothing(tmp_path):
    train, test = texts(tmp_path / "train.tsv"), texts(tmp_path / "test.tsv", ("dull", "odd"))
    ended = run("method=plain", "dataset=text_file", *QUICK, train, test, cwd=tmp_path)
    assert ended.code == 2
    assert not list((tmp_path / "outputs").glob("runs/*/result.json"))
    assert "the test texts have the label 'odd', which no training text has (dull, fine)" in ended.line
