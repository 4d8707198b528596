"""How good heads from few pictures of each class are, beside zero-shot: the paper's figure 6.

Fits a head for every number of pictures and every seed. Knows nothing about terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

import numpy as np

from zsclip import linear_probe, metrics, scoring
from zsclip.encoders import Model
from zsclip.errors import UsageError
from zsclip.heads import Head
from zsclip.labelled_features import LabelledFeatures
from zsclip.probe import Method, Probe, fit_few_shot, fit_linear


@dataclass(frozen=True, slots=True)
class Point:
    """Heads from equally many pictures of each class.

    Attributes:
        pictures: that each head was fitted to.
        values: figure on the test pictures, a head for each seed.
    """

    shots: int
    pictures: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (with n - 1)."""
        return stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Full:
    """A head from all training pictures."""

    method: str
    pictures: int
    value: float
    strength: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """How good heads are by the number of pictures of each class, beside zero-shot.

    Attributes:
        metric: `acc1` or `mean_per_class`.
        zero_shot: figure of the head that is made of class names.
        points: of `method`, one for each number of shots.
        full: heads from all training pictures.
    """

    method: Method
    metric: str
    train_pictures: int
    test_pictures: int
    zero_shot: float
    points: tuple[Point, ...]
    full: tuple[Full, ...]


def figure(head: Head, test: LabelledFeatures) -> float:
    """The test pictures' metric under a head, in [0, 1]."""
    similarity = scoring.cosines(test.features, head.weight)
    logits = scoring.logits(similarity, scale=head.scale, bias=head.bias)
    rank = (logits.argmax(axis=1) != test.labels).astype(int)
    ones = np.ones(len(rank))
    if test.metric == "mean_per_class":
        classes = len(head.class_names)
        return metrics.mean_per_class(rank, ones, truth=test.labels, classes=classes)
    return metrics.acc(rank, ones, k=1)


def curve(
    train: LabelledFeatures,
    test: LabelledFeatures,
    *,
    prior: Head,
    model: Model,
    method: Method = "few-shot",
    shots: Sequence[int],
    seeds: Sequence[int],
    validation: LabelledFeatures | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Curve:
    """Fit heads to ever more pictures of each class, several times each, and measure them.

    Args:
        train: what pictures are drawn from.
        test: with labels as indices of the classes of `train`.
        prior: the zero-shot head of these classes.
        seeds: one draw each for every number of shots.
        validation: for linear probes; see `fit_linear`.
        on_progress: called with (heads fitted, heads).

    Raises:
        UsageError: a class has no pictures, or a linear probe needs scikit-learn.
    """
    counts = sorted(set(shots))
    if not counts or counts[0] < 1:
        raise UsageError("shots are one or more; zero-shot is part of every curve")
    fits = {
        "few-shot": partial(fit_few_shot, train, prior=prior),
        "linear": partial(fit_linear, train, model=model, validation=validation),
    }
    points = []
    for number, count in enumerate(counts):
        probes = []
        for seed in seeds:
            probes.append(fits[method](shots=count, seed=seed))
            if on_progress is not None:
                on_progress(number * len(seeds) + len(probes), len(counts) * len(seeds))
        values = tuple(figure(probe.head, test) for probe in probes)
        points.append(Point(count, probes[0].fitted.pictures, values))
    return Curve(
        method,
        "mean_per_class" if test.metric == "mean_per_class" else "acc1",
        len(train.labels),
        len(test.labels),
        figure(prior, test),
        tuple(points),
        tuple(_full(fits[one](seed=seeds[0]), test) for one in _possible(method)),
    )


def _full(probe: Probe, test: LabelledFeatures) -> Full:
    fitted = probe.fitted
    return Full(fitted.method, fitted.pictures, figure(probe.head, test), fitted.strength)


def _possible(method: Method) -> tuple[Method, ...]:
    """Both, the linear one if it was asked for or can be had."""
    if method == "linear" or linear_probe.is_installed():
        return ("few-shot", "linear")
    return ("few-shot",)
