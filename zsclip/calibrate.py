"""A head and labelled features -> the same head with a temperature and label sets, measured.

Pictures are dealt into three parts with the same mix of classes. The temperature is fitted to the
first, thresholds of label sets are taken from the second, and both are measured on the third, which
neither has seen: what is measured is what comes out. Knows nothing about files or terminals.

Shapes: N pictures, B pictures of a part, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from zsclip import calibration, conformal, intervals, scoring, temperature
from zsclip.calibration import Calibration
from zsclip.classifier import Classifier
from zsclip.draws import deal
from zsclip.errors import UsageError
from zsclip.heads import Head
from zsclip.intervals import Interval
from zsclip.labelled_features import LabelledFeatures

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Ints: TypeAlias = npt.NDArray[np.integer[Any]]

PARTS = 3
FEWEST = 60
"""Pictures of which a third can say anything: bins of a calibration error have 10 each."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How far scores of held-out pictures can be believed.

    Attributes:
        confidence: mean score of the best class, to be compared with the accuracy.
        nll, brier: as in `zsclip.calibration`.
        calibration: the calibration error and its bins, which have no interval.
    """

    confidence: Interval
    nll: Interval
    brier: Interval
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Label sets of held-out pictures.

    Attributes:
        coverage: that was asked for.
        threshold: the score that a label in the set has at least.
        reached: share of pictures whose true class is in the set.
        size: mean number of labels in it.
        median_size: of the numbers of labels.
        one: share of sets that are one label.
        empty: share of sets without any.
    """

    coverage: float
    threshold: float
    reached: Interval
    size: Interval
    median_size: float
    one: float
    empty: float


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibrated head, and what it does on the pictures that were held out.

    Attributes:
        at_limit: whether the search for a temperature ended at a limit (`zsclip.temperature`).
        pictures: how many were fitted to, gave thresholds, and were held out.
        accuracy: which no temperature changes.
        nll_change, brier_change: after less before, from the same draws of pictures.
    """

    head: Head
    temperature: float
    at_limit: bool
    pictures: tuple[int, int, int]
    accuracy: Interval
    before: Scores
    after: Scores
    nll_change: Interval
    brier_change: Interval
    label_sets: tuple[LabelSets, ...]
    notes: tuple[str, ...]


def check_head(head: Head, *, fit: str) -> None:
    """Refuse a head whose scores no temperature can mend.

    Args:
        fit: how the pictures to calibrate with are loaded.

    Raises:
        UsageError: it has one class, its scores are not a softmax, or it was fitted to pictures
            that were loaded otherwise.
    """
    if head.score_kind != "softmax":
        raise UsageError(
            f"{head.provenance.model} scores each label by itself ({head.score_kind}); a "
            "temperature is for softmax scores",
            tip="fit a head to the pictures with zsclip probe: it has softmax scores",
        )
    if len(head.class_names) < 2:
        raise UsageError("a softmax over one label is always 1: calibrating needs two")
    if head.kind == "pictures" and head.fit != fit:
        raise UsageError(
            f"the head was fitted to pictures loaded with fit {head.fit!r}, and these are loaded "
            f"with {fit!r}",
            tip=f"use --fit {head.fit}",
        )


def check_count(name: str, count: int, coverages: Sequence[float]) -> None:
    """Refuse too few pictures.

    Raises:
        UsageError: says how many are needed.
    """
    if count < FEWEST:
        raise UsageError(
            f"{name}: calibrating needs {FEWEST} pictures at least, and there are {count:,}"
        )
    for coverage in coverages:
        needed = PARTS * conformal.fewest(coverage)
        if count < needed:
            raise UsageError(
                f"{name}: label sets of coverage {coverage} need {needed:,} pictures, "
                f"and there are {count:,}",
                tip="ask for less with --coverage, or bring more pictures",
            )


def calibrate(
    pictures: LabelledFeatures,
    classifier: Classifier,
    *,
    coverages: Sequence[float],
    seed: int = 0,
    draws: int = 1000,
) -> Calibrated:
    """Fit a temperature, find thresholds, and measure both.

    Args:
        pictures: with labels as indices of the classes of the classifier's head.
        classifier: with a head from words or pictures; if it was calibrated, that is forgotten.
        coverages: how often label sets are to hold the truth, each between 0 and 1.
        seed: of how pictures are dealt, and of the bootstrap.
        draws: of the bootstrap that intervals come from.

    Raises:
        UsageError: too few pictures, all of one class, or a head that cannot be calibrated.
    """
    check_head(classifier.head, fit=pictures.fit)
    check_count(pictures.name, len(pictures.labels), coverages)
    if len(set(pictures.labels.tolist())) < 2:
        raise UsageError(f"{pictures.name}: all pictures are of one class; calibrating needs two")
    fitting, middle, held_out = (
        pictures.take(rows) for rows in deal(pictures.labels, PARTS, seed=seed)
    )
    plain = _with_head(
        classifier, replace(classifier.head, temperature=None, coverage=(), fit=pictures.fit)
    )
    fit = temperature.fit(_logits(plain, fitting), fitting.labels)
    cooled = _with_head(plain, replace(plain.head, temperature=fit.temperature))
    truth_scores = _truth_scores(cooled.score(middle.features)[0], middle.labels)
    thresholds = {share: conformal.threshold(truth_scores, share) for share in coverages}
    head = replace(cooled.head, coverage=tuple(thresholds.items()))
    before, after = (one.score(held_out.features)[0] for one in (plain, cooled))
    measured = _Measured(before, after, held_out.labels)
    found = measured.intervals(thresholds, seed=seed, draws=draws)
    calibrated = Calibrated(
        head=head,
        temperature=fit.temperature,
        at_limit=fit.at_limit,
        pictures=(len(fitting.labels), len(middle.labels), len(held_out.labels)),
        accuracy=found["accuracy"],
        before=measured.scores(found, "before"),
        after=measured.scores(found, "after"),
        nll_change=found["nll_change"],
        brier_change=found["brier_change"],
        label_sets=tuple(measured.label_sets(found, thresholds)),
        notes=(),
    )
    return replace(calibrated, notes=tuple(_notes(calibrated, classifier.head, pictures)))


def _with_head(classifier: Classifier, head: Head) -> Classifier:
    return Classifier(head, model=classifier.model, scores="softmax")


def _logits(classifier: Classifier, part: LabelledFeatures) -> npt.NDArray[np.float32]:
    """(B, C), before any temperature."""
    head = classifier.head
    similarity = classifier.score(part.features)[1]
    return scoring.logits(similarity, scale=head.scale, bias=head.bias)


def _truth_scores(scores: Floats, truth: Ints) -> Floats:
    found: Floats = scores[np.arange(len(truth)), truth]
    return found


class _Measured:
    """Scores (B, C) of the held-out pictures without and with the temperature."""

    def __init__(self, before: Floats, after: Floats, truth: Ints) -> None:
        self._scores = {"before": before, "after": after}
        self._truth = truth
        self._right = before.argmax(axis=1) == truth
        self._costs = {
            when: calibration.costs(_truth_scores(scores, truth))
            for when, scores in self._scores.items()
        }
        self._squared = {when: _squared(scores, truth) for when, scores in self._scores.items()}

    def intervals(
        self, thresholds: dict[float, float], *, seed: int, draws: int
    ) -> dict[str, Interval]:
        """Every figure that is a mean over pictures, all from the same draws."""
        values: dict[str, npt.NDArray[Any]] = {"accuracy": self._right}
        for when, scores in self._scores.items():
            values[f"confidence_{when}"] = scores.max(axis=1)
            values[f"nll_{when}"] = self._costs[when]
            values[f"brier_{when}"] = self._squared[when]
        values["nll_change"] = self._costs["after"] - self._costs["before"]
        values["brier_change"] = self._squared["after"] - self._squared["before"]
        for coverage, threshold in thresholds.items():
            inside = conformal.members(self._scores["after"], threshold)
            values[f"reached_{coverage}"] = inside[np.arange(len(inside)), self._truth]
            values[f"size_{coverage}"] = inside.sum(axis=1)
        statistics = {name: partial(_mean, each.astype(float)) for name, each in values.items()}
        return intervals.bootstrap_each(statistics, len(self._truth), draws=draws, seed=seed)

    def scores(self, found: dict[str, Interval], when: str) -> Scores:
        """The figures before or after."""
        scores = self._scores[when]
        measured = calibration.calibration(
            scores.max(axis=1),
            self._right,
            truth_score=_truth_scores(scores, self._truth),
            squared=self._squared[when],
        )
        return Scores(
            found[f"confidence_{when}"], found[f"nll_{when}"], found[f"brier_{when}"], measured
        )

    def label_sets(
        self, found: dict[str, Interval], thresholds: dict[float, float]
    ) -> Iterator[LabelSets]:
        """The figures of each coverage."""
        for coverage, threshold in thresholds.items():
            sizes = conformal.members(self._scores["after"], threshold).sum(axis=1)
            yield LabelSets(
                coverage=coverage,
                threshold=threshold,
                reached=found[f"reached_{coverage}"],
                size=found[f"size_{coverage}"],
                median_size=float(np.median(sizes)),
                one=float((sizes == 1).mean()),
                empty=float((sizes == 0).mean()),
            )


def _mean(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    return float(weights @ values / weights.sum())


def _squared(scores: Floats, truth: Ints) -> Floats:
    """What each picture adds to the Brier score."""
    own = _truth_scores(scores, truth).astype(np.float64)
    squared: Floats = np.square(scores, dtype=np.float64).sum(axis=1) - np.square(own)
    return squared + np.square(1 - own)


def _notes(found: Calibrated, head: Head, pictures: LabelledFeatures) -> Iterator[str]:
    """What people must know about the figures."""
    if found.at_limit:
        yield (
            "the pictures that were fitted to are hardly answered better than by chance"
            if found.temperature > 1
            else "the pictures that were fitted to are (nearly) all answered right, which does not "
            "say how sure wrong answers may be: no temperature was set; take more pictures"
        )
    if found.nll_change.value >= 0:
        yield "the temperature does not lower the NLL of the held-out pictures"
    if head.fitted is not None:
        yield (
            f"the head was fitted to {head.fitted.source}: scores of pictures that it was fitted "
            "to are too good to calibrate with"
        )
    without = len(head.class_names) - len(set(pictures.labels.tolist()))
    if without:
        yield f"{without:,} of {len(head.class_names):,} classes have no picture"
