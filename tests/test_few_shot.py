"""Few-shot heads: the closed form against brute force, and what it does to good and bad priors."""

from __future__ import annotations

import numpy as np
import pytest

from zsclip import few_shot
from zsclip.scoring import normalize

SCALE = 100.0


def clusters(seed, *, classes=6, each=8, spread=0.8, prior_error=1.0, dimension=24):
    """Pictures (N, D) of unit length around class centres, labels, and a zero-shot guess (C, D)."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((classes, dimension))
    labels = np.repeat(np.arange(classes), each)
    noise = spread * generator.standard_normal((len(labels), dimension))
    guess = centres + prior_error * generator.standard_normal((classes, dimension))
    return normalize(centres[labels] + noise), labels, normalize(guess)


def accuracy(weight, bias, features, labels):
    return float(((features @ weight.T + bias).argmax(axis=1) == labels).mean())


@pytest.fixture
def ridge():
    features, labels, prior = clusters(0, each=3)
    centred = (features - features.mean(axis=0)).astype(np.float64)
    return few_shot.Ridge(centred, features @ prior.T, labels, 20.0), centred


def residual_of(ridge, count):
    return ridge._residual(slice(0, count))


def solve(rows, targets, penalty):
    """Ridge regression through the origin, by the normal equations: (D, C)."""
    gram = rows.T @ rows + penalty * np.eye(rows.shape[1])
    return np.linalg.solve(gram, rows.T @ targets)


def test_no_pictures_give_the_zero_shot_weights_back():
    features, labels, prior = clusters(0)

    found = few_shot.fit(features[:0], labels[:0], prior=prior, scale=SCALE)

    np.testing.assert_array_equal(found.weight, (SCALE * prior.astype(np.float64)).astype("f4"))
    assert not found.bias.any()
    assert found.scale == SCALE


@pytest.mark.parametrize("strength", few_shot.STRENGTHS)
def test_left_out_predictions_are_those_of_fits_without_the_picture(ridge, strength):
    ridge, centred = ridge
    count = len(centred)
    residual = residual_of(ridge, count)

    by_leverage = ridge.left_out(strength, slice(0, count))

    kept = [np.arange(count) != i for i in range(count)]
    brute = [
        centred[i] @ solve(centred[rest], residual[rest], strength * ridge.square)
        for i, rest in enumerate(kept)
    ]
    np.testing.assert_allclose(by_leverage, brute, atol=1e-9)


def test_the_correction_is_the_ridge_solution_summed_over_strengths(ridge):
    ridge, centred = ridge
    residual = residual_of(ridge, len(centred))
    gains = np.array([0.0, 1.5, 0.0, 0.5, 2.0])

    correction = ridge.correction(gains)

    expected = sum(
        gain * solve(centred, residual, strength * ridge.square).T
        for gain, strength in zip(gains, few_shot.STRENGTHS, strict=True)
    )
    np.testing.assert_allclose(correction, expected, atol=1e-9)


def test_the_logits_are_those_of_the_zero_shot_head_and_the_correction():
    features, labels, prior = clusters(1)
    new = clusters(2)[0]

    found = few_shot.fit(features, labels, prior=prior, scale=SCALE)

    pictures, words = features.astype(np.float64), prior.astype(np.float64)
    centre = pictures.mean(axis=0)
    ridge = few_shot.Ridge(pictures - centre, pictures @ words.T, labels, found.scale)
    gains = few_shot._shares(ridge.log_likelihoods()) @ few_shot.GAINS
    expected = found.scale * new @ words.T + (new - centre) @ ridge.correction(gains).T
    np.testing.assert_allclose(new @ found.weight.T + found.bias, expected, atol=1e-4)


def test_one_picture_a_class_has_no_say_in_how_far_to_go():
    features, labels, prior = clusters(0, each=1)

    ridge = few_shot.Ridge(features.astype(float), features @ prior.T, labels, SCALE)

    assert not ridge.log_likelihoods().any()


def test_blocks_of_pictures_do_not_change_the_head(monkeypatch):
    features, labels, prior = clusters(0)
    whole = few_shot.fit(features, labels, prior=prior, scale=SCALE)

    monkeypatch.setattr(few_shot, "_BLOCK", 5)
    in_blocks = few_shot.fit(features, labels, prior=prior, scale=SCALE)

    np.testing.assert_allclose(in_blocks.weight, whole.weight, atol=1e-3)


def test_the_order_of_pictures_does_not_change_the_head():
    features, labels, prior = clusters(0)
    order = np.random.default_rng(0).permutation(len(labels))

    first = few_shot.fit(features, labels, prior=prior, scale=SCALE)
    second = few_shot.fit(features[order], labels[order], prior=prior, scale=SCALE)

    np.testing.assert_allclose(second.weight, first.weight, atol=1e-3)


def test_equal_pictures_leave_the_zero_shot_answers():
    prior = clusters(0, classes=2)[2]
    features = np.repeat(prior[:1], 4, axis=0)

    found = few_shot.fit(features, np.array([0, 0, 1, 1]), prior=prior, scale=SCALE)

    assert np.isfinite(found.weight).all()
    np.testing.assert_allclose(found.weight, found.scale * prior, atol=1e-4)


def test_a_scale_that_promises_too_much_is_lowered():
    features, labels, prior = clusters(0, spread=1.5, prior_error=2.0)

    assert few_shot.calibrate(features @ prior.T, labels, SCALE) < SCALE / 2


def test_a_good_scale_stays_near_the_models_own():
    features, labels, prior = clusters(0, prior_error=0.0)
    likely = few_shot.calibrate(features @ prior.T, labels, 10.0)

    assert 5.0 <= likely <= 20.0


def test_a_prior_that_knows_nothing_is_overruled():
    features, labels, prior = clusters(3, prior_error=100.0)
    others = clusters(3, each=40, prior_error=100.0)[:2]

    found = few_shot.fit(features, labels, prior=prior, scale=SCALE)

    assert accuracy(prior, 0, *others) < 0.5
    assert accuracy(found.weight, found.bias, *others) > 0.8


def test_a_perfect_prior_is_kept():
    features, labels, prior = clusters(4, spread=0.4, prior_error=0.0)

    found = few_shot.fit(features[::8], labels[::8], prior=prior, scale=SCALE)

    assert accuracy(prior, 0, features, labels) == 1
    assert accuracy(found.weight, found.bias, features, labels) == 1


@pytest.mark.parametrize("prior_error", [0.3, 1.0, 2.0])
def test_one_picture_a_class_does_not_lower_the_accuracy_on_average(prior_error):
    gains = []
    for seed in range(30):
        features, labels, prior = clusters(seed, each=20, spread=1.2, prior_error=prior_error)
        shot = np.arange(0, len(labels), 20)
        rest = np.setdiff1d(np.arange(len(labels)), shot)
        found = few_shot.fit(features[shot], labels[shot], prior=prior, scale=SCALE)
        held = features[rest], labels[rest]
        gains.append(accuracy(found.weight, found.bias, *held) - accuracy(prior, 0, *held))

    assert np.mean(gains) >= -0.001, np.mean(gains)  # a tenth of a point


def test_more_pictures_are_better_on_average():
    def mean_accuracy(shots):
        values = []
        for seed in range(10):
            features, labels, prior = clusters(seed, each=40, spread=1.2, prior_error=2.0)
            place = np.tile(np.arange(40), 6)
            used, rest = place < shots, place >= 20
            found = few_shot.fit(features[used], labels[used], prior=prior, scale=SCALE)
            values.append(accuracy(found.weight, found.bias, features[rest], labels[rest]))
        return np.mean(values)

    by_shots = [mean_accuracy(shots) for shots in (1, 2, 4, 16)]

    assert by_shots == sorted(by_shots)
