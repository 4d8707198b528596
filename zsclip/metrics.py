"""Figures of an evaluation, from small arrays with one entry for each picture.

Pure NumPy, float64. Knows nothing about pictures, models or files.
Every figure takes `weights (N,)`, how often each picture counts: ones give the plain figure, the
counts of a bootstrap draw that of the draw. What is not defined (no pictures, none of the class)
is nan.
docs/metrics.md has the formulas and where they come from.
Shapes: N pictures, M of them that count for a class, G groups of equal scores, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]


def acc(rank: Ints, weights: Weights, *, k: int) -> float:
    """The share of pictures with a true class among the k best.

    Args:
        rank: (N,) of the best true class of each picture, 0 is first.
    """
    return _ratio(weights.sum(where=rank < k), weights.sum())


def top1_top5_mean(rank: Ints, weights: Weights) -> float:
    """The mean of acc1 and acc5, in which Kinetics-700 is measured."""
    return (acc(rank, weights, k=1) + acc(rank, weights, k=5)) / 2


def recall_per_class(rank: Ints, weights: Weights, *, truth: Ints, classes: int) -> Weights:
    """The share of each class's pictures that got it, (C,); nan for a class without pictures.

    Args:
        rank: (N,) of the true class of each picture, 0 is first.
        truth: (N,) index of that class.
    """
    right = np.bincount(truth, weights=weights * (rank == 0), minlength=classes)
    total = np.bincount(truth, weights=weights, minlength=classes)
    recall: Weights = np.divide(right, total, out=np.full(classes, np.nan), where=total > 0)
    return recall


def mean_per_class(rank: Ints, weights: Weights, *, truth: Ints, classes: int) -> float:
    """The mean over the classes that have pictures of `recall_per_class`."""
    return _mean(recall_per_class(rank, weights, truth=truth, classes=classes))


def confusion(truth: Ints, predicted: Ints, *, classes: int) -> npt.NDArray[np.int64]:
    """How many pictures of each class (row) got each class (column), (C, C).

    Args:
        truth: (N,) the class of each picture.
        predicted: (N,) the class that it got; negative if none, which has no column.
    """
    known = predicted >= 0
    cells = np.ravel_multi_index((truth[known], predicted[known]), (classes, classes))
    return np.bincount(cells, minlength=classes**2).astype(np.int64).reshape(classes, classes)


# figures that rank the pictures of one class


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The pictures that count for one class, best first: sorted once, weighted many times.

    Attributes:
        order: (M,) indices of the pictures.
        relevant: (M,) whether each shows the class.
        ends: (G,) where in `order` the last picture of each group of equal scores is.
    """

    order: Ints
    relevant: Bools
    ends: Ints


def rank_pictures(scores: Floats, relevant: Ints | Bools) -> Ranking:
    """Sort pictures by their scores for one class.

    Args:
        scores: (N,) on any scale, higher is better; -inf for a picture that has none, never nan.
        relevant: (N,) 1 if the picture shows the class, 0 if not, -1 if it is left out.
    """
    scores = np.asarray(scores, dtype=np.float64)
    counted = np.flatnonzero(relevant >= 0)
    order = counted[np.argsort(-scores[counted], kind="stable")]
    descending = scores[order]
    is_last = np.ones(len(order), dtype=np.bool_)
    is_last[:-1] = descending[1:] != descending[:-1]
    return Ranking(order, relevant[order] > 0, np.flatnonzero(is_last))


def average_precision_11(ranking: Ranking, weights: Weights) -> float:
    """Precision at recalls of 0, 0.1, ... 1, each the best at that recall or more, averaged.

    As in the development kit of PASCAL VOC 2007 (VOCevalcls.m), except that pictures of equal
    scores come all at once, so that the figure does not depend on the order of files.
    """
    found, seen = _cumulated(ranking, weights)
    if not found.size or not found[-1]:
        return math.nan
    precision = np.divide(found, seen, out=np.zeros_like(seen), where=seen > 0)
    # whole numbers: 3 of 10 reach a recall of 0.3, while 3 / 10 < 3 * 0.1 in floating point
    reached = np.searchsorted(10 * found, np.arange(11) * found[-1])
    best_before_next = np.maximum.reduceat(precision, reached)  # (11,)
    best = np.maximum.accumulate(best_before_next[::-1])
    return float(best.mean())


def map11(rankings: Sequence[Ranking], weights: Weights) -> float:
    """The mean of `average_precision_11` over the classes that some picture shows."""
    return _mean(np.array([average_precision_11(ranking, weights) for ranking in rankings]))


def roc_auc(ranking: Ranking, weights: Weights) -> float:
    """How often a picture that shows the class is before one that does not; ties count half."""
    found, seen = _cumulated(ranking, weights)
    wrong = seen - found
    if not seen.size or not found[-1] or not wrong[-1]:
        return math.nan
    height = found - np.diff(found, prepend=0) / 2  # a straight line through a group of equals
    return float((height * np.diff(wrong, prepend=0)).sum() / (found[-1] * wrong[-1]))


def _cumulated(ranking: Ranking, weights: Weights) -> tuple[Weights, Weights]:
    """How many of the class, and how many in all, there are down to the end of each group, (G,)."""
    counts = weights[ranking.order]
    found = np.cumsum(counts * ranking.relevant)[ranking.ends]
    seen = np.cumsum(counts)[ranking.ends]
    return found, seen


def _ratio(part: np.float64, whole: np.float64) -> float:
    return float(part / whole) if whole else math.nan


def _mean(values: Weights) -> float:
    """Of those that are defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan
