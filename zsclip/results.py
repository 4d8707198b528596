"""What comes out for each input: frozen dataclasses with plain fields.

Knows nothing about files, models or how a result is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from zsclip.errors import PictureErrorCode

ScoreKind = Literal["softmax", "sigmoid", "cosine", "vs_background"]
SCORE_KINDS = ("softmax", "sigmoid", "cosine")
"""Those that can be asked for; the other one comes with several labels."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label of one picture.

    `score` is in [0, 1], or the cosine itself where the result's kind of score is `cosine`;
    `cosine` is in [-1, 1], and None where the head is not made of words.
    """

    label: str
    score: float
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a picture has no label: a code of the closed list and a sentence."""

    code: PictureErrorCode
    message: str


class Answer(Protocol):
    """What the answer for an input has, whatever was asked: scores or features."""

    @property
    def path(self) -> str | None:
        """As given."""

    @property
    def error(self) -> Failure | None:
        """Why there is no answer."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one input, in input order; a failed input has `error` instead of scores.

    Attributes:
        path: as given (undecodable bytes as surrogates); None for pictures from memory.
        label: the best label, the name for others where the labels' share is too small, or None
            where it was rejected by a threshold or the input failed.
        share: of the labels, in [0, 1], against the names of other things; None where no name for
            others was asked for.
        labels: those that are accepted, best first, maybe none; None where not several were asked
            for.
        scores: the best `top_k` labels, best first; ties keep the order of the labels.
        score_kind: `softmax` (sums to 1 over all labels), `sigmoid` (each label on its own),
            `cosine` (the score is the cosine) or `vs_background` (each label against other names).
        model: name and first six hex digits of the weights' digest.
        head: first twelve hex digits of the head's digest.
        label_set: the labels that together hold the truth as often as was asked for, best first,
            maybe none; None where no coverage was asked for.
        frames: number of frames where the picture is animated; the first one was classified.
        truncated: the file was cut, and what there was of it was classified.
        revision: commit of the hub's repository that the weights came from, where they did.
    """

    path: str | None
    status: Literal["ok", "error"]
    model: str
    head: str
    label: str | None = None
    score: float | None = None
    cosine: float | None = None
    scores: tuple[LabelScore, ...] = ()
    score_kind: ScoreKind | None = None
    share: float | None = None
    labels: tuple[str, ...] | None = None
    label_set: tuple[str, ...] | None = None
    error: Failure | None = None
    frames: int | None = None
    truncated: bool = False
    revision: str | None = None
