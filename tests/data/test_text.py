"""Texts as ids: the tokeniser, the vocabulary, padding, cutting, rationales."""

import numpy as np
import pytest

from xfeedback.data.text import (
    PADDING,
    SEPARATOR,
    UNKNOWN,
    Text,
    TextConfig,
    class_names,
    encode,
    marked,
    tokens,
    vocabulary,
)
from xfeedback.errors import UserError

VOCABULARY = ("[PAD]", "[UNK]", "[SEP]", "a", "good", "film", "is", "this")


def config(**options):
    return TextConfig(name="any", **options)


def encoded(text, length, rationale=(), **options):
    return encode([config(max_length=length, **options).cut(text)], [rationale], VOCABULARY, length)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's a GOOD film!", ["it's", "a", "good", "film", "!"]),
        ("  don\u2019t ...stop\n", ["don\u2019t", ".", ".", ".", "stop"]),
        ("Où? 日本 3.5", ["où", "?", "日本", "3", ".", "5"]),
        ("one [SEP] two", ["one", "[SEP]", "two"]),
        ("", []),
        (" \t\n", []),
    ],
)
def test_words(text, expected):
    assert [token for token, _ in tokens(text, "words", lower=True)] == expected


def test_whitespace_keeps_tokens_as_they_are():
    assert [t for t, _ in tokens("wo n't  Stop.", "whitespace", lower=False)] == ["wo", "n't", "Stop."]


@pytest.mark.parametrize("tokeniser", ["words", "whitespace"])
def test_ranges_are_those_of_the_text_even_where_lower_case_is_longer(tokeniser):
    text = "İstanbul'da İyi film."
    found = tokens(text, tokeniser, lower=True)
    assert [text[start:end].lower() for _, (start, end) in found] == [token for token, _ in found]


def test_vocabulary_has_the_commonest_first_and_ties_in_alphabetical_order():
    texts = [["b", "a", "c"], ["c", "a", "b", "[SEP]"], ["c", "d"]]
    assert vocabulary(texts, 1, None)[3:] == ("c", "a", "b", "d")
    assert vocabulary(texts, 2, None)[3:] == ("c", "a", "b")
    assert vocabulary(texts, 1, 5)[3:] == ("c", "a")


def test_encode_pads_at_the_end_and_cuts():
    texts = [config(max_length=4).cut(text) for text in ("This is a strange film", "good")]
    arrays = encode(texts, [(), ()], VOCABULARY, 4)
    assert arrays["x"].tolist() == [[7, 6, 3, UNKNOWN], [4, PADDING, PADDING, PADDING]]
    assert not arrays["annotated"].any()


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_text_is_one_unknown_token(text):
    assert encoded(text, 3)["x"].tolist() == [[UNKNOWN, 0, 0]]


def test_a_text_of_one_token_is_that_token():
    assert encoded("film", 1)["x"].tolist() == [[5]]


def test_pairs_keep_their_separator():
    assert encoded("good [SEP] film", 3)["x"].tolist() == [[4, SEPARATOR, 5]]


def test_a_rationale_marks_every_token_it_touches_and_no_separator():
    text = "this is good [SEP] film"
    arrays = encoded(text, 6, ((text.index("ood"), len(text) - 3),))
    assert arrays["mask"].tolist() == [[False, False, True, False, True, False]]
    assert arrays["annotated"].tolist() == [True]


def test_a_rationale_ends_where_its_range_ends():
    assert encoded("this is good", 3, ((0, 4), (8, 12)))["mask"].tolist() == [[True, False, True]]


def test_a_rationale_that_is_cut_off_is_no_annotation():
    assert encoded("this is good", 2, ((8, 12),))["annotated"].tolist() == [False]


def test_marked_tokens_become_ranges():
    assert marked("a  bc d", [True, False, True], "here") == ((0, 1), (6, 7))
    with pytest.raises(UserError, match="row 3: the rationale marks 2 tokens, and the text has 3 between blanks"):
        marked("a b c", [True, False], "row 3")


def test_marks_per_blank_serve_another_tokeniser():
    """'good.' is marked as one token between blanks, and is two words."""
    text = "A good. film"
    arrays = encoded(text, 5, marked(text, [False, True, False], ""), tokeniser="words")
    assert arrays["mask"].tolist() == [[False, True, True, False, False]]


def test_a_label_that_training_never_saw_is_refused():
    train = [Text(text="a", label="neg"), Text(text="b", label="pos")]
    assert class_names(train, [("test", train)]) == ("neg", "pos")
    with pytest.raises(UserError, match="the test texts have the label 'neutral', which no training text has"):
        class_names(train, [("test", [Text(text="c", label="neutral")])])


def test_one_label_is_no_task():
    with pytest.raises(UserError, match=r"have 1 label\(s\)"):
        class_names([Text(text="a", label="x")], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "max_length=0 must be 1 or more"),
        ({"min_count": 0}, "min_count=0 must be 1 or more"),
        ({"max_size": 3}, "max_size=3 must be 4 or more"),
        ({"split_seed": -1}, "split_seed=-1 must be 0 or more"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


def test_padding_is_zero_and_ids_fit_the_vocabulary():
    x = encoded("good film this", 8)["x"]
    assert x.dtype == np.int64
    assert x.max() < len(VOCABULARY)
    assert (x[0, 3:] == 0).all()


def test_a_word_that_is_written_as_padding_is_no_padding():
    """It would end the text, or leave a hole in it, that nothing may choose or mark."""
    texts = [tokens(text, "whitespace", lower=False) for text in ("good [PAD] film", "[PAD]")]
    known = vocabulary([[token for token, _ in text] for text in texts], 1, None)
    arrays = encode(texts, [[(5, 10)], []], known, 3)
    assert arrays["x"].tolist() == [[known.index("good"), 1, known.index("film")], [1, 0, 0]]
    assert arrays["mask"].tolist() == [[False, True, False], [False, False, False]]
