"""What is answered, from scores alone."""

from __future__ import annotations

from math import nan

import numpy as np
import pytest

from zsclip.errors import UsageError
from zsclip.results import Result
from zsclip.rules import Rules

NAMES = ("cat", "dog", "key")
SCORES = (0.2, 0.7, 0.1)
COSINES = (0.30, 0.35, 0.28)


def answer(scores=SCORES, share=None, **rules) -> Result:
    result = Result(path="a.png", status="ok", model="m", head="h", score_kind="softmax")
    similarity = np.array(COSINES, np.float32)
    return Rules(NAMES, **rules).answer(result, np.array(scores, np.float32), similarity, share)


def test_the_best_label_is_the_answer_and_the_best_are_told():
    found = answer(top_k=2)

    assert (found.path, found.label, found.score) == ("a.png", "dog", pytest.approx(0.7))
    assert found.cosine == pytest.approx(0.35)
    assert [one.label for one in found.scores] == ["dog", "cat"]
    assert (found.labels, found.label_set, found.share) == (None, None, None)


def test_all_labels_are_told_where_zero_are_asked_for():
    assert [one.label for one in answer(top_k=0).scores] == ["dog", "cat", "key"]


@pytest.mark.parametrize(
    ("rules", "label"),
    [
        ({"min_score": 0.7}, None),  # float32's 0.7 is under it
        ({"min_score": 0.69}, "dog"),
        ({"min_score": 0.71}, None),
        ({"min_cosine": 0.34}, "dog"),
        ({"min_cosine": 0.36}, None),
        ({"min_score": 0.1, "min_cosine": 0.36}, None),
        ({"thresholds": (None, 0.8, None)}, None),
        ({"thresholds": (0.9, None, 0.9)}, "dog"),
        ({"thresholds": (None, 0.1, None), "min_score": 0.8}, None),
    ],
)
def test_a_label_under_a_limit_is_no_answer_and_keeps_its_scores(rules, label):
    found = answer(**rules)

    assert found.label == label
    assert found.score == pytest.approx(0.7) and found.scores[0].label == "dog"


@pytest.mark.parametrize(
    ("scores", "rules", "labels"),
    [
        ((0.6, 0.7, 0.1), {}, ("dog", "cat")),  # from 0.5 on
        ((0.4, 0.3, 0.1), {}, ()),
        ((0.6, 0.7, 0.1), {"min_score": 0.65}, ("dog",)),
        ((0.6, 0.7, 0.1), {"thresholds": (0.65, None, 0.05)}, ("dog", "key")),
        ((0.6, 0.7, 0.1), {"top_k": 1}, ("dog", "cat")),
    ],
)
def test_of_several_all_that_fit_are_answered(scores, rules, labels):
    found = answer(scores, multi_label=True, **rules)

    assert found.labels == labels
    assert found.label == (labels[0] if labels else None)


@pytest.mark.parametrize(("share", "label"), [(0.49, "none"), (0.5, "dog"), (1.0, "dog")])
def test_where_the_share_is_small_it_is_other(share, label):
    found = answer(share=share, other="none", other_below=0.5)

    assert (found.label, found.share) == (label, share)
    assert found.scores[0].label == "dog"


@pytest.mark.parametrize(
    ("limit", "members"), [(0.05, ("dog", "cat", "key")), (0.15, ("dog", "cat")), (0.8, ())]
)
def test_a_set_has_every_label_from_its_threshold_on(limit, members):
    assert answer(set_threshold=limit, top_k=1).label_set == members


def test_without_cosines_none_are_told():
    found = answer(has_cosines=False)

    assert found.cosine is None and {one.cosine for one in found.scores} == {None}


@pytest.mark.parametrize(
    "rules",
    [
        {"top_k": -1},
        {"min_score": nan},
        {"min_cosine": nan},
        {"min_cosine": 0.2, "has_cosines": False},
        {"other": "dog"},
    ],
)
def test_what_cannot_be_meant_is_refused(rules):
    with pytest.raises(UsageError):
        Rules(NAMES, **rules)
