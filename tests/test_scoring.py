"""The math, against float64 references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zsclip import scoring
from zsclip.errors import UsageError

FINITE = st.floats(-1000, 1000, width=32)


def softmax64(logits):
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@pytest.mark.accepts("F2")
@given(arrays.arrays(np.float32, (3, 7), elements=FINITE))
def test_softmax_equals_the_float64_reference(logits):
    difference = np.abs(scoring.softmax(logits) - softmax64(logits)).max()

    assert difference < 1e-6, difference


@pytest.mark.accepts("F2")
@given(arrays.arrays(np.float32, (3, 7), elements=FINITE))
def test_sigmoid_equals_the_float64_reference(logits):
    x = logits.astype(np.float64)
    reference = np.exp(-np.logaddexp(0, -x))

    difference = np.abs(scoring.sigmoid(logits) - reference).max()

    assert difference < 1e-6, difference


@given(arrays.arrays(np.float32, (2, 5), elements=FINITE))
def test_softmax_sums_to_one(logits):
    sums = scoring.softmax(logits).sum(axis=-1)

    assert np.abs(sums - 1).max() < 1e-6, sums


@pytest.mark.accepts("F2")
@pytest.mark.parametrize("function", [scoring.softmax, scoring.sigmoid])
def test_extreme_logits_give_finite_scores(function):
    logits = np.float32([[3e38, -3e38, 0], [-3e38, -3e38, -3e38], [1e4, 1e4, -1e4]])

    with np.errstate(all="raise", under="ignore", over="ignore"):
        scores = function(logits)

    assert np.isfinite(scores).all() and scores.dtype == np.float32


@pytest.mark.accepts("F2")
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_a_large_scale_gives_the_probabilities_of_float64(scale):
    cosine = np.float32([[0.31, 0.3, -0.2], [0.25, 0.25, 0.25], [-0.9, -0.8, -1.0]])

    probs = scoring.scores(cosine, "softmax", scale=scale, bias=np.zeros(3, np.float32))

    difference = np.abs(probs - softmax64(scale * cosine.astype(np.float64))).max()
    assert difference < 1e-4 and np.abs(probs.sum(axis=-1) - 1).max() < 1e-6, difference


@pytest.mark.parametrize("function", [scoring.softmax, scoring.sigmoid])
def test_nan_stays_nan(function):
    scores = function(np.float32([[np.nan, 1.0]]))

    assert np.isnan(scores).any()


def test_a_zero_row_stays_zero_when_normalised():
    assert scoring.normalize(np.zeros((2, 4), np.float32)).tolist() == [[0.0] * 4] * 2


@given(arrays.arrays(np.float32, (4, 8), elements=st.floats(-100, 100, width=32)))
def test_normalised_rows_have_unit_length_or_are_zero(rows):
    rows = np.where(np.abs(rows) < 1e-3, 0, rows).astype(np.float32)

    lengths = np.linalg.norm(scoring.normalize(rows), axis=-1)

    assert all(abs(length - 1) < 1e-5 or length == 0 for length in lengths), lengths


def test_the_average_normalises_before_and_after_the_mean():
    prompts = np.float32([[10, 0], [0, 1]])

    difference = np.abs(scoring.average(prompts) - np.float32([np.sqrt(0.5)] * 2)).max()

    assert difference < 1e-7, difference


def test_the_average_is_not_the_mean_of_unnormalised_prompts():
    prompts = np.float32([[10, 0], [0, 1]])
    wrong = scoring.normalize(prompts.mean(axis=0))

    assert np.abs(scoring.average(prompts) - wrong).max() > 0.2


def test_cosines_have_a_row_per_image_and_a_column_per_class():
    images, weight = np.eye(3, 4, dtype=np.float32), np.eye(2, 4, dtype=np.float32)

    assert scoring.cosines(images, weight).tolist() == [[1, 0], [0, 1], [0, 0]]


def test_logits_scale_cosines_and_add_the_bias():
    cosine = np.float32([[0.5, 0.25]])

    logits = scoring.logits(cosine, scale=100.0, bias=np.float32([-10, 1]))

    assert logits.tolist() == [[40.0, 26.0]] and logits.dtype == np.float32


# labels against names of other things

COSINES = arrays.arrays(np.float32, (3, 4), elements=st.floats(-1, 1, width=32))
OTHERS = arrays.arrays(np.float32, (3, 9), elements=st.floats(-1, 1, width=32))


@given(COSINES, OTHERS, st.sampled_from([1.0, 30.0, 100.0]))
def test_the_share_equals_the_float64_reference(cosine, others, scale):
    mine, theirs = (scale * c.astype(np.float64) for c in (cosine, others))
    odds = np.log(np.exp(mine).mean(axis=1)) - np.log(np.exp(theirs).mean(axis=1))

    difference = np.abs(scoring.share(cosine, others, scale=scale) - 1 / (1 + np.exp(-odds))).max()

    assert difference < 1e-4, difference


@given(COSINES, OTHERS)
def test_the_share_does_not_depend_on_how_often_all_labels_and_names_are_there(cosine, others):
    once = scoring.share(cosine, others, scale=30.0)

    more = scoring.share(np.tile(cosine, 5), np.tile(others, 3), scale=30.0)

    assert np.abs(once - more).max() < 1e-5


def test_labels_as_near_as_the_names_have_half():
    cosine = np.full((2, 3), 0.25, np.float32)

    assert scoring.share(cosine, cosine[:, :1], scale=100.0).tolist() == [0.5, 0.5]


@given(COSINES, OTHERS)
def test_a_label_against_the_names_has_the_share_that_it_has_alone(cosine, others):
    scores = scoring.versus(cosine, others, scale=30.0)

    alone = [scoring.share(cosine[:, [i]], others, scale=30.0) for i in range(4)]
    assert np.abs(scores - np.stack(alone, axis=1)).max() < 1e-6
    assert scores.dtype == np.float32


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_a_large_scale_gives_finite_shares(scale):
    cosine, others = np.float32([[0.9, -1.0]]), np.float32([[0.1, -0.5, -1.0]])

    with np.errstate(all="raise", under="ignore"):
        share = scoring.share(cosine, others, scale=scale)

    assert share.tolist() == [1.0]


def test_labels_against_names_are_a_kind_of_score():
    cosine, others = np.float32([[0.3, 0.1]]), np.float32([[0.2, 0.0]])

    scores = scoring.scores(
        cosine, "vs_background", scale=40.0, bias=np.zeros(2, np.float32), background=others
    )

    assert scores.tolist() == scoring.versus(cosine, others, scale=40.0).tolist()


# kinds of score


def test_each_kind_of_score_is_made_from_the_same_cosines():
    cosine = np.float32([[0.3, 0.25, -0.1]])
    logits = 40.0 * cosine.astype(np.float64) - 10.0
    expected = {
        "softmax": softmax64(logits),
        "sigmoid": 1 / (1 + np.exp(-logits)),
        "cosine": cosine,
    }

    for kind, reference in expected.items():
        bias = np.full(3, -10.0, np.float32)
        scores = scoring.scores(cosine, kind, scale=40.0, bias=bias)

        difference = np.abs(scores - reference).max()
        assert difference < 1e-6 and scores.dtype == np.float32, (kind, difference)


def test_a_bias_that_all_classes_share_does_not_change_a_softmax():
    cosine = np.float32([[0.3, 0.25, -0.1]])

    with_bias, without = (
        scoring.scores(cosine, "softmax", scale=100.0, bias=np.full(3, bias, np.float32))
        for bias in (-12.5, 0.0)
    )

    assert np.abs(with_bias - without).max() < 1e-5


@pytest.mark.parametrize(
    ("bias", "kind"), [(None, "softmax"), (-10.0, "sigmoid"), (0.0, "sigmoid")]
)
def test_a_model_with_a_bias_was_trained_with_a_sigmoid(bias, kind):
    assert scoring.native_kind(bias) == kind


@pytest.mark.parametrize(
    ("asked", "native", "chosen"),
    [
        (None, "softmax", "softmax"),
        (None, "sigmoid", "sigmoid"),
        ("softmax", "sigmoid", "softmax"),
        ("sigmoid", "sigmoid", "sigmoid"),
        ("cosine", "softmax", "cosine"),
        ("cosine", "sigmoid", "cosine"),
    ],
)
def test_the_kind_that_is_asked_for_is_chosen_else_the_models_own(asked, native, chosen):
    assert scoring.choose_kind(asked, native=native, model="m") == chosen


def test_a_sigmoid_of_a_model_without_a_bias_is_refused_with_the_reason_and_what_to_use():
    with pytest.raises(UsageError, match=r"ViT-B/32 has no logit bias") as caught:
        scoring.choose_kind("sigmoid", native="softmax", model="ViT-B/32")

    assert caught.value.exit_code == 2 and "softmax or cosine" in (caught.value.tip or "")


def test_an_unknown_kind_of_score_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="'logit' is not one of softmax, sigmoid, cosine"):
        scoring.choose_kind("logit", native="softmax", model="m")


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=12), st.integers(0, 14)
)
def test_the_best_come_first_and_ties_keep_the_order_of_labels(values, k):
    best = scoring.top(np.float32(values), k)

    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert best == (expected[:k] if k else expected)
