"""The user's own texts as TSV, CSV or JSONL."""

import json

import pytest

from tests.data.texts import marked_words, words, write
from xfeedback import data
from xfeedback.errors import UserError

HEADER = "text\tlabel\trationale"
ROWS = ("A good film.\tyes\t010", "A bad film.\tno\t010", "So what?\tno\t")


def test_tsv_with_rationales(load, tmp_path):
    path = write(tmp_path / "a.tsv", HEADER, *ROWS)
    task = load("text_file", train=path, val=path, test=path)
    assert task.class_names == ("no", "yes")
    assert words(task) == ["a", "good", "film", "."]
    assert marked_words(task) == ["good"]
    assert task.train.annotated.tolist() == [True, True, False]
    assert "67 % annotated" in task.stamps


def test_the_same_texts_in_every_form_are_the_same(load, tmp_path):
    entries = [dict(zip(HEADER.split("\t"), row.split("\t"), strict=True)) for row in ROWS]
    lists = [{**entry, "rationale": [int(c) for c in entry["rationale"]]} for entry in entries]
    ranges = [
        {**entry, "rationale": [[2, 6]] if k == 0 else [[2, 5]] if k == 1 else None} for k, entry in enumerate(entries)
    ]
    paths = [
        write(tmp_path / "a.tsv", HEADER, *ROWS),
        write(tmp_path / "a.csv", "text,label,rationale", *(row.replace("\t", ",") for row in ROWS)),
        write(tmp_path / "a.jsonl", *map(json.dumps, entries)),
        write(tmp_path / "b.jsonl", *map(json.dumps, lists)),
        write(tmp_path / "c.jsonl", *map(json.dumps, ranges)),
        write(tmp_path / "d.tsv", HEADER, *(f"{e['text']}\t{e['label']}\t{json.dumps(e['rationale'])}" for e in lists)),
    ]
    prints = {load("text_file", train=path, val=path, test=path).fingerprint for path in paths}
    assert len(prints) == 1


def test_quoted_fields_of_csv_may_hold_commas_and_line_breaks(load, tmp_path):
    path = write(tmp_path / "a.csv", "label,text", 'yes,"one, ""two""\nthree"', "no,four", "no,five,six")
    with pytest.raises(UserError, match=r"a.csv, line 5 has 3 field\(s\), and the header 2 \(label, text\)"):
        load("text_file", train=path, test=path)
    path = write(tmp_path / "a.csv", "label,text", 'yes,"one, ""two""\nthree"', "no,four")
    assert words(load("text_file", train=path, val=path, test=path)) == ["one", ",", '"', "two", '"', "three"]


def test_blanks_round_a_label_are_no_part_of_it(load, tmp_path):
    path = write(tmp_path / "a.tsv", "text\tlabel", *(f"some text\t{('yes', 'yes ', ' no')[k % 3]}" for k in range(30)))
    assert load("text_file", train=path).class_names == ("no", "yes")


def test_quotes_inside_a_field_are_its_own(load, tmp_path):
    path = write(tmp_path / "a.csv", "text,label", 'the "third",yes', "four,no")
    assert words(load("text_file", train=path, val=path, test=path)) == ["the", '"', "third", '"']


def test_long_fields_of_csv_are_read(load, tmp_path):
    path = write(tmp_path / "a.csv", "label,text", f"yes,{'long ' * 30_000}", "no,four")
    assert words(load("text_file", train=path, val=path, test=path))[:2] == ["long", "long"]


def test_no_rationale_column_is_no_annotation(load, tmp_path):
    path = write(tmp_path / "a.tsv", "text\tlabel", "one\t0", "two\t1")
    task = load("text_file", train=path, val=path, test=path)
    assert not task.has_annotations
    assert not data.config_class("text_file")(train=path).has_masks


def test_splits_that_are_not_given_are_drawn(load, tmp_path):
    path = write(tmp_path / "a.tsv", "text\tlabel", *(f"text {k}\t{k % 2}" for k in range(100)))
    alone = load("text_file", train=path)
    assert [len(part) for part in (alone.train, alone.val, alone.test)] == [80, 10, 10]
    assert not set(alone.train.index.tolist()) & set(alone.test.index.tolist())
    both = load("text_file", train=path, test=path)
    assert [len(part) for part in (both.train, both.val, both.test)] == [90, 10, 100]


def test_columns_may_have_other_names(load, tmp_path):
    path = write(tmp_path / "a.tsv", "review\tstars\twhy", "good\t5\t1", "bad\t1\t1")
    options = {"text_column": "review", "label_column": "stars", "rationale_column": "why"}
    task = load("text_file", train=path, val=path, test=path, **options)
    assert task.class_names == ("1", "5")
    assert task.train.mask.sum() == 2


def test_a_label_that_training_never_saw_is_refused(load, tmp_path):
    train = write(tmp_path / "a.tsv", "text\tlabel", *(f"text {k}\t{k % 2}" for k in range(40)))
    test = write(tmp_path / "b.tsv", "text\tlabel", "text\t2")
    with pytest.raises(UserError, match=r"the test texts have the label '2', which no training text has \(0, 1\)"):
        load("text_file", train=train, test=test)


@pytest.mark.parametrize(
    ("file", "rows", "message"),
    [
        ("a.tsv", [], "a.tsv is empty; it must begin with a header"),
        ("a.tsv", ["text\tlabel"], "has no train texts"),
        ("a.tsv", ["text\tlable", "one\t1"], r"line 2 has no 'label'. Did you mean 'lable'\? Name it with"),
        ("a.tsv", ["text\tlabel", "one"], r"line 2 has 1 field\(s\), and the header 2"),
        ("a.tsv", ["text\tlabel", "one\t"], "line 2: the text must be text and the label a word or number"),
        ("a.tsv", [HEADER, "one two\t1\t1"], "line 2: the rationale marks 1 tokens, and the text has 2"),
        ("a.tsv", [HEADER, "one two\t1\t1x"], "line 2: a rationale must be a string of 0 and 1"),
        ("a.tsv", [HEADER, "one two\t1\t[[0, 8]]"], "line 2: a rationale must be .* within the text"),
        ("a.tsv", [HEADER, "one two\t1\t[[0"], "line 2: the rationale is no list"),
        ("a.tsv", ["text\tlabel", "one\t1", "two\t1"], r"the training texts have 1 label\(s\)"),
        ("a.jsonl", ["[1]"], r"line 1 must be a JSON object, not \[1\]"),
        ("a.jsonl", [r'{"text": "\ud83d gone", "label": 1}'], "line 1 holds half of a character"),
        ("a.jsonl", ["[" * 100_000], "line 1 is no JSON: maximum recursion depth"),
        ("a.jsonl", ['{"text": 3, "label": 1}'], "line 1: the text must be text"),
        ("a.jsonl", ['{"text": "one", "label": NaN}'], "line 1: the text must be text and the label a word or number"),
        ("a.tsv", ["text\tlabel", "one\t "], "line 2: the text must be text and the label a word or number"),
        ("a.tsv", ["text\ttext\tlabel", "one\ttwo\t1"], "line 1: several columns are called 'text'"),
        ("a.csv", ["text,label", '"one,1', "two,2", 'the "third",3'], "line 2: .*A field with quotes stands in quotes"),
        ("a.csv", ["text,label", '"one" two,1'], "line 2: .*A field with quotes stands in quotes"),
        ("a.csv", ["text,label", "zero,0", '"one,1'], "line 3: .*A field with quotes stands in quotes"),
        ("a.txt", ["one"], "a.txt must be a .tsv, .csv or .jsonl file"),
    ],
)
def test_malformed_files_are_refused(load, tmp_path, file, rows, message):
    path = write(tmp_path / file, *rows)
    with pytest.raises(UserError, match=message) as caught:
        load("text_file", train=path, test=path, val=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("texts", [(), ("one\t1",), ("one\t1", "two\t2")])
def test_a_file_too_small_to_be_split_is_refused(load, tmp_path, texts):
    with pytest.raises(UserError, match=r"has no train texts"):
        load("text_file", train=write(tmp_path / "a.tsv", "text\tlabel", *texts))


def test_a_file_that_is_not_there_or_no_utf8_is_refused(load, tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*gone.tsv"):
        load("text_file", train=str(tmp_path / "gone.tsv"))
    (tmp_path / "a.tsv").write_bytes("text\tlabel\ncafé\t1\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"a.tsv is no utf-8 text: byte 14 can't be read"):
        load("text_file", train=str(tmp_path / "a.tsv"))


def test_val_without_test_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"val=a.tsv must be given together with dataset.test"):
        data.config_class("text_file")(train="a.tsv", val="a.tsv")
