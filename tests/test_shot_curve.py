"""The few-shot curve: what is drawn from, how often, and what stands beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_probe import NAMES, gathered

from zsclip import linear_probe, shot_curve
from zsclip.errors import UsageError
from zsclip.head_builder import build_head
from zsclip.shot_curve import curve, figure


@pytest.fixture
def prior(fake_model):
    return build_head(list(NAMES), model=fake_model, templates=["{}"])


@pytest.fixture
def measured(fake_model, prior):
    """A curve of well separated classes."""

    def run(train=None, test=None, *, shots=(4, 1, 2), seeds=(0, 1, 2), **options):
        return curve(
            train or gathered(),
            test or gathered(1, each=20),
            prior=prior,
            model=fake_model,
            shots=shots,
            seeds=seeds,
            **options,
        )

    return run


def test_every_number_of_shots_has_a_head_for_each_seed(measured, prior):
    found = measured()

    assert [point.shots for point in found.points] == [1, 2, 4]
    assert [point.pictures for point in found.points] == [3, 6, 12]
    assert all(len(point.values) == 3 for point in found.points)
    assert (found.train_pictures, found.test_pictures) == (30, 60)
    assert found.zero_shot == figure(prior, gathered(1, each=20))


def test_mean_and_spread_are_those_of_the_seeds(measured):
    point = measured().points[0]

    assert point.mean == pytest.approx(np.mean(point.values))
    assert point.deviation == pytest.approx(np.std(point.values, ddof=1))


def test_heads_are_fitted_to_training_pictures_only(measured, monkeypatch):
    train, test = gathered(), gathered(1, each=20)
    seen = []
    fit = shot_curve.fit_few_shot

    def noting(pictures, **options):
        seen.append(pictures)
        return fit(pictures, **options)

    monkeypatch.setattr(shot_curve, "fit_few_shot", noting)
    measured(train, test)

    assert len(seen) == 3 * 3 + 1
    assert all(pictures is train for pictures in seen)


def test_heads_from_all_pictures_stand_beside_the_curve(measured):
    full = measured().full

    assert [one.method for one in full] == ["few-shot", "linear"]
    assert all(one.pictures == 30 and one.value > 0.9 for one in full)


def test_a_curve_of_linear_probes_begins_lower(measured):
    few_shot = measured(shots=[1], seeds=range(5))
    linear = measured(shots=[1], seeds=range(5), method="linear")

    assert linear.method == "linear"
    assert linear.points[0].values != few_shot.points[0].values


def test_without_scikit_learn_there_is_the_few_shot_curve(measured, monkeypatch):
    monkeypatch.setattr(linear_probe, "is_installed", lambda: False)

    found = measured()

    assert [one.method for one in found.full] == ["few-shot"]
    with pytest.raises(UsageError, match="scikit-learn"):
        measured(method="linear")


def test_the_mean_per_class_weighs_classes_equally(prior):
    test = gathered(1, each=20)
    few = test.take(np.r_[0:20, 20:22, 40:42])
    head = replace(prior, weight=np.zeros_like(prior.weight), bias=np.array([1, 0, 0], "f4"))

    assert figure(head, few) == pytest.approx(20 / 24)
    assert figure(head, replace(few, metric="mean_per_class")) == pytest.approx(1 / 3)


def test_progress_counts_heads(measured):
    done = []

    measured(on_progress=lambda count, total: done.append((count, total)))

    assert done == [(count, 9) for count in range(1, 10)]


@pytest.mark.parametrize("shots", [[], [0, 1]])
def test_shots_are_one_or_more(measured, shots):
    with pytest.raises(UsageError, match="one or more"):
        measured(shots=shots)
