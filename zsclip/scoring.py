"""Turn features into scores.

Pure NumPy, float32. Knows nothing about images, models or files. The only place where a kind of
score is chosen and calculated.
Papers: CLIP is arXiv 2103.00020, SigLIP arXiv 2303.15343, NegLabel arXiv 2403.20078.
Shapes: B images, C classes, N names of other things, D feature size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from zsclip.errors import UsageError
from zsclip.results import SCORE_KINDS, ScoreKind

Floats = npt.NDArray[np.float32]
AnyFloats = TypeVar("AnyFloats", npt.NDArray[np.float32], npt.NDArray[np.float64])


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


def softmax(logits: AnyFloats) -> AnyFloats:
    """Probabilities (B, C) that sum to 1 over the classes: CLIP paper, section 3.1.2."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: AnyFloats = shifted / shifted.sum(axis=-1, keepdims=True)
    return probs


def sigmoid(logits: Floats) -> Floats:
    """A probability (B, C) for each picture and class on its own: SigLIP paper, equation 1.

    The sign of the bias is that of the paper's algorithm 1, where it is added to the logits.
    """
    e = np.exp(-np.abs(logits))  # one branch for each sign: exp never overflows
    return np.where(logits >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)


def log_mean_exp(logits: Floats) -> Floats:
    """The logarithm of the mean of exp(logits), (B,) of (B, N)."""
    highest = logits.max(axis=-1)
    mean = np.exp(logits - highest[..., None]).mean(axis=-1, dtype=np.float32)
    total: Floats = highest + np.log(mean)
    return total


def share(similarity: Floats, background: Floats, *, scale: float) -> Floats:
    """How much of a picture is the labels', (B,) in [0, 1], and not the background's.

    That is NegLabel's score, but of means where it has sums: before one looks at the picture, one
    of the labels and none of them are equally likely, however many labels and names there are.

    Args:
        similarity: (B, C) cosines of the labels.
        background: (B, N) cosines of the names that compete with them.
    """
    labels = log_mean_exp(np.float32(scale) * similarity)
    return sigmoid(labels - log_mean_exp(np.float32(scale) * background))


def versus(similarity: Floats, background: Floats, *, scale: float) -> Floats:
    """The share of each label, (B, C), as if it were the only one."""
    others = log_mean_exp(np.float32(scale) * background)
    return sigmoid(np.float32(scale) * similarity - others[:, None])


def scores(
    similarity: Floats,
    kind: ScoreKind,
    *,
    scale: float,
    bias: Floats,
    temperature: float = 1.0,
    background: Floats | None = None,
) -> Floats:
    """Scores (B, C) of cosines (B, C): in [0, 1], or the cosines themselves for `cosine`.

    Args:
        temperature: what logits are divided by before a softmax (`zsclip.temperature`).
        background: (B, N) cosines of other names, for `vs_background`.
    """
    if kind == "cosine":
        return similarity
    if kind == "vs_background":
        assert background is not None
        return versus(similarity, background, scale=scale)
    values = logits(similarity, scale=scale, bias=bias)
    return sigmoid(values) if kind == "sigmoid" else softmax(values / np.float32(temperature))


def grouped(scores: Floats, members: Sequence[Sequence[int]], kind: ScoreKind) -> Floats:
    """Scores (B, G) of groups of classes, from those of their members, (B, C).

    Probabilities that exclude each other add up. Those of a sigmoid do not, nor do cosines: a group
    fits as well as the best of its members.
    """
    order = np.concatenate([np.asarray(group, dtype=np.intp) for group in members])
    starts = np.cumsum([0, *(len(group) for group in members[:-1])])
    if kind == "softmax":
        return np.minimum(np.add.reduceat(scores[:, order], starts, axis=1), np.float32(1))
    best: Floats = np.maximum.reduceat(scores[:, order], starts, axis=1)
    return best


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
