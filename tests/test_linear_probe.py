"""The linear probe: scikit-learn's answers as weights and bias, and the paper's sweep."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from zsclip import linear_probe
from zsclip.errors import UsageError
from zsclip.linear_probe import STEPS, Trial
from zsclip.scoring import normalize, softmax


def drawn(count, *, classes=3, dimension=5, seed=0):
    """Features, labels drawn from a softmax of known weights, and these weights."""
    generator = np.random.default_rng(seed)
    weight = 8 * generator.standard_normal((classes, dimension))
    features = normalize(generator.standard_normal((count, dimension)))
    probs = softmax(features @ weight.T)
    labels = np.array([generator.choice(classes, p=row / row.sum()) for row in probs])
    return features, labels, weight


def test_known_weights_are_recovered():
    features, labels, weight = drawn(20_000)

    found = linear_probe.fit(features, labels, classes=3, strength=1e-3)

    centred = weight - weight.mean(axis=0)  # a softmax does not see what classes have in common
    np.testing.assert_allclose(found.weight - found.weight.mean(axis=0), centred, atol=0.6)
    assert found.converged


@pytest.mark.parametrize("classes", [2, 3])
def test_a_softmax_of_the_logits_is_scikit_learns_answer(classes):
    from sklearn.linear_model import LogisticRegression

    features, labels, _ = drawn(200, classes=classes)

    found = linear_probe.fit(features, labels, classes=classes, strength=0.25)

    theirs = LogisticRegression(C=4, max_iter=1000).fit(features.astype(float), labels)
    assert found.weight.shape == (classes, 5)
    assert found.bias.shape == (classes,)
    np.testing.assert_allclose(
        softmax(features @ found.weight.T + found.bias), theirs.predict_proba(features), atol=1e-4
    )


def test_a_stronger_penalty_gives_smaller_weights():
    features, labels, _ = drawn(200)

    weak, strong = (
        linear_probe.fit(features, labels, classes=3, strength=strength) for strength in (0.01, 100)
    )

    assert np.abs(strong.weight).max() < np.abs(weak.weight).max() / 10


def test_strengths_have_eight_steps_to_a_decade():
    strengths = [linear_probe.strength_of(step) for step in range(STEPS + 1)]

    assert strengths[0] == pytest.approx(1e-6)
    assert strengths[-1] == pytest.approx(1e6)
    assert strengths[8] / strengths[0] == pytest.approx(10)


@pytest.mark.parametrize("peak", [0, 5, 37, 48, 63, 91, 96])
def test_the_search_finds_the_peak_with_few_trials(peak):
    def evaluate(step):
        return Trial(linear_probe.strength_of(step), 1 - abs(step - peak) / 200, 0.0)

    trials = linear_probe.search(evaluate)

    assert max(trials, key=lambda step: trials[step].rank) == peak
    assert len(trials) <= 15
    assert {0, 16, 32, 48, 64, 80, 96} <= set(trials)


def test_log_loss_decides_between_equal_accuracies():
    better = Trial(1.0, 0.5, 0.9)

    assert better.rank > Trial(1.0, 0.5, 1.1).rank
    assert better.rank < Trial(1.0, 0.6, 2.0).rank


def test_the_sweep_measures_on_the_validation_pictures():
    features, labels, _ = drawn(400)

    trials = linear_probe.sweep(
        features[:200],
        labels[:200],
        validation_features=features[200:],
        validation_labels=labels[200:],
        classes=3,
    )

    best = max(trials, key=lambda trial: trial.rank)
    fitted = linear_probe.fit(features[:200], labels[:200], classes=3, strength=best.strength)
    logits = features[200:] @ fitted.weight.T + fitted.bias
    assert best.accuracy == pytest.approx((logits.argmax(axis=1) == labels[200:]).mean())
    assert [trial.strength for trial in trials] == sorted(trial.strength for trial in trials)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UsageError, match="scikit-learn") as caught:
        linear_probe.fit(np.ones((2, 2), np.float32), np.arange(2), classes=2, strength=1)

    assert "zsclip[probe]" in str(caught.value.tip)
