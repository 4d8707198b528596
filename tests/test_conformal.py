"""Label sets hold the truth as often as they say, on pictures of the same kind."""

from __future__ import annotations

import numpy as np
import pytest

from zsclip import conformal


def scored(rng: np.random.Generator, count: int, *, classes: int = 8, sure: float = 2.0):
    """Scores (N, C) of a model that is wrong about how sure it is, and the true classes."""
    logits = rng.normal(0, 1.5, (count, classes))
    truth = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    scores = np.exp(sure * logits)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), truth


def coverage_of(rng, coverage, *, calibrating, tested=200, sure=2.0):
    scores, truth = scored(rng, calibrating + tested, sure=sure)
    own = scores[np.arange(len(scores)), truth]
    limit = conformal.threshold(own[:calibrating], coverage)
    return float((own[calibrating:] >= limit).mean())


@pytest.mark.parametrize("sure", [0.3, 3.0])
@pytest.mark.parametrize(
    ("coverage", "calibrating"), [(0.9, 9), (0.9, 25), (0.9, 200), (0.5, 30), (0.95, 50)]
)
def test_the_truth_is_in_the_set_as_often_as_promised(coverage, calibrating, sure):
    rng = np.random.default_rng(calibrating)
    reached = [coverage_of(rng, coverage, calibrating=calibrating, sure=sure) for _ in range(800)]

    # the mean is between the coverage and 1 / (n + 1) more, section 1 of the source
    error = 4 * np.std(reached) / np.sqrt(len(reached))
    mean = np.mean(reached)
    assert coverage - error <= mean <= coverage + 1 / (calibrating + 1) + error, mean


@pytest.mark.parametrize(
    ("coverage", "count"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1), (0.999, 999), (0.8, 4)]
)
def test_the_fewest_pictures_are_those_with_a_threshold(coverage, count):
    scores = np.linspace(0.1, 0.9, count)

    assert conformal.fewest(coverage) == count
    assert conformal.threshold(scores, coverage) == scores[0]  # the lowest there is


def test_the_rank_does_not_suffer_from_floating_point():
    scores = np.arange(1, 100) / 100  # 99 of them: 0.07 * 100 is 7.000000000000001

    limit = conformal.threshold(scores, 0.07)

    assert (scores >= limit).sum() == 7


def test_the_order_of_pictures_does_not_matter():
    scores, truth = scored(np.random.default_rng(0), 60)
    own = scores[np.arange(60), truth]

    assert conformal.threshold(own, 0.9) == conformal.threshold(own[::-1], 0.9)


def test_more_coverage_never_takes_a_label_out():
    scores, truth = scored(np.random.default_rng(1), 300)
    own = scores[np.arange(300), truth]

    sizes = [
        conformal.members(scores, conformal.threshold(own, coverage)).sum(axis=1)
        for coverage in (0.5, 0.8, 0.9, 0.99)
    ]

    assert (np.diff(sizes, axis=0) >= 0).all()


def test_a_set_has_the_labels_that_reach_the_threshold():
    scores = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])

    inside = conformal.members(scores, 0.35)

    assert inside.tolist() == [[True, False, False], [True, True, False]]
