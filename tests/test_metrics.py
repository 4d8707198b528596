"""Metrics, against scikit-learn, a literal reading of VOC's formula, and repeated pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from zsclip import metrics

CLASSES = 7


def table(*, seed=0, count=200):
    """Scores (N, C), of which some are equal, and the class of each picture (N,)."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 40, (count, CLASSES)) / 8 + np.arange(CLASSES) / 100
    return scores, rng.integers(0, CLASSES, count)


def ranks(scores, truth):
    """How many classes are before the true one, (N,)."""
    own = scores[np.arange(len(truth)), truth]
    return (scores > own[:, None]).sum(axis=1)


def counts(*, seed=1, count=200):
    return np.random.default_rng(seed).integers(0, 4, count).astype(np.float64)


def slow_ap_11(scores, relevant):
    """The devkit's formula, word by word; only for scores that are all different."""
    pictures = sorted(zip(scores, relevant, strict=True), reverse=True)
    found = wrong = 0
    points = []
    for _, kind in pictures:
        found += kind == 1
        wrong += kind == 0
        if found + wrong:
            points.append((found, found / (found + wrong)))
    levels = range(11)
    return sum(max(p for f, p in points if 10 * f >= t * found) for t in levels) / 11


# of the best true class


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("weights", [np.ones(200), counts()], ids=["ones", "counts"])
def test_accuracy_of_the_k_best_equals_scikit_learns(k, weights):
    scores, truth = table()

    found = metrics.acc(ranks(scores, truth), weights, k=k)

    expected = reference.top_k_accuracy_score(
        truth, scores, k=k, sample_weight=weights, labels=range(CLASSES)
    )
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weights", [np.ones(200), counts()], ids=["ones", "counts"])
def test_mean_per_class_equals_scikit_learns_balanced_accuracy(weights):
    scores, truth = table()

    found = metrics.mean_per_class(ranks(scores, truth), weights, truth=truth, classes=CLASSES)

    expected = reference.balanced_accuracy_score(
        truth, scores.argmax(axis=1), sample_weight=weights
    )
    assert found == pytest.approx(expected, abs=1e-12)


def test_recall_per_class_equals_scikit_learns():
    scores, truth = table()

    found = metrics.recall_per_class(
        ranks(scores, truth), np.ones(200), truth=truth, classes=CLASSES
    )

    expected = reference.recall_score(truth, scores.argmax(axis=1), average=None)
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_class_without_pictures_has_no_recall_and_does_not_count_in_the_mean():
    rank, truth = np.array([0, 3, 0]), np.array([0, 0, 2])

    recall = metrics.recall_per_class(rank, np.ones(3), truth=truth, classes=4)
    mean = metrics.mean_per_class(rank, np.ones(3), truth=truth, classes=4)

    assert recall == pytest.approx([0.5, math.nan, 1, math.nan], nan_ok=True) and mean == 0.75


def test_kinetics_is_measured_in_the_mean_of_top_1_and_top_5():
    rank = np.array([0, 4, 5, 0])

    assert metrics.top1_top5_mean(rank, np.ones(4)) == (0.5 + 0.75) / 2


def test_the_confusion_matrix_equals_scikit_learns():
    scores, truth = table()
    predicted = scores.argmax(axis=1)

    found = metrics.confusion(truth, predicted, classes=CLASSES)

    assert found.dtype == np.int64
    assert (found == reference.confusion_matrix(truth, predicted)).all()


def test_classes_that_never_occur_have_a_row_and_a_column():
    found = metrics.confusion(np.array([2]), np.array([0]), classes=4)

    assert found.shape == (4, 4) and found[2, 0] == found.sum() == 1


def test_a_picture_that_got_no_class_is_in_no_column():
    found = metrics.confusion(np.array([0, 1, 1]), np.array([0, -1, 1]), classes=2)

    assert found.tolist() == [[1, 0], [0, 1]]


def test_a_class_number_too_high_is_an_error_and_no_other_cell():
    with pytest.raises(ValueError, match="invalid entry"):
        metrics.confusion(np.array([0]), np.array([2]), classes=2)


# by rank of pictures


@given(st.integers(0, 10_000), st.integers(2, 60))
def test_average_precision_equals_a_literal_reading_of_the_formula(seed, count):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(count) / 7
    relevant = rng.choice([-1, 0, 1], count, p=[0.2, 0.5, 0.3])
    relevant[0] = 1

    ranking = metrics.rank_pictures(scores, relevant)

    found = metrics.average_precision_11(ranking, np.ones(count))
    assert found == pytest.approx(slow_ap_11(scores, relevant), abs=1e-12)


def test_average_precision_of_a_case_worked_by_hand():
    # two of the class, at places 1 and 4: precision 1 up to a recall of 0.5 (six levels), then 2/4
    scores, relevant = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1, 0, 0, 1])

    found = metrics.average_precision_11(metrics.rank_pictures(scores, relevant), np.ones(4))

    assert found == pytest.approx((6 * 1 + 5 * 0.5) / 11, abs=1e-15)


def test_a_recall_of_three_tenths_reaches_the_level_of_three_tenths():
    # 10 of the class; three first, then a wrong one before each of the others
    relevant = np.array([1, 1, 1] + [0, 1] * 7)
    scores = -np.arange(17.0)

    found = metrics.average_precision_11(metrics.rank_pictures(scores, relevant), np.ones(17))

    assert 3 / 10 < 3 * 0.1
    later = [n / (n + n - 3) for n in range(4, 11)]
    best = [1.0] * 4 + [max(later[i:]) for i in range(7)]
    assert found == pytest.approx(sum(best) / 11, abs=1e-15)


def test_pictures_that_are_left_out_change_nothing_wherever_they_rank():
    scores, relevant = np.array([5.0, 4, 3, 2, 1]), np.array([0, 1, 0, 1, 0])
    with_ignored = np.insert(scores, [0, 2, 5], [9, 3.5, 0]), np.insert(relevant, [0, 2, 5], -1)

    found = metrics.average_precision_11(metrics.rank_pictures(*with_ignored), np.ones(8))

    expected = metrics.average_precision_11(metrics.rank_pictures(scores, relevant), np.ones(5))
    assert found == expected


@given(st.permutations(range(8)))
def test_the_order_of_pictures_does_not_matter_where_scores_are_equal(order):
    scores = np.array([2.0, 1, 1, 1, 1, 0, 0, -np.inf])[order]
    relevant = np.array([0, 1, 0, 1, 0, 1, 0, 1])[order]

    ranking = metrics.rank_pictures(scores, relevant)

    # down to the 1s 2 of 5, to the 0s 3 of 7, to the end 4 of 8, which is the best at any recall
    assert metrics.average_precision_11(ranking, np.ones(8)) == 0.5
    assert metrics.roc_auc(ranking, np.ones(8)) == reference.roc_auc_score(
        relevant, np.maximum(scores, -1e9)
    )


def test_a_constant_score_is_as_good_as_chance():
    relevant = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])

    ranking = metrics.rank_pictures(np.full(10, 0.3), relevant)

    assert metrics.average_precision_11(ranking, np.ones(10)) == pytest.approx(0.3)
    assert metrics.roc_auc(ranking, np.ones(10)) == 0.5


@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from([3, 1000]))
def test_the_roc_area_equals_scikit_learns_with_and_without_ties(seed, count, levels):
    rng = np.random.default_rng(seed)
    score, positive = rng.integers(0, levels, count) / 3, rng.random(count) < 0.4
    positive[:2] = True, False
    weights = rng.integers(0, 3, count).astype(np.float64)
    weights[:2] = 1

    found = metrics.roc_auc(metrics.rank_pictures(score, positive), weights)

    expected = reference.roc_auc_score(positive, score, sample_weight=weights)
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_mean_over_classes_leaves_out_classes_that_no_picture_shows():
    scores = np.array([4.0, 3.0, 2.0])
    relevant = [np.array(kinds) for kinds in ([1, 0, 0], [0, 1, 0], [0, 0, -1])]

    rankings = [metrics.rank_pictures(scores, kinds) for kinds in relevant]

    assert metrics.map11(rankings, np.ones(3)) == pytest.approx((1 + 0.5) / 2)


# weights


def every_figure(scores, truth, weights):
    rank = ranks(scores, truth)
    relevant = np.where(scores[:, 1] % 1 < 0.2, -1, truth == 0)
    ranking = metrics.rank_pictures(scores[:, 0], relevant)
    others = [metrics.rank_pictures(scores[:, i], truth == i) for i in range(CLASSES)]
    return {
        "acc1": metrics.acc(rank, weights, k=1),
        "acc5": metrics.acc(rank, weights, k=5),
        "mean_per_class": metrics.mean_per_class(rank, weights, truth=truth, classes=CLASSES),
        "top1_top5_mean": metrics.top1_top5_mean(rank, weights),
        "ap": metrics.average_precision_11(ranking, weights),
        "map11": metrics.map11(others, weights),
        "roc_auc": metrics.roc_auc(ranking, weights),
    }


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_a_weight_is_as_many_times_the_same_picture(seed, count):
    scores, truth = table(seed=seed, count=count)
    weights = counts(seed=seed, count=count)
    times = weights.astype(int)

    weighted = every_figure(scores, truth, weights)

    repeated = every_figure(
        np.repeat(scores, times, axis=0), np.repeat(truth, times), np.ones(times.sum())
    )
    assert weighted == pytest.approx(repeated, abs=1e-12, nan_ok=True)


def test_a_figure_of_no_pictures_is_not_a_number():
    with np.errstate(all="raise"):
        figures = every_figure(np.zeros((0, CLASSES)), np.zeros(0, dtype=int), np.ones(0))

    assert all(math.isnan(value) for value in figures.values()), figures


@pytest.mark.parametrize("kind", [True, False])
def test_one_kind_of_picture_has_no_roc_area(kind):
    ranking = metrics.rank_pictures(np.arange(3.0), np.full(3, kind))

    with np.errstate(all="raise"):
        assert math.isnan(metrics.roc_auc(ranking, np.ones(3)))


def test_a_class_that_no_picture_shows_has_no_average_precision():
    ranking = metrics.rank_pictures(np.arange(3.0), np.zeros(3, dtype=np.int8))

    with np.errstate(all="raise"):
        assert math.isnan(metrics.average_precision_11(ranking, np.ones(3)))
