"""Whether probabilities mean what they say: NLL, Brier score and calibration error.

Pure NumPy, float64. Knows nothing about models; made for probabilities that add up to 1 over the
classes (softmax), not for sigmoid scores or cosines, which the caller leaves out.
The calibration error is the debiased estimator of Kumar, Liang and Ma, "Verified Uncertainty
Calibration", NeurIPS 2019 (arXiv 1909.10155), section 5, over bins of equal mass, of the score of
the best class. docs/metrics.md says what it is not.
Shapes: N pictures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]

MAX_BINS = 15
FEWEST_IN_BIN = 10
"""Pictures that make another bin worth while; fewer say too little about an accuracy."""
SMALLEST = float(np.finfo(np.float32).tiny)
"""What the NLL takes for a smaller probability, 1.2e-38: scores are float32, whose 0 only says
that there was no digit left. One picture costs 87.3 at most."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Pictures of similar confidence.

    Attributes:
        count: how many.
        confidence: mean score of their best class.
        accuracy: share of them for which that is the right one.
        low, high: the lowest and highest score among them.
    """

    count: int
    confidence: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good the probabilities are; without pictures all nan and no bins.

    Attributes:
        nll: mean of -log of the probability of the right class.
        brier: mean over pictures of the squared errors summed over the classes, 0 to 2.
        error: how far accuracy is from confidence, as a root mean square over the pictures.
        bins: by confidence, lowest first.
    """

    nll: float
    brier: float
    error: float
    bins: tuple[Bin, ...]


def calibration(
    confidence: Floats, correct: Bools, *, truth_score: Floats, squared: Floats
) -> Calibration:
    """Measure probabilities of pictures whose class is known.

    Args:
        confidence: (N,) score of the best class.
        correct: (N,) whether that is the right one.
        truth_score: (N,) score of the right class.
        squared: (N,) sum over classes of (score - 1 where true, else 0) squared.
    """
    if not len(confidence):
        return Calibration(math.nan, math.nan, math.nan, ())
    bins = _equal_mass(confidence.astype(np.float64), correct)
    return Calibration(
        nll=float(costs(truth_score).mean()),
        brier=float(squared.mean(dtype=np.float64)),
        error=_debiased_error(bins),
        bins=bins,
    )


def costs(truth_score: Floats) -> npt.NDArray[np.float64]:
    """What each picture adds to the NLL, (N,): -log of the score of the right class."""
    found: npt.NDArray[np.float64] = -np.log(np.maximum(truth_score.astype(np.float64), SMALLEST))
    return found


def _equal_mass(confidence: npt.NDArray[np.float64], correct: Bools) -> tuple[Bin, ...]:
    """Bins of as many pictures each as can be, where equal confidences stay together.

    A cut that would part equals moves up behind them, so bins do not depend on the order of
    pictures; cuts that meet become one.
    """
    count = len(confidence)
    order = np.argsort(confidence)
    ascending, right = confidence[order], correct[order]
    wanted = max(1, min(MAX_BINS, count // FEWEST_IN_BIN))
    cuts = np.arange(1, wanted) * count // wanted
    behind = np.searchsorted(ascending, ascending[cuts - 1], side="right")
    edges = np.unique([0, *behind, count])
    return tuple(
        Bin(
            count=int(stop - start),
            confidence=float(ascending[start:stop].mean()),
            accuracy=float(right[start:stop].mean()),
            low=float(ascending[start]),
            high=float(ascending[stop - 1]),
        )
        for start, stop in itertools.pairwise(edges)
    )


def _debiased_error(bins: Sequence[Bin]) -> float:
    """The root of the mean squared gap, less what chance alone adds to it; 0 if that is more."""
    total = sum(one.count for one in bins)
    square = sum(one.count / total * _debiased_square(one) for one in bins)
    return math.sqrt(max(0.0, square))


def _debiased_square(one: Bin) -> float:
    """The squared gap of a bin less the variance of its accuracy; a lone picture says nothing."""
    if one.count < 2:
        return 0.0
    variance = one.accuracy * (1 - one.accuracy) / (one.count - 1)
    gap = one.confidence - one.accuracy
    return gap * gap - variance
