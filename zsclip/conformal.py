"""Label sets that hold the truth as often as asked: split conformal prediction.

A set is every label whose score reaches a threshold, and the threshold is a low quantile of the
scores that true labels got on labelled pictures. Of further pictures *of the same kind* the set
then holds the truth with at least that probability, however good or bad the model is: Vovk,
Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005); Angelopoulos and Bates, "A
Gentle Introduction to Conformal Prediction" (arXiv 2107.07511), section 1.
The score of a label is its probability alone (LAC: Sadinle, Lei and Wasserman, arXiv 1609.00451):
where probabilities are right no sets are smaller on average, and equal commands give equal sets.
Adding probabilities up (APS, arXiv 2006.02544) spreads the misses more evenly over easy and hard
pictures, for larger sets, and needs a random draw for each picture.
Pure NumPy. Knows nothing about models or pictures.

Shapes: N pictures, B pictures, C classes.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Bools: TypeAlias = npt.NDArray[np.bool_]


def fewest(coverage: float) -> int:
    """How many pictures a threshold needs at least: with fewer every set would have all labels."""
    share = _exactly(coverage)
    return math.ceil(share / (1 - share))


def threshold(truth_scores: Floats, coverage: float) -> float:
    """The score that a label needs to be in the set.

    Args:
        truth_scores: (N,) what the right class of each picture got; `fewest(coverage)` or more, of
            pictures that nothing was fitted to.
        coverage: how often the truth is to be in the set, between 0 and 1.
    """
    count = len(truth_scores)
    rank = math.ceil((count + 1) * _exactly(coverage))  # + 1 is the picture that is yet to come
    return float(np.sort(truth_scores)[count - rank])


def members(scores: Floats, threshold: float) -> Bools:
    """Which labels are in the sets of pictures, (B, C), of their scores (B, C)."""
    inside: Bools = scores >= threshold
    return inside


def _exactly(coverage: float) -> Fraction:
    """The number as it was typed: 0.07 * 100 is more than 7 in floating point."""
    return Fraction(str(float(coverage)))
