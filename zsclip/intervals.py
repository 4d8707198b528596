"""How far a figure would move with other pictures: 95 % intervals by the bootstrap.

Pure NumPy. Knows nothing about metrics: a statistic is whatever turns weights into a number.
A draw is N pictures out of the same N with replacement, handed on as how often each was drawn, one
draw at a time: 1,000 draws of 50,000 pictures need the memory of one.
The percentile interval is described in Efron and Tibshirani, "An Introduction to the Bootstrap"
(1993), chapter 13; docs/metrics.md says where it is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]
Strata = npt.NDArray[np.integer[Any]]
Statistic = Callable[[Weights], float]

_TAILS = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and where 95 % of its bootstrap draws lie; all nan if it is not defined."""

    value: float
    low: float
    high: float


def draw_weights(
    count: int, draws: int, *, seed: int, strata: Strata | None = None
) -> Iterator[Weights]:
    """How often each picture is drawn, (N,), anew for each draw.

    Args:
        count: N.
        strata: (N,) a group for each picture; each group keeps its number of pictures.
    """
    groups = np.zeros(count, dtype=np.int64) if strata is None else strata
    order = np.argsort(groups, kind="stable")
    sizes = np.unique(groups, return_counts=True)[1]
    stops = np.cumsum(sizes)
    first, stop = np.repeat(stops - sizes, sizes), np.repeat(stops, sizes)  # (N,), within `order`
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        drawn = order[rng.integers(first, stop)]
        yield np.bincount(drawn, minlength=count).astype(np.float64)


def bootstrap_each(
    statistics: Mapping[str, Statistic],
    count: int,
    *,
    draws: int = 1000,
    seed: int = 0,
    strata: Strata | None = None,
) -> dict[str, Interval]:
    """An interval for each statistic, all from the same draws.

    Args:
        count: how many pictures there are.
        strata: as for `draw_weights`.
    """
    drawn = np.array(
        [
            [statistic(weights) for statistic in statistics.values()]
            for weights in draw_weights(count, draws, seed=seed, strata=strata)
        ]
    )  # (draws, statistics)
    plain = np.ones(count)
    return {
        name: _interval(statistic(plain), drawn[:, column])
        for column, (name, statistic) in enumerate(statistics.items())
    }


def bootstrap(
    statistic: Statistic,
    count: int,
    *,
    draws: int = 1000,
    seed: int = 0,
    strata: Strata | None = None,
) -> Interval:
    """The interval of one statistic; see `bootstrap_each`."""
    found = bootstrap_each({"": statistic}, count, draws=draws, seed=seed, strata=strata)
    return found[""]


def paired(
    statistic_a: Statistic,
    statistic_b: Statistic,
    count: int,
    *,
    draws: int = 1000,
    seed: int = 0,
    strata: Strata | None = None,
) -> Interval:
    """The interval of b minus a, both of the same pictures in each draw.

    What all pictures have in common cancels out, so it is narrower than two intervals suggest.
    """
    return bootstrap(
        lambda weights: statistic_b(weights) - statistic_a(weights),
        count,
        draws=draws,
        seed=seed,
        strata=strata,
    )


def _interval(value: float, drawn: Weights) -> Interval:
    """Draws in which the statistic is not defined, say without a class, are left out."""
    defined = drawn[~np.isnan(drawn)]
    if not defined.size:
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(defined, _TAILS)
    return Interval(value, float(low), float(high))
