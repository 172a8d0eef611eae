"""Agreement with human rationales against scikit-learn; deleting tokens against a bag of words worked by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import auc, f1_score, precision_recall_curve

from xfeedback.data.text import SEPARATOR, UNKNOWN
from xfeedback.explain.tokens import of_documents
from xfeedback.metrics.rationales import BINS, aopc, auprc, token_f1, top

LENGTHS = (20, 13, 7, 3, 1)


def example(levels: int):
    """Scores with many ties when there are few levels."""
    draws = torch.Generator().manual_seed(levels)
    scores = torch.randint(0, levels, (5, 20), generator=draws).double()
    valid = torch.arange(20) < torch.tensor(LENGTHS)[:, None]
    rationale = (torch.rand(5, 20, generator=draws) < 0.4) & valid
    rationale[:, 0] = True
    return scores, rationale, valid


@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_auprc_equals_scikit_learn(levels):
    scores, rationale, valid = example(levels)
    found = auprc(scores, rationale, valid)
    for row in range(5):
        real = valid[row]
        precision, recall, _ = precision_recall_curve(rationale[row][real].numpy(), scores[row][real].numpy())
        assert float(found[row]) == pytest.approx(auc(recall, precision), abs=1e-12)


def test_auprc_by_hand():
    """Marked first and third: points (recall, precision) (0, 1), (1/2, 1), (1/2, 1/2), (1, 2/3)."""
    marks = torch.tensor([[True, False, True]])
    found = auprc(torch.tensor([[3.0, 2.0, 1.0]]), marks, torch.ones_like(marks))
    assert float(found) == pytest.approx(0.5 + 0.5 * (1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("levels", [3, 10_000])
def test_token_f1_equals_scikit_learn_on_the_highest_tokens(share, levels):
    scores, rationale, valid = example(levels)
    found = token_f1(scores, rationale, valid, share)
    for row, length in enumerate(LENGTHS):
        order = sorted(range(length), key=lambda p, row=row: -float(scores[row, p]))
        chosen = np.isin(np.arange(length), order[: math.ceil(share * length)])
        expected = f1_score(rationale[row, :length].numpy(), chosen)
        assert float(found[row]) == pytest.approx(expected, abs=1e-12)


def test_nothing_marked_gives_zero():
    nothing, valid = torch.zeros(1, 4, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    assert token_f1(torch.rand(1, 4), nothing, valid, 0.5) == 0
    assert auprc(torch.rand(1, 4), nothing, valid) == 0


@pytest.mark.parametrize("share", BINS)
def test_three_tokens_give_one_at_least_and_rounding_is_up(share):
    scores = torch.tensor([[1.0, 3.0, 2.0, 9.0]])
    chosen = top(scores, torch.tensor([[True, True, True, False]]), share)
    assert chosen.tolist() == [[False, True, share == 0.5, False]]


def test_exact_shares_are_not_rounded_up_by_their_floating_point():
    for length in range(10, 400, 10):
        valid = torch.ones(1, length, dtype=torch.bool)
        assert int(top(torch.rand(1, length), valid, 0.1).sum()) == length // 10


WEIGHTS = torch.tensor([0.0, 0.5, -1.0, 2.0, -0.7, 1.1, 0.3, -2.0], dtype=torch.float64)


def bag(ids):
    """Logits (0, sum of the tokens' weights): the probability of class 1 is the sigmoid of the sum."""
    total = WEIGHTS[ids].sum(1)
    return torch.stack([torch.zeros_like(total), total], 1)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_deleting_from_a_bag_of_words_by_hand():
    """Two tokens of weight 2 and 1.1; every share takes one of them."""
    ids, scores = torch.tensor([[3, 5, 0]]), torch.tensor([[0.9, 0.1, 5.0]])
    found = aopc(bag, ids, scores, torch.tensor([1]))
    expected = sigmoid(3.1) - sigmoid(1.1), sigmoid(3.1) - sigmoid(2.0)
    assert found.comprehensiveness.tolist()[0] == pytest.approx([expected[0]] * 5, abs=1e-12)
    assert found.sufficiency.tolist()[0] == pytest.approx([expected[1]] * 5, abs=1e-12)


def test_deleting_equals_a_sorted_loop():
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 8, (6, 40), generator=draws)
    ids[2, 5] = ids[3, 0] = SEPARATOR
    for row, length in enumerate((40, 31, 22, 9, 3, 1)):
        ids[row, length:] = 0
    scores = torch.rand(6, 40, generator=draws, dtype=torch.float64)
    target = bag(ids).argmax(1)
    found = aopc(bag, ids, scores, target)
    for row, tokens in enumerate(ids.tolist()):
        places = [p for p, token in enumerate(tokens) if token not in (0, SEPARATOR)]
        fixed = sum(float(WEIGHTS[token]) for token in tokens if token == SEPARATOR)
        order = sorted(places, key=lambda p, row=row: -float(scores[row, p]))

        def probability(kept, row=row, tokens=tokens, fixed=fixed):
            value = fixed + sum(float(WEIGHTS[tokens[p]]) for p in kept)
            if not kept and fixed == 0:
                value = float(WEIGHTS[UNKNOWN])
            return sigmoid(value) if int(target[row]) else 1 - sigmoid(value)

        for level, share in enumerate(BINS):
            count = max(1, math.ceil(share * len(places) - 1e-9))
            comp = probability(places) - probability(order[count:])
            suff = probability(places) - probability(order[:count])
            assert float(found.comprehensiveness[row, level]) == pytest.approx(comp, abs=1e-12)
            assert float(found.sufficiency[row, level]) == pytest.approx(suff, abs=1e-12)


def test_the_question_of_a_pair_stays_where_documents_alone_are_ranked():
    """FEVER's rule by hand: question 3, documents 5 and 6 (the highest score is the question's)."""
    ids = torch.tensor([[3, SEPARATOR, 5, 6, SEPARATOR, 4, 0], [3, 5, 6, 0, 0, 0, 0]])
    ranked = of_documents(ids)
    assert ranked.tolist()[0][:6] == [False, True, True, True, True, True]
    assert ranked[1].all()
    scores = torch.tensor([[9.0, 0.0, 0.8, 0.1, 0.0, 0.2, 0.0], [9.0, 0.8, 0.1, 0.0, 0.0, 0.0, 0.0]])
    found = aopc(bag, ids, scores, torch.tensor([1, 1]), [0.1], ranked=ranked)
    fixed = float(2 * WEIGHTS[SEPARATOR] + WEIGHTS[3])  # the question and the separators
    whole = sigmoid(fixed + 1.1 + 0.3 - 0.7)
    assert found.comprehensiveness[0].item() == pytest.approx(whole - sigmoid(fixed + 0.3 - 0.7), abs=1e-12)
    assert found.sufficiency[0].item() == pytest.approx(whole - sigmoid(fixed + 1.1), abs=1e-12)
    assert found.comprehensiveness[1].item() == pytest.approx(sigmoid(3.4) - sigmoid(1.4), abs=1e-12)
