"""Scores of a picture -> what is answered: the best label, all that fit, or none.

Knows nothing about models, heads or pictures.
Shapes: N labels that are answered with, which may be groups of classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from zsclip import conformal, scoring
from zsclip.errors import UsageError
from zsclip.results import LabelScore, Result

Floats = npt.NDArray[np.float32]

SEVERAL_FROM = 0.5


@dataclass(frozen=True, slots=True)
class Rules:
    """When a label is the answer, and how much of the scores is told.

    Attributes:
        names: (N,) the labels.
        has_cosines: whether cosines mean anything; they do not for a head from pictures.
        top_k: labels in each result, best first; 0 means all.
        min_score: a label with a lower score is no answer.
        min_cosine: the same for its cosine.
        thresholds: (N,) the least score of each label, None for those without; or empty.
        multi_label: answer with all labels that fit.
        set_threshold: the score from which on a label is in the set of a picture.
        other: the answer where the labels' share is under `other_below`.

    Raises:
        UsageError: numbers that cannot be meant, or `other` is a label, too.
    """

    names: Sequence[str]
    has_cosines: bool = True
    top_k: int = 5
    min_score: float | None = None
    min_cosine: float | None = None
    thresholds: Sequence[float | None] = ()
    multi_label: bool = False
    set_threshold: float | None = None
    other: str | None = None
    other_below: float = 0.0

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise UsageError(f"top_k is {self.top_k}; 0 means all labels")
        for name, limit in (("min_score", self.min_score), ("min_cosine", self.min_cosine)):
            if limit is not None and math.isnan(limit):
                raise UsageError(f"{name} is not a number")
        if self.min_cosine is not None and not self.has_cosines:
            raise UsageError(
                "a head from labelled pictures has no cosines, so no least cosine either",
                tip="use --min-score",
            )
        if self.other in self.names:
            raise UsageError(f"a label is called {self.other!r}, too", tip="use --other-name NAME")

    def answer(
        self, result: Result, scores: Floats, similarity: Floats, share: float | None
    ) -> Result:
        """The result with what is answered.

        Args:
            result: of a picture that could be read.
            scores: (N,).
            similarity: (N,) cosines.
            share: of the labels, against names of other things.
        """
        order = scoring.top(scores, 0 if self.multi_label else self.top_k)
        ranked = [self._label_score(i, scores, similarity) for i in order]
        asked = ranked if self.multi_label else ranked[:1]
        fitting = [best for best, i in zip(asked, order, strict=False) if self._accepts(best, i)]
        best = (fitting or ranked)[0]
        label = best.label if fitting else None
        if share is not None and share < self.other_below:
            label = self.other
        return replace(
            result,
            label=label,
            score=best.score,
            cosine=best.cosine,
            scores=tuple(ranked[: self.top_k or None]),
            share=share,
            labels=tuple(one.label for one in fitting) if self.multi_label else None,
            label_set=self._label_set(scores),
        )

    def _label_score(self, index: int, scores: Floats, similarity: Floats) -> LabelScore:
        return LabelScore(
            label=self.names[index],
            score=float(scores[index]),
            cosine=float(similarity[index]) if self.has_cosines else None,
        )

    def _accepts(self, best: LabelScore, index: int) -> bool:
        limits = (self.min_score, self.thresholds[index] if self.thresholds else None)
        if self.multi_label and limits == (None, None):
            limits = (SEVERAL_FROM, None)
        if any(limit is not None and best.score < limit for limit in limits):
            return False
        return self.min_cosine is None or best.cosine is None or best.cosine >= self.min_cosine

    def _label_set(self, scores: Floats) -> tuple[str, ...] | None:
        """The labels whose scores reach the threshold of sets, best first."""
        if self.set_threshold is None:
            return None
        size = conformal.members(scores, self.set_threshold).sum()
        return tuple(self.names[i] for i in scoring.top(scores, 0)[:size])
