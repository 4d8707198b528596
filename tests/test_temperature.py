"""A temperature is found where it is known, helps where it was fitted, and has its limits."""

from __future__ import annotations

import numpy as np
import pytest

from zsclip import temperature


def drawn(seed: int, *, count: int, classes: int, true_temperature: float, scale: float = 3.0):
    """Logits (N, C) whose softmax is right at a temperature: the truth is drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (count, classes))
    noise = rng.gumbel(size=(count, classes))
    return logits.astype(np.float32), (logits / true_temperature + noise).argmax(axis=1)


def nll(logits, truth, at: float) -> float:
    """Mean of -log of the softmax of the right class."""
    scaled = logits.astype(float) / at
    scaled -= scaled.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(truth)), truth]).mean())


@pytest.mark.parametrize("true_temperature", [0.3, 0.8, 1.0, 2.5, 8.0])
def test_a_known_temperature_is_found(true_temperature):
    logits, truth = drawn(1, count=20_000, classes=10, true_temperature=true_temperature)

    fit = temperature.fit(logits, truth)

    assert fit.temperature == pytest.approx(true_temperature, rel=0.04)
    assert not fit.at_limit


@pytest.mark.parametrize("seed", range(20))
def test_no_temperature_nearby_is_better(seed):
    logits, truth = drawn(seed, count=60, classes=5, true_temperature=1 + seed / 5)

    fit = temperature.fit(logits, truth)

    best = nll(logits, truth, fit.temperature)
    others = [nll(logits, truth, fit.temperature * by) for by in (0.5, 0.99, 1.01, 2)]
    assert best <= min(others)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_the_nll_of_the_fitted_pictures_never_gets_worse(count):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        logits = rng.normal(0, 10.0 ** rng.integers(-3, 4), (count, 4))
        truth = rng.integers(0, 4, count)

        fit = temperature.fit(logits, truth)

        before, after = (nll(logits, truth, t) for t in (1.0, fit.temperature))
        assert after <= before + 1e-9 * abs(before), seed
        assert temperature.LOWEST <= fit.temperature <= temperature.HIGHEST


@pytest.mark.parametrize("gap", [1.0, 30.0, 100.0])
def test_answers_that_are_all_right_get_no_temperature(gap):
    logits = np.eye(4, dtype=np.float32) * np.float32(gap)

    fit = temperature.fit(logits, np.arange(4))

    assert fit == temperature.Fit(1.0, at_limit=True)


def test_answers_that_are_all_wrong_end_at_the_upper_limit():
    logits = np.eye(4, dtype=np.float32)

    fit = temperature.fit(logits, np.array([1, 2, 3, 0]))

    assert fit == temperature.Fit(temperature.HIGHEST, at_limit=True)


def test_logits_that_say_nothing_keep_their_temperature():
    fit = temperature.fit(np.ones((5, 3), dtype=np.float32), np.array([0, 1, 2, 0, 1]))

    assert fit == temperature.Fit(1.0, at_limit=False)


def test_what_is_added_to_all_logits_of_a_picture_changes_nothing():
    logits, truth = drawn(3, count=500, classes=6, true_temperature=2.0)
    shift = np.random.default_rng(0).normal(0, 50, (500, 1))

    there = temperature.fit(logits.astype(float) + shift, truth).temperature

    assert there == pytest.approx(temperature.fit(logits, truth).temperature, rel=1e-6)
