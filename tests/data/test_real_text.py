"""The sets of texts on the real files."""

import pytest

from xfeedback import data
from xfeedback.data.decoy import DecoyConfig


@pytest.fixture(scope="module")
def task(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")

    def task(name, **options):
        config = data.config_class(name)(**options)
        where = {"root": folder / "none", "extra_roots": [shared_data], "cache": folder}
        return data.load(config, DecoyConfig(name="none"), seed=0, **where)

    return task


def sizes(task):
    return [len(part) for part in (task.train, task.val, task.test)]


def shown(task, row):
    return " ".join(task.vocabulary[i] for i in task.train.x[row].tolist() if i)


@pytest.mark.parametrize("form", ["trees", "tsv"])
def test_sst2(task, form):
    found = task("sst2", form=form)
    assert sizes(found) == [6920, 872, 1821]
    assert "subset" not in found.stamps
    assert found.train.y.bincount().tolist() == [3310, 3610]
    assert found.val.y.bincount().tolist() == [428, 444]
    assert found.test.y.bincount().tolist() == [912, 909]
    assert 50 <= found.in_shape[0] <= 64
    assert found.has_annotations == (form == "trees")


def test_most_sentences_of_sst2_have_a_word_judged_like_them(task):
    found = task("sst2", min_count=1)
    assert found.train.annotated.float().mean() > 0.8
    words = [found.vocabulary[i] for i in found.train.x[found.train.mask].tolist()]
    assert {"funny", "best", "dull", "bad"} <= set(words)
    assert "the" not in words


def test_rotten_tomatoes(task):
    found = task("rotten_tomatoes")
    assert sizes(found) == [8530, 1066, 1066]
    assert found.test.y.bincount().tolist() == [533, 533]
    assert found.stamps == ()


def test_trec(task):
    found = task("trec", min_count=1)
    assert sizes(found) == [4907, 545, 500]
    assert found.test.y.bincount().tolist() == [138, 94, 9, 65, 81, 113]
    assert found.stamps == ()
    assert shown(found, 0) == "how did serfdom develop in and then leave russia ?"


def test_movie_reviews(task):
    found = task("movie_reviews", max_length=128)
    assert sizes(found) == [1600, 200, 200]
    assert found.train.y.bincount().tolist() == [800, 800]
    assert found.in_shape == (128,)
    assert found.stamps == ()


def test_comments_with_rationales(task):
    found = task("wiki_attack")
    assert sizes(found) == [439, 55, 55]
    parts = (found.train, found.val, found.test)
    assert sum(int(part.annotated.sum()) for part in parts) >= 240
    marked = sum(int((part.mask & ~(part.x != 0)).sum()) for part in parts)
    assert marked == 0
