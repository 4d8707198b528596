"""Turn features into scores.

Pure NumPy, float32. Knows nothing about images, models or files.
Shapes: B images, C classes, D feature size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zsclip.results import ScoreKind

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


def logits(similarity: Floats, *, scale: float, bias: Floats) -> Floats:
    """`scale * similarity + bias`, (B, C); `scale` is the model's own, never a fixed 100."""
    return np.float32(scale) * similarity + bias


def scores(logits: Floats, kind: ScoreKind) -> Floats:
    """Scores (B, C) in [0, 1]: softmax over the classes, or a sigmoid for each on its own."""
    if kind == "sigmoid":
        # one branch for each sign: exp never overflows
        e = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmax: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return softmax


def top(row: Floats, k: int) -> list[int]:
    """Indices of the k best of a row (C,), best first, ties by index; k = 0 means all."""
    order = np.argsort(-row, kind="stable")
    return [int(i) for i in (order if k == 0 else order[:k])]
