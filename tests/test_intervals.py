"""Bootstrap intervals: what they cover, what strata keep, and pairs."""

from __future__ import annotations

import math
import tracemalloc
from functools import partial

import numpy as np
import pytest

from zsclip import metrics
from zsclip.intervals import Interval, bootstrap, bootstrap_each, draw_weights, paired


def mean_of(values, weights):
    return float((values * weights).sum() / weights.sum())


def test_a_draw_is_as_many_pictures_as_there_are():
    weights = list(draw_weights(50, 20, seed=0))

    assert len(weights) == 20
    assert all(w.shape == (50,) and w.sum() == 50 and w.min() >= 0 for w in weights)


def test_draws_are_those_of_a_multinomial_distribution():
    drawn = np.array(list(draw_weights(10, 4000, seed=0)))

    # each count: mean 1, variance 0.9; of two counts: covariance -0.1; errors are of 4,000 draws
    covariance = np.cov(drawn.T)
    assert np.abs(drawn.mean(axis=0) - 1).max() < 0.06
    assert np.abs(np.diag(covariance) - 0.9).max() < 0.12
    assert np.abs(covariance[~np.eye(10, dtype=bool)] + 0.1).max() < 0.08


def test_a_group_keeps_its_number_of_pictures_in_every_draw():
    strata = np.array([7, 0, 0, 7, 3, 0, 7, 7, 0, 0])

    weights = list(draw_weights(10, 50, seed=0, strata=strata))

    kept = {tuple(w[strata == group].sum() for group in (0, 3, 7)) for w in weights}
    assert kept == {(5, 1, 4)}
    assert np.ptp(weights, axis=0)[strata != 4].max() > 1  # within a group they do change


def test_every_picture_of_a_group_is_drawn_as_often_as_the_others():
    strata = np.array([1, 0, 1, 0, 1])

    mean = np.mean(list(draw_weights(5, 4000, seed=0, strata=strata)), axis=0)

    assert np.abs(mean - 1).max() < 0.06, mean


def test_the_same_seed_gives_the_same_draws_and_another_one_others():
    first, same, other = (
        bootstrap(partial(mean_of, np.arange(30.0)), 30, draws=50, seed=seed) for seed in (1, 1, 2)
    )

    assert first == same and first != other


def test_the_value_is_that_of_all_pictures_once_each():
    values = np.arange(30.0)

    interval = bootstrap(partial(mean_of, values), 30, draws=50)

    assert interval.value == values.mean() and interval.low < interval.value < interval.high


def test_intervals_cover_the_true_share_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    share, trials = 0.7, 250

    covered = 0
    for trial in range(trials):
        rank = (rng.random(150) >= share).astype(int)
        interval = bootstrap(partial(metrics.acc, rank, k=1), 150, draws=150, seed=trial)
        covered += interval.low <= share <= interval.high

    # 0.95 less what the percentile interval lacks at 150, give or take the chance of 250 trials
    assert 0.91 <= covered / trials <= 0.98, covered / trials


def test_an_interval_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(size=400)

    interval = bootstrap(partial(mean_of, values), 400)

    theory = 2 * 1.96 * values.std() / math.sqrt(400)
    assert (interval.high - interval.low) == pytest.approx(theory, rel=0.1)


def test_groups_take_the_difference_between_groups_out_of_the_interval():
    truth = np.repeat([0, 1], 100)
    rank = np.where(truth == 0, 0, 9)  # one class always right, the other never

    free, kept = (
        bootstrap(partial(metrics.acc, rank, k=1), 200, draws=100, strata=strata)
        for strata in (None, truth)
    )

    assert free.low < 0.5 < free.high and kept == Interval(0.5, 0.5, 0.5)


def test_several_statistics_get_what_each_gets_alone():
    rank = np.random.default_rng(0).integers(0, 8, 60)
    statistics = {f"acc{k}": partial(metrics.acc, rank, k=k) for k in (1, 5)}

    together = bootstrap_each(statistics, 60, draws=50)

    assert together == {
        name: bootstrap(statistic, 60, draws=50) for name, statistic in statistics.items()
    }


def test_a_pair_is_b_minus_a_of_the_same_pictures():
    rng = np.random.default_rng(0)
    before = rng.random(300) < 0.5
    after = before | (rng.random(300) < 0.1)  # never worse, sometimes better
    a, b = (partial(mean_of, right.astype(float)) for right in (before, after))

    gain = paired(a, b, 300, draws=300)

    alone = bootstrap(a, 300, draws=300)
    assert gain.value == pytest.approx(after.mean() - before.mean())
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < (alone.high - alone.low) / 2


def test_a_pair_of_the_same_statistic_has_no_gain_and_no_doubt():
    statistic = partial(mean_of, np.arange(20.0))

    assert paired(statistic, statistic, 20, draws=30) == Interval(0, 0, 0)


def test_draws_in_which_a_statistic_is_not_defined_are_left_out():
    positive = np.array([True] + [False] * 5)  # a third of the draws have no positive one
    ranking = metrics.rank_pictures(np.array([3.0, 5, 4, 2, 1, 0]), positive)

    interval = bootstrap(partial(metrics.roc_auc, ranking), 6, draws=200)

    assert interval.value == 0.6 and 0 <= interval.low < 0.6 < interval.high <= 1


def test_a_statistic_that_is_not_defined_has_no_interval():
    ranking = metrics.rank_pictures(np.arange(3.0), np.ones(3, dtype=bool))

    for interval in (
        bootstrap(partial(metrics.roc_auc, ranking), 3, draws=10),
        bootstrap(partial(metrics.acc, np.zeros(0, dtype=int), k=1), 0, draws=10),
    ):
        assert all(math.isnan(v) for v in (interval.value, interval.low, interval.high))


def test_the_memory_of_many_draws_is_that_of_one():
    count = 20_000
    statistic = partial(metrics.acc, np.zeros(count, dtype=int), k=1)

    tracemalloc.start()
    bootstrap(statistic, count, draws=100)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak_bytes < 20 * count * 8, peak_bytes  # all draws would be 100 times
