"""Calibration: scikit-learn for proper scores, simulations with a known answer for the error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from zsclip.calibration import FEWEST_IN_BIN, MAX_BINS, SMALLEST, calibration


def softmax_table(*, count=300, classes=5, seed=0):
    """Probabilities (N, C) of float32 and the class of each picture (N,)."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    return scores, rng.integers(0, classes, count)


def summing_to_one(scores):
    """What scikit-learn wants, in float64."""
    scores = scores.astype(np.float64)
    return scores / scores.sum(axis=1, keepdims=True)


def measured(scores, truth):
    return calibration(
        scores.max(axis=1),
        scores.argmax(axis=1) == truth,
        truth_score=scores[np.arange(len(truth)), truth],
        squared=np.square(scores - np.eye(scores.shape[1])[truth]).sum(axis=1),
    )


def top_label(confidence, correct):
    """Only what bins and error are made from."""
    nothing = np.ones(len(confidence))
    return calibration(confidence, correct, truth_score=nothing, squared=nothing)


def simulated(*, count, gap=0.0, seed=0):
    """Confidences (N,), and answers that are right `gap` less often than they promise."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.4, 1, count)
    return confidence, rng.random(count) < confidence - gap


def plain_error(bins):
    """The usual expected calibration error, which chance alone lifts above 0."""
    total = sum(one.count for one in bins)
    return sum(one.count / total * abs(one.confidence - one.accuracy) for one in bins)


# proper scores


def test_nll_equals_scikit_learns_log_loss():
    scores, truth = softmax_table()

    found = measured(scores, truth)

    expected = reference.log_loss(truth, summing_to_one(scores))
    assert found.nll == pytest.approx(expected, rel=1e-6)


def test_brier_equals_scikit_learns_of_many_classes():
    scores, truth = softmax_table()

    found = measured(scores, truth)

    expected = reference.brier_score_loss(
        truth, summing_to_one(scores), labels=range(5), scale_by_half=False
    )
    assert found.brier == pytest.approx(expected, rel=1e-6)


def test_a_probability_of_zero_costs_much_but_not_everything():
    found = calibration(
        np.ones(1), np.zeros(1, dtype=bool), truth_score=np.zeros(1), squared=np.full(1, 2.0)
    )

    assert found.nll == -math.log(SMALLEST) and 87.3 < found.nll < 87.4


def test_no_pictures_have_no_calibration():
    nothing = np.zeros(0)

    found = top_label(nothing, nothing.astype(bool))

    assert found.bins == () and all(map(math.isnan, (found.nll, found.brier, found.error)))


# bins


def test_bins_hold_equally_many_pictures_where_all_confidences_differ():
    rng = np.random.default_rng(0)
    confidence, correct = rng.permutation(600) / 600, rng.random(600) < 0.5

    bins = top_label(confidence, correct).bins

    order = np.argsort(confidence)
    parts = np.split(order, MAX_BINS)
    assert [one.count for one in bins] == [40] * MAX_BINS
    for one, part in zip(bins, parts, strict=True):
        assert one.confidence == pytest.approx(confidence[part].mean())
        assert one.accuracy == pytest.approx(correct[part].mean())
        assert (one.low, one.high) == (confidence[part].min(), confidence[part].max())


@pytest.mark.parametrize(("count", "bins"), [(1, 1), (19, 1), (20, 2), (149, 14), (5000, 15)])
def test_few_pictures_make_few_bins(count, bins):
    confidence, correct = simulated(count=count)

    found = top_label(confidence, correct).bins

    assert len(found) == bins and sum(one.count for one in found) == count
    assert bins == 1 or min(one.count for one in found) >= FEWEST_IN_BIN


@given(st.integers(0, 10_000), st.integers(1, 400), st.sampled_from([1, 2, 5, 40]))
def test_equal_confidences_stay_together_and_the_order_of_pictures_does_not_matter(
    seed, count, levels
):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.integers(0, levels, count) / levels, rng.random(count) < 0.5
    shuffled = rng.permutation(count)

    found = top_label(confidence, correct)
    again = top_label(confidence[shuffled], correct[shuffled])

    assert sum(one.count for one in found.bins) == count
    assert all(a.high < b.low for a, b in zip(found.bins, found.bins[1:], strict=False))
    assert [(one.count, one.low, one.high) for one in found.bins] == [
        (one.count, one.low, one.high) for one in again.bins
    ]
    assert found.error == pytest.approx(again.error, abs=1e-7)


# error


def test_the_error_of_a_case_worked_by_hand():
    # two bins of 10: 0.9 said and 5 right, 0.6 said and 6 right
    confidence = np.repeat([0.6, 0.9], 10)
    correct = np.array([1] * 6 + [0] * 4 + [1] * 5 + [0] * 5, dtype=bool)

    found = top_label(confidence, correct)

    square = ((0 - 0.6 * 0.4 / 9) + (0.4**2 - 0.5 * 0.5 / 9)) / 2
    assert [one.count for one in found.bins] == [10, 10]
    assert found.error == pytest.approx(math.sqrt(square), abs=1e-12)


def test_calibrated_probabilities_have_next_to_no_error_where_the_usual_estimate_finds_one():
    found = [top_label(*simulated(count=400, seed=seed)) for seed in range(200)]

    usual = np.mean([plain_error(one.bins) for one in found])
    debiased = np.mean([one.error for one in found])
    none_at_all = np.mean([one.error == 0 for one in found])
    assert usual > 0.05, usual
    assert debiased < 0.025, debiased
    assert 0.4 < none_at_all < 0.7, none_at_all  # chance is as often less as more than expected


@pytest.mark.parametrize("gap", [0.1, 0.2, 0.35])
def test_a_known_gap_is_found(gap):
    errors = [top_label(*simulated(count=600, gap=gap, seed=seed)).error for seed in range(50)]

    assert np.mean(errors) == pytest.approx(gap, abs=0.01)


def test_a_lone_picture_that_ties_leave_says_nothing():
    confidence = np.array([0.5] * 149 + [0.6])

    found = top_label(confidence, np.ones(150, dtype=bool))

    assert [one.count for one in found.bins] == [149, 1]
    assert found.error == pytest.approx(math.sqrt(149 / 150 * (0.5 - 1) ** 2), abs=1e-12)
