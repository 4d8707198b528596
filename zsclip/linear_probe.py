"""Logistic regression on image_features, its strength swept as in the CLIP paper (appendix A.3).

scikit-learn does the fitting, and only here; what comes out is two arrays. Knows nothing about
pictures, models or files. docs/probe.md says how this differs from the paper's probes.
Shapes: N pictures, C classes, D feature size.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip.errors import UsageError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]

STEPS = 96
"""Steps of the sweep from 1e-6 to 1e6: eight to a decade."""
_FIRST = 16
"""Steps between the strengths that are tried first: 1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6."""
MAX_ITERATIONS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class LinearProbe:
    """`logits = image_features @ weight.T + bias`.

    Attributes:
        weight: (C, D) float32.
        bias: (C,) float32.
        converged: whether L-BFGS came to an end by itself.
    """

    weight: Floats
    bias: Floats
    converged: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """One strength of the sweep, on the validation pictures.

    Attributes:
        strength: of the L2 penalty, the paper's lambda; scikit-learn's C is 1 / strength.
        accuracy: share of the validation pictures that are answered right.
        log_loss: mean negative log of the probability of the true class, which decides between
            equal accuracies.
    """

    strength: float
    accuracy: float
    log_loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts trials, the best last."""
        return self.accuracy, -self.log_loss


def is_installed() -> bool:
    """Whether scikit-learn is there."""
    return importlib.util.find_spec("sklearn") is not None


def require() -> None:
    """Refuse early where scikit-learn is missing.

    Raises:
        UsageError: it is not installed.
    """
    if not is_installed():
        raise UsageError(
            "a linear probe needs scikit-learn, which is not installed",
            tip="pip install 'zsclip[probe]', or use --method few-shot",
        )


def fit(features: Floats, labels: Ints, *, classes: int, strength: float) -> LinearProbe:
    """Fit to labelled pictures.

    Args:
        features: (N, D) float32.
        labels: (N,) class of each picture; each class has one at least.
        strength: of the L2 penalty on the weights, beside the sum of the losses over pictures.
    """
    require()
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=1 / strength, max_iter=MAX_ITERATIONS, solver="lbfgs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge is in the result
        regression.fit(np.asarray(features, dtype=np.float64), labels)
    weight, bias = regression.coef_, regression.intercept_
    if classes == 2:  # one row: the logit of the second class above that of the first
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return LinearProbe(
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32),
        converged=bool((regression.n_iter_ < MAX_ITERATIONS).all()),
    )


def sweep(
    features: Floats,
    labels: Ints,
    *,
    validation_features: Floats,
    validation_labels: Ints,
    classes: int,
) -> list[Trial]:
    """Find the strength with the highest accuracy on validation pictures.

    Returns:
        What was tried, in the order of strengths; `max(trials, key=lambda t: t.rank)` is the best.
    """

    def evaluate(step: int) -> Trial:
        strength = strength_of(step)
        probe = fit(features, labels, classes=classes, strength=strength)
        logits = validation_features @ probe.weight.T + probe.bias
        return _trial(strength, logits.astype(np.float64), validation_labels)

    trials = search(evaluate)
    return [trials[step] for step in sorted(trials)]


def strength_of(step: int) -> float:
    """1e-6 at step 0, 1e6 at step 96, evenly in logarithms."""
    return float(10.0 ** (-6 + 12 * step / STEPS))


def search(evaluate: Callable[[int], Trial]) -> dict[int, Trial]:
    """Try every 16th step, then around the peak half as far, until its neighbours are tried.

    Between equal trials the stronger penalty wins.
    """
    trials = {step: evaluate(step) for step in range(0, STEPS + 1, _FIRST)}
    distance = _FIRST
    while distance > 1:
        distance //= 2
        peak = max(trials, key=lambda step: (trials[step].rank, step))
        for step in (peak - distance, peak + distance):
            if 0 <= step <= STEPS:
                trials[step] = evaluate(step)
    return trials


def _trial(strength: float, logits: npt.NDArray[np.float64], labels: Ints) -> Trial:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    of_truth = log_probs[np.arange(len(labels)), labels]
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return Trial(strength, accuracy, float(-of_truth.mean()))
