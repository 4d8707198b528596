"""What comes out for each input: frozen dataclasses with plain fields.

Knows nothing about files, models or how a result is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from zsclip.errors import PictureErrorCode

ScoreKind = Literal["softmax", "sigmoid", "cosine"]
SCORE_KINDS: tuple[str, ...] = get_args(ScoreKind)


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


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one input, in input order; a failed input has `error` instead of scores.

    Attributes:
        path: as given (undecodable bytes as surrogates); None for pictures from memory.
        label: the best label, or None where it was rejected by a threshold or the input failed.
        scores: the best `top_k` labels, best first; ties keep the order of the labels.
        score_kind: `softmax` (sums to 1 over all labels), `sigmoid` (each label on its own) or
            `cosine` (the score is the cosine).
        model: name and first six hex digits of the weights' digest.
        head: first twelve hex digits of the head's digest.
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
    error: Failure | None = None
    frames: int | None = None
    truncated: bool = False
    revision: str | None = None
