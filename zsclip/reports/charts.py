"""Numbers -> where they lie in a chart: axes with round ends, shades of a matrix.

Knows nothing about HTML, nor what the numbers mean.
Shapes: C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

SHADES = 9
_PARTS = 5
_LEAST = 0.02


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of numbers with round ends, and the round numbers in it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """How far along the axis a value is, 0 to 1."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def axis(values: Iterable[float], *, within: tuple[float, float] = (0.0, 1.0)) -> Axis:
    """The shortest axis that holds the values and has few ticks.

    Args:
        values: those that are not finite are left out.
        within: where it stays when it is made longer, to have a length at all.
    """
    known = [value for value in values if math.isfinite(value)] or list(within)
    low, high = min(known), max(known)
    missing = max(_LEAST - (high - low), 0.0)
    low, high = max(low - missing / 2, within[0]), min(high + missing / 2, within[1])
    step = _round_step((high - low) / _PARTS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, tuple(i * step for i in range(first, last + 1)))


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= 0.999 * least)


def octaves(numbers: Sequence[int]) -> list[float]:
    """Where ascending counts lie, 0 to 1, each twice as far as its half; 0 is half of 1."""
    exponents = [math.log2(max(number, 0.5)) for number in numbers]
    if len(set(exponents)) < 2:
        return [0.5] * len(exponents)
    first, last = exponents[0], exponents[-1]
    return [(exponent - first) / (last - first) for exponent in exponents]


def shades(confusion: Counts) -> npt.NDArray[np.int64]:
    """Of each count of (C, C) its share of the row, as 0 (none) to SHADES (all)."""
    rows = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shaded: npt.NDArray[np.int64] = np.ceil(SHADES * confusion / rows).astype(np.int64)
    return shaded


def confusions(confusion: Counts) -> Iterator[tuple[int, int, int]]:
    """(truth, answer, count) of the wrong answers of (C, C), the most frequent first."""
    wrong = confusion * ~np.eye(len(confusion), dtype=bool)
    for cell in np.argsort(-wrong, axis=None, kind="stable"):
        truth, answer = divmod(int(cell), len(wrong))
        if not wrong[truth, answer]:
            return
        yield truth, answer, int(wrong[truth, answer])
