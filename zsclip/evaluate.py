"""Labelled pictures and what heads say of them -> figures with intervals, beside published ones.

Keeps a few numbers a picture. Pictures that cannot be read are counted, and never silently left
out. Knows nothing about files or terminals.

Shapes: N pictures, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from zsclip import calibration, intervals, metrics
from zsclip.calibration import Calibration
from zsclip.classifier import Classifier
from zsclip.errors import InputError, PictureError, UsageError
from zsclip.figures import ClassFigure, Evaluation, Mistake, OnError, TemplateFigures
from zsclip.heads import Head
from zsclip.intervals import Statistic
from zsclip.metrics import Ranking
from zsclip.predictions import Outcome, Scored
from zsclip.readers.base import LabelledPictures, Sample
from zsclip.results import ScoreKind

KEYS = {
    "accuracy": "acc1",
    "mean_per_class": "mean_per_class",
    "map11": "map11",
    "roc_auc": "roc_auc",
    "top1_top5_mean": "top1_top5_mean",
}
"""The metric of a data set -> the key of its figure."""
RANKS_PICTURES = ("map11", "roc_auc")
STRATIFIED = ("mean_per_class", "roc_auc")
"""Metrics of which each class keeps its number of pictures in every draw."""
MISTAKES = 50
DRAWS = 1000
_GAIN = "gain"


class Tally:
    """Takes scored pictures one by one; keeps what figures need.

    Args:
        heads: how many outcomes each picture has.
        on_error: what becomes of pictures that cannot be read: `fail` ends the evaluation at the
            first one, `skip` leaves them out, `wrong` counts them as answered wrong.
    """

    def __init__(self, pictures: LabelledPictures, *, heads: int, on_error: OnError) -> None:
        self.pictures = pictures
        self.on_error = on_error
        self.failed: Counter[str] = Counter()
        self.counted: list[Scored] = []
        self._wrong = (_wrong(pictures),) * heads

    @property
    def read(self) -> int:
        """Pictures that could be read."""
        return len(self.counted) - (self.failed.total() if self.on_error == "wrong" else 0)

    def add(self, scored: Scored) -> None:
        """Count one picture.

        Raises:
            PictureError: it could not be read, and `on_error` is `fail`.
        """
        if scored.error is None:
            self.counted.append(scored)
            return
        if self.on_error == "fail":
            raise PictureError(
                scored.error.code,
                f"{scored.path}: {scored.error.message} [{scored.error.code}]",
                tip="--on-error skip leaves such pictures out, wrong counts them as wrong answers",
            )
        self.failed[scored.error.code] += 1
        if self.on_error == "wrong":
            wrong = Scored(scored.path, scored.labels, scored.ignored, self._wrong, scored.error)
            self.counted.append(wrong)


def _wrong(pictures: LabelledPictures) -> Outcome:
    """The outcome of a picture that could not be read and counts as answered wrong."""
    classes = len(pictures.class_names)
    return Outcome(-1, classes, float("nan"), float("nan"), float("nan"), (-np.inf,) * classes)


def matched(pictures: LabelledPictures, head: Head) -> LabelledPictures:
    """The same pictures, their labels as indices of the head's classes, matched by name.

    Raises:
        UsageError: the head lacks a class of the pictures.
    """
    places = {name: i for i, name in reversed(list(enumerate(head.class_names)))}
    missing = [names[0] for names in pictures.class_names if names[0] not in places]
    if missing:
        raise UsageError(
            f"the head has no class {missing[0]!r}, which {pictures.name} has",
            tip=f"it has {len(head.class_names)} classes, the first is {head.class_names[0]!r}",
        )
    place = [places[names[0]] for names in pictures.class_names]

    def read() -> Iterator[Sample]:
        for sample in pictures.read():
            labels, ignored = (
                tuple(place[i] for i in indices) for indices in (sample.labels, sample.ignored)
            )
            yield replace(sample, labels=labels, ignored=ignored)

    names = tuple((name,) for name in head.class_names)
    return replace(pictures, class_names=names, read=read)


def summarise(
    tally: Tally, classifiers: Sequence[Classifier], *, draws: int = DRAWS, seed: int = 0
) -> Evaluation:
    """Figures of all that was counted.

    Args:
        draws: of the bootstrap that intervals come from.

    Raises:
        InputError: no picture counts.
        UsageError: the metric is not defined for these pictures.
    """
    pictures, first = tally.pictures, classifiers[0]
    if not tally.counted:
        raise InputError(f"{pictures.name}: no picture could be read")
    heads = [_Answers(tally, number) for number in range(len(classifiers))]
    metric = _metric_for(pictures, heads[0])
    figures = _figures(heads, classifiers, metric, draws=draws, seed=seed)
    return Evaluation(
        name=pictures.name,
        model=first.model.id,
        metric=KEYS[metric],
        score_kind=first.score_kind,
        count=len(tally.counted),
        failed=dict(tally.failed),
        on_error=tally.on_error,
        class_names=first.head.class_names,
        figures=tuple(figures),
        confusion=None if pictures.multi_label else heads[0].confusion(),
        per_class=_per_class(heads[0], first.head.class_names),
        mistakes=tuple(_mistakes(tally.counted, first.head.class_names)),
        notes=pictures.notes,
    )


def _figures(
    heads: Sequence[_Answers],
    classifiers: Sequence[Classifier],
    metric: str,
    *,
    draws: int,
    seed: int,
) -> Iterator[TemplateFigures]:
    """Figures of each head, all from the same draws of pictures."""
    key = KEYS[metric]
    base = _statistics(heads[0], metric)
    for answers, classifier in zip(heads, classifiers, strict=True):
        statistics = _statistics(answers, metric)
        if answers is not heads[0]:
            statistics[_GAIN] = _difference(base[key], statistics[key])
        values = intervals.bootstrap_each(
            statistics,
            len(answers.rank),
            draws=draws,
            seed=seed,
            strata=answers.truth if metric in STRATIFIED else None,
        )
        yield TemplateFigures(
            templates=classifier.head.provenance.templates_name,
            count_templates=len(classifier.head.provenance.templates),
            head=classifier.head.digest[:12],
            gain=values.pop(_GAIN, None),
            values=values,
            calibration=_calibration(answers, classifier.score_kind),
        )


def _difference(base: Statistic, other: Statistic) -> Statistic:
    return lambda weights: other(weights) - base(weights)


class _Answers:
    """The outcomes of one head as arrays (N,); `truth` is the only label, or the first."""

    def __init__(self, tally: Tally, head: int) -> None:
        rows = tally.counted
        self.pictures = tally.pictures
        self.classes = len(tally.pictures.class_names)
        outcomes = [row.outcomes[head] for row in rows]
        self.truth = np.array([row.labels[0] if row.labels else -1 for row in rows])
        self.predicted = np.array([one.predicted for one in outcomes])
        self.rank = np.array([one.rank for one in outcomes])
        self.score = np.array([one.score for one in outcomes])
        self.truth_score = np.array([one.truth_score for one in outcomes])
        self.squared = np.array([one.squared for one in outcomes])
        self.was_read = np.array([row.error is None for row in rows])
        self._rows, self._outcomes = rows, outcomes

    def rankings(self) -> list[Ranking]:
        """Pictures by their logits, for each class."""
        logits = np.array([one.logits for one in self._outcomes])  # (N, C)
        relevant = np.zeros((len(self._rows), self.classes), dtype=np.int8)
        for row, scored in zip(relevant, self._rows, strict=True):
            row[list(scored.ignored)] = -1
            row[list(scored.labels)] = 1
        columns = zip(logits.T, relevant.T, strict=True)
        return [metrics.rank_pictures(scores, shown) for scores, shown in columns]

    def ranking_of_second(self) -> Ranking:
        """Pictures by how far the logit of the second class is above that of the first."""
        logits = np.array([one.logits for one in self._outcomes])  # (N, 2)
        positive = self.truth == 1
        unread = np.where(positive, -np.inf, np.inf)  # as wrong as can be
        with np.errstate(invalid="ignore"):
            difference = np.where(self.was_read, logits[:, 1] - logits[:, 0], unread)
        return metrics.rank_pictures(difference, positive)

    def confusion(self) -> npt.NDArray[np.int64]:
        """(C, C), rows are the truth, of the pictures that could be read."""
        return metrics.confusion(self.truth, self.predicted, classes=self.classes)


def _metric_for(pictures: LabelledPictures, answers: _Answers) -> str:
    if pictures.multi_label:
        return "map11"
    if pictures.metric == "roc_auc" and len(set(answers.truth.tolist())) < 2:
        raise UsageError(f"{pictures.name}: ROC AUC needs pictures of both classes")
    return pictures.metric


def _statistics(answers: _Answers, metric: str) -> dict[str, Statistic]:
    """The data set's metric first, then the usual ones."""
    rank, truth, classes = answers.rank, answers.truth, answers.classes
    if metric == "map11":
        return {metric: partial(metrics.map11, answers.rankings())}
    usual: dict[str, Statistic] = {
        "acc1": partial(metrics.acc, rank, k=1),
        "acc5": partial(metrics.acc, rank, k=5),
        "mean_per_class": partial(metrics.mean_per_class, rank, truth=truth, classes=classes),
    }
    if classes <= 5:
        del usual["acc5"]
    if metric == "top1_top5_mean":
        usual[metric] = partial(metrics.top1_top5_mean, rank)
    if metric == "roc_auc":
        usual[metric] = partial(metrics.roc_auc, answers.ranking_of_second())
    key = KEYS[metric]
    return {key: usual.pop(key), **usual}


def _calibration(answers: _Answers, score_kind: ScoreKind) -> Calibration | None:
    """Of softmax scores only: a sigmoid's scores do not say how sure the best one is."""
    if answers.pictures.multi_label or score_kind != "softmax" or not answers.was_read.any():
        return None
    read = answers.was_read
    return calibration.calibration(
        answers.score[read],
        answers.rank[read] == 0,
        truth_score=answers.truth_score[read],
        squared=answers.squared[read],
    )


def _per_class(answers: _Answers, names: Sequence[str]) -> tuple[ClassFigure, ...]:
    ones = np.ones(len(answers.rank))
    if answers.pictures.multi_label:
        rankings = answers.rankings()
        values = [metrics.average_precision_11(ranking, ones) for ranking in rankings]
        counts = [int(ranking.relevant.sum()) for ranking in rankings]
    else:
        values = metrics.recall_per_class(
            answers.rank, ones, truth=answers.truth, classes=answers.classes
        ).tolist()
        counts = np.bincount(answers.truth, minlength=answers.classes).tolist()
    return tuple(map(ClassFigure, names, counts, values))


def _mistakes(counted: Iterable[Scored], names: Sequence[str]) -> Iterator[Mistake]:
    wrong = [one for one in counted if one.error is None and one.outcomes[0].rank > 0]
    wrong.sort(key=lambda one: -one.outcomes[0].score)
    for one in wrong[:MISTAKES]:
        outcome = one.outcomes[0]
        yield Mistake(
            path=one.path,
            truth=tuple(names[i] for i in one.labels),
            predicted=names[outcome.predicted],
            score=outcome.score,
            truth_score=outcome.truth_score,
        )
