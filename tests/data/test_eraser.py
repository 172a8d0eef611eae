"""The reader of ERASER: texts with evidences of their tokens, and what it refuses."""

import json

import pytest

from tests.data.texts import marked_words, words, write
from xfeedback.errors import UserError

# ERASER's format


def eraser_entry(k, evidences, **more):
    return {"annotation_id": f"d{k}", "query": "is it good ?", "classification": "NEG" if k % 2 else "POS"} | {
        "docids": [f"d{k}"],
        "evidences": evidences,
        **more,
    }


def evidence(name, start, end):
    return {"docid": name, "start_token": start, "end_token": end, "start_sentence": 0, "end_sentence": 1, "text": ""}


def write_eraser(folder, *entries):
    entries = entries or tuple(eraser_entry(k, [[evidence(f"d{k}", 1, 3)]]) for k in range(4))
    for name in ("train", "val", "test"):
        write(folder / f"{name}.jsonl", *map(json.dumps, entries))
    for k in range(4):
        write(folder / "docs" / f"d{k}", "the film is", f"truly number{k} .")
    return str(folder)


def test_eraser_texts_with_evidences(load, tmp_path):
    task = load("eraser_folder", root=write_eraser(tmp_path / "mine"))
    assert task.class_names == ("NEG", "POS")
    assert words(task) == ["is", "it", "good", "?", "[SEP]", "the", "film", "is", "truly", "number0", "."]
    assert marked_words(task) == ["film", "is"]


def test_eraser_movies_leave_the_query_out(load, tmp_path):
    write_eraser(tmp_path / "movies")
    task = load("movie_rationales")
    assert words(task) == ["the", "film", "is", "truly", "number0", "."]
    assert marked_words(task) == ["film", "is"]


def test_eraser_groups_and_documents_are_put_together(load, tmp_path):
    groups = [[evidence("d0", 0, 1)], [evidence("d1", 4, 5), evidence("d1", 5, 6)]]
    folder = write_eraser(tmp_path / "mine", *(eraser_entry(k, groups, docids=None, query="") for k in range(2)))
    task = load("eraser_folder", root=folder)
    assert words(task) == [
        "the",
        "film",
        "is",
        "truly",
        "number0",
        ".",
        "[SEP]",
        "the",
        "film",
        "is",
        "truly",
        "number1",
        ".",
    ]
    assert marked_words(task) == ["the", "number1", "."]


def test_eraser_documents_in_one_file(load, tmp_path):
    folder = tmp_path / "mine"
    write_eraser(folder)
    separate = load("eraser_folder", root=str(folder))
    rows = [{"docid": f"d{k}", "document": (folder / "docs" / f"d{k}").read_text()} for k in range(4)]
    for k in range(4):
        (folder / "docs" / f"d{k}").unlink()
    write(folder / "docs.jsonl", *map(json.dumps, rows))
    assert load("eraser_folder", root=str(folder)).fingerprint == separate.fingerprint


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (eraser_entry(0, [[evidence("d0", 4, 9)]]), r"line 1: evidence from token 4 to 9 of 'd0', which has 6 tokens"),
        (eraser_entry(0, [[evidence("d1", 0, 1)]]), r"line 1 has evidence in the document 'd1', which is not among"),
        (eraser_entry(0, [], docids=["gone"]), r"line 1 names the document 'gone', and there is no .*docs/gone"),
        (
            eraser_entry(0, [], docids=["../train.jsonl"]),
            r"line 1 names the document '../train.jsonl', and there is no",
        ),
        (eraser_entry(0, "all"), r"line 1: the field 'evidences' must be a list, not all"),
        (eraser_entry(0, [["all"]]), r"line 1: evidences must be lists of objects"),
        (eraser_entry(0, [], classification=None), r"line 1: the field 'classification' must be text, not None"),
    ],
)
def test_eraser_entries_that_do_not_fit_are_refused(load, tmp_path, entry, message):
    with pytest.raises(UserError, match=message):
        load("eraser_folder", root=write_eraser(tmp_path / "mine", entry))


def test_a_line_that_is_no_json_is_refused(load, tmp_path):
    folder = tmp_path / "mine"
    write_eraser(folder)
    write(folder / "train.jsonl", '{"annotation_id": 1')
    with pytest.raises(UserError, match=r"train.jsonl, line 1 is no JSON"):
        load("eraser_folder", root=str(folder))
