"""One number that makes softmax scores mean what they say: fit a temperature to labelled logits.

`scores = softmax(logits / T)`. T over 1 makes a model less sure, T under 1 surer; which label is
best, and in which order the others come, stays. The T that gives the true classes of labelled
pictures the lowest mean NLL is that of Guo et al., "On Calibration of Modern Neural Networks", ICML
2017 (arXiv 1706.04599), section 4.2. The NLL is convex in 1 / T, so there is one such T.
Pure NumPy, float64. Knows nothing about models or pictures.

Shapes: N pictures, C classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Ints: TypeAlias = npt.NDArray[np.integer[Any]]

LOWEST, HIGHEST = 0.05, 20.0
"""Where the search ends: answers that are all right have their lowest NLL at T = 0, answers that
are no better than chance at T = infinity."""
_STEPS = 100
_CLOSE = 1e-10
_ROWS = 1024
"""Pictures looked at together, so that float64 copies of many logits stay small."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A temperature, and whether a limit ended the search."""

    temperature: float
    at_limit: bool


def fit(logits: Floats, truth: Ints) -> Fit:
    """The temperature of the lowest NLL, by Newton's method between ever closer bounds.

    Where that is under LOWEST it is 1: right answers alone do not say how sure wrong ones may be.

    Args:
        logits: (N, C), of one picture and two classes at least.
        truth: (N,) the right class of each picture.
    """
    low, inverse, high = 1 / HIGHEST, 1.0, 1 / LOWEST  # of 1 / T, in which the NLL is convex
    if _slope(logits, truth, inverse)[0] == 0:  # nothing to gain: logits that are all equal
        return Fit(1.0, at_limit=False)
    if _slope(logits, truth, low)[0] >= 0:
        return Fit(HIGHEST, at_limit=True)
    if _slope(logits, truth, high)[0] <= 0:
        return Fit(1.0, at_limit=True)
    for _ in range(_STEPS):
        slope, curvature = _slope(logits, truth, inverse)
        if slope > 0:
            high = inverse
        else:
            low = inverse
        step = slope / curvature if curvature > 0 else 0.0
        if abs(step) <= _CLOSE * inverse or high - low <= _CLOSE * high:
            break
        inverse -= step
        if not low < inverse < high:
            inverse = (low + high) / 2
    return Fit(1 / inverse, at_limit=False)


def _slope(logits: Floats, truth: Ints, inverse: float) -> tuple[float, float]:
    """First and second derivative of the NLL by 1 / T: mean and variance of what wins too much."""
    slope = curvature = 0.0
    for above in _above_truth(logits, truth):
        scaled = above * inverse
        probs = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
        mean = (probs * above).sum(axis=1)
        slope += float(mean.sum())
        curvature += float((probs * np.square(above - mean[:, None])).sum())
    return slope / len(logits), curvature / len(logits)


def _above_truth(logits: Floats, truth: Ints) -> Iterator[npt.NDArray[np.float64]]:
    """(rows, C) how far each logit is above that of the right class, some pictures at a time."""
    for start, stop in itertools.pairwise([*range(0, len(logits), _ROWS), len(logits)]):
        rows = logits[start:stop].astype(np.float64)
        yield rows - rows[np.arange(stop - start), truth[start:stop]][:, None]
