"""The readers of texts on small files in the formats of the real ones, and what they refuse."""

import io
import tarfile

import numpy as np
import pytest

from tests.data.texts import marked_words, words, write
from xfeedback import data
from xfeedback.data import folders
from xfeedback.data.decoy import DecoyConfig
from xfeedback.errors import UserError

TREES = (
    "(4 (2 (2 A) (3 warm)) (3 (3 -LRB-good-RRB-) (1 failure)))",
    "(1 (2 It) (1 (1 sags) (2 .)))",
    "(2 (2 So) (4 what))",
)


def write_trees(root):
    for name in ("train", "dev", "test"):
        write(root / "SST-trees" / "trees" / f"{name}.txt", *TREES)


def test_trees_give_sentences_and_words_judged_alike(load, tmp_path):
    write_trees(tmp_path)
    task = load("sst2")
    assert task.class_names == ("negative", "positive")
    assert task.train.y.tolist() == [1, 0]
    assert words(task) == ["a", "warm", "(good)", "failure"]
    assert marked_words(task) == ["warm", "(good)"]
    assert marked_words(task, row=1) == ["sags"]
    assert task.val.index.tolist() == [2, 3]
    assert task.test.index.tolist() == [0, 1]
    assert "subset" in task.stamps
    assert task.kind == "text"
    assert task.in_shape == (4,)


def test_a_broken_tree_is_refused_by_its_line(load, tmp_path):
    write_trees(tmp_path)
    write(tmp_path / "SST-trees" / "trees" / "dev.txt", TREES[0], "(3 (2 It)")
    with pytest.raises(UserError, match=r"dev.txt, line 2 is no tree like"):
        load("sst2")


def test_missing_trees_are_fetched_and_a_failure_says_where_they_belong(load, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def fails(url, root, **options):
        assert (url, options["md5"]) == (
            "https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip",
            "5c3b23ce88089053fd3efeb4a34f614d",
        )
        raise OSError("no network")

    monkeypatch.setattr(utils, "download_and_extract_archive", fails)
    with pytest.raises(UserError, match=r"no SST-2 trees in .*failed \(no network\). Put its files into"):
        load("sst2")
    assert list(tmp_path.iterdir()) == []


def test_fetched_trees_are_put_in_their_place(load, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def fetches(url, root, **options):
        for name in ("train", "dev", "test"):
            write(tmp_path / "x" / name, "")
            write(folders.Path(root) / "trees" / f"{name}.txt", *TREES)

    monkeypatch.setattr(utils, "download_and_extract_archive", fetches)
    assert len(load("sst2").train) == 2
    assert (tmp_path / "text" / "SST-trees" / "trees" / "train.txt").exists()


def test_sst2_as_table_has_no_evidence(load, tmp_path):
    for name in ("train", "dev", "test"):
        write(tmp_path / "text" / "SST-2" / f"{name}.tsv", "a fine film\t1", "dull\t0", "\t0")
    task = load("sst2", form="tsv")
    assert task.train.y.tolist() == [1, 0, 0]
    assert words(task, row=2) == ["[UNK]"]
    assert not task.has_annotations
    assert task.train.mask is None


@pytest.mark.parametrize("line", ["a fine film\t2", "a fine film 1", "sentence\tlabel"])
def test_a_malformed_row_is_refused_by_its_line(load, tmp_path, line):
    for name in ("train", "dev", "test"):
        write(tmp_path / "SST-2" / f"{name}.tsv", "a fine film\t1", line)
    with pytest.raises(UserError, match=r"train.tsv, line 2: '.*' is no label \(0, 1\). A line must be: sentence<TAB>"):
        load("sst2", form="tsv")


def test_rotten_tomatoes_in_both_forms(load, tmp_path):
    folder = tmp_path / "rt-polarity"
    write(folder / "rt-polarity.all", *(f"{k % 2} text {k}" for k in range(40)))
    together = load("rotten_tomatoes")
    assert [len(part) for part in (together.train, together.val, together.test)] == [32, 4, 4]
    assert together.val.y.sum() == together.test.y.sum() == 2
    assert words(together)[0] == "text"
    (folder / "rt-polarity.all").unlink()
    for label, name in enumerate(("neg", "pos")):
        write(folder / f"rt-polarity.{name}", *(f"text {2 * k + label}" for k in range(20)))
    halves = load("rotten_tomatoes")
    assert halves.class_names == together.class_names
    assert len(halves.train) == 32


def test_trec_in_both_forms(load, tmp_path):
    train = [f"{k % 6} Who {k} ?" for k in range(60)]
    write(tmp_path / "TREC" / "TREC.train.all", *train)
    write(tmp_path / "TREC" / "TREC.test.all", *train[:12])
    numbers = load("trec")
    assert numbers.class_names == ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM")
    assert (len(numbers.train), len(numbers.val), len(numbers.test)) == (54, 6, 12)
    for path in (tmp_path / "TREC").iterdir():
        path.unlink()
    names = [f"{numbers.class_names[k % 6]}:fine Who {k} ?" for k in range(60)]
    write(tmp_path / "TREC" / "train_5500.label", *names)
    write(tmp_path / "TREC" / "TREC_10.label", *names[:12])
    named = load("trec")
    assert np.array_equal(named.train.x, numbers.train.x)
    assert np.array_equal(named.train.y, numbers.train.y)


def test_movie_reviews_packed_and_unpacked_are_the_same(load, tmp_path):
    folder = tmp_path / "review_polarity"
    reviews = {f"{label}/cv{k}.txt": f"{label} film\nnumber {k} ." for label in ("neg", "pos") for k in range(10)}
    folder.mkdir()
    with tarfile.open(folder / "review_polarity.tar.gz", "w:gz") as archive:
        for name, text in reviews.items():
            member = tarfile.TarInfo(f"txt_sentoken/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    packed = load("movie_reviews")
    for name, text in reviews.items():
        write(folder / "txt_sentoken" / name, text)
    unpacked = load("movie_reviews")
    assert packed.fingerprint == unpacked.fingerprint
    assert words(packed) == ["neg", "film", "number", words(packed)[3], "."]
    assert packed.class_names[packed.train.y[0]] == "negative"


def test_a_damaged_archive_is_refused(load, tmp_path):
    write(tmp_path / "review_polarity" / "review_polarity.tar.gz", "no archive")
    with pytest.raises(UserError, match=r"review_polarity.tar.gz is damaged"):
        load("movie_reviews")


COMMENT = "you are rude today"


def write_comments(root, *more):
    rows = [f"{'attack' if k % 2 else 'not_attack'}\t{COMMENT} {k}\t0010{k % 2}" for k in range(20)]
    write(root / "wiki_attack_rationales" / "dev.tsv", "label\tcomment\trationale", *more, *rows)


def test_comments_have_the_words_that_people_marked(load, tmp_path):
    write_comments(tmp_path, "attack\tgo away\t00", "not_attack\tthanks\t0")
    task = load("wiki_attack")
    assert task.has_annotations
    assert task.balanced_accuracy
    assert any("% annotated" in stamp for stamp in task.stamps)
    for split in ("train", "val", "test"):
        part = getattr(task, split)
        for row in range(len(part)):
            text = words(task, split, row)
            assert part.annotated[row] == ("rude" in text)
            if part.annotated[row]:
                assert marked_words(task, split, row)[0] == "rude"
                assert len(marked_words(task, split, row)) == 1 + int(part.y[row])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("attack\tgo away\t0", "line 2: the rationale marks 1 tokens, and the text has 2"),
        ("attack\tgo away", r"line 2 has 2 field\(s\), expected label<TAB>comment<TAB>rationale"),
        ("rude\tgo away\t00", "line 2: 'rude' is no label"),
    ],
)
def test_malformed_comments_are_refused(load, tmp_path, row, message):
    write_comments(tmp_path, row)
    with pytest.raises(UserError, match=message):
        load("wiki_attack")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sst2", {"form": "tsv"}, r"no SST-2 \(train.tsv, dev.tsv, test.tsv\) in .*text/SST-2, .*Put the three files"),
        ("rotten_tomatoes", {}, r"no Rotten Tomatoes .*rt-polaritydata.tar.gz there"),
        ("trec", {}, r"no TREC questions .*Put train_5500.label"),
        ("movie_reviews", {}, r"no movie reviews .*Put https://www.cs.cornell.edu"),
        ("movie_rationales", {}, r"no ERASER movie reviews .*Unpack https://www.eraserbenchmark.com"),
        ("wiki_attack", {}, r"no comments with rationales \(dev.tsv\)"),
        ("eraser_folder", {}, r"needs dataset.root=FOLDER"),
        ("eraser_folder", {"root": "/nowhere"}, r"cannot read /nowhere/train.jsonl"),
        ("text_file", {}, r"needs dataset.train=FILE"),
    ],
)
def test_missing_files_are_one_line_that_says_what_to_do(load, name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        load(name, **options)
    assert "\n" not in str(caught.value)


def test_the_vocabulary_is_that_of_the_training_texts(load, tmp_path):
    for name in ("train", "dev", "test"):
        write(tmp_path / "SST-2" / f"{name}.tsv", f"only {name} here\t1", "dull\t0")
    task = load("sst2", form="tsv")
    assert set(task.vocabulary[3:]) == {"only", "train", "here", "dull"}
    assert words(task, "test") == ["only", "[UNK]", "here"]


def test_no_token_that_is_common_enough_is_refused(tmp_path):
    write(tmp_path / "a.tsv", "text\tlabel", "one\t0", "two\t1")
    path = str(tmp_path / "a.tsv")
    config = data.config_class("text_file")(train=path, val=path, test=path, min_count=3)
    with pytest.raises(UserError, match=r"no token of text_file occurs dataset.min_count=3 times"):
        data.load(config, DecoyConfig(name="none"), seed=0, root=tmp_path, cache=tmp_path)
