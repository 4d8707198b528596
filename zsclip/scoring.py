"""Turn features into scores.

Pure NumPy, float32. Knows nothing about images, models or files. The only place where a kind of
score is chosen and calculated.
Papers: CLIP is arXiv 2103.00020, SigLIP arXiv 2303.15343.
Shapes: B images, C classes, D feature size.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from zsclip.errors import UsageError
from zsclip.results import SCORE_KINDS, ScoreKind

Floats = npt.NDArray[np.float32]


def normalize(features: Floats) -> Floats:
    """Scale rows (..., D) to unit length; a zero row stays zero."""
    features = np.asarray(features, dtype=np.float32)
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    unit: Floats = np.divide(features, length, out=np.zeros_like(features), where=length > 0)
    return unit


def average(prompt_features: Floats) -> Floats:
    """One class vector (D,) from its prompts (P, D): unit length, mean, unit length again.

    The mean is in embedding space, as in the CLIP paper, section 3.1.4.
    """
    mean: Floats = normalize(prompt_features).mean(axis=0, dtype=np.float32)
    return normalize(mean)


def cosines(image_features: Floats, weight: Floats) -> Floats:
    """Cosine similarity (B, C) of unit-length rows (B, D) and (C, D)."""
    similarity: Floats = np.matmul(image_features, weight.T)
    return similarity


def logits(similarity: Floats, *, scale: float, bias: Floats | np.float32) -> Floats:
    """`scale * similarity + bias`, (B, C): CLIP paper, figure 3; SigLIP paper, algorithm 1.

    `scale` is the model's own, never a fixed 100.
    """
    return np.float32(scale) * similarity + bias


def softmax(logits: Floats) -> Floats:
    """Probabilities (B, C) that sum to 1 over the classes: CLIP paper, section 3.1.2."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return probs


def sigmoid(logits: Floats) -> Floats:
    """A probability (B, C) for each picture and class on its own: SigLIP paper, equation 1.

    The sign of the bias is that of the paper's algorithm 1, where it is added to the logits.
    """
    e = np.exp(-np.abs(logits))  # one branch for each sign: exp never overflows
    return np.where(logits >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)


def scores(similarity: Floats, kind: ScoreKind, *, scale: float, bias: Floats) -> Floats:
    """Scores (B, C) of cosines (B, C): in [0, 1], or the cosines themselves for `cosine`."""
    if kind == "cosine":
        return similarity
    values = logits(similarity, scale=scale, bias=bias)
    return sigmoid(values) if kind == "sigmoid" else softmax(values)


def native_kind(logit_bias: float | None) -> ScoreKind:
    """The kind that a model was trained with: only a sigmoid loss learns a bias."""
    return "softmax" if logit_bias is None else "sigmoid"


def choose_kind(asked: str | None, *, native: ScoreKind, model: str) -> ScoreKind:
    """The kind of score that was asked for, or else the model's own.

    Args:
        model: its name, for the message.

    Raises:
        UsageError: no such kind, or a sigmoid of a model that was not trained with one.
    """
    if asked is None:
        return native
    if asked not in SCORE_KINDS:
        raise UsageError(f"scores {asked!r} is not one of {', '.join(SCORE_KINDS)}")
    if asked == "sigmoid" and native != "sigmoid":
        raise UsageError(
            f"scores 'sigmoid' needs a model that was trained with it; {model} has no logit bias, "
            "so its logits have no zero point",
            tip="use softmax or cosine, or a SigLIP model (see 'zsclip models')",
        )
    return cast(ScoreKind, asked)


def top(row: Floats, k: int) -> list[int]:
    """Indices of the k best of a row (C,), best first, ties by index; k = 0 means all."""
    order = np.argsort(-row, kind="stable")
    return [int(i) for i in (order if k == 0 else order[:k])]
