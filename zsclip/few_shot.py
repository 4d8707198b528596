"""A few labelled pictures and the zero-shot weights -> a linear classifier, in closed form.

Pure NumPy. Knows nothing about pictures, models or files. No number is to be tuned, and no
pictures are set aside: what the pictures say of themselves, one left out at a time, decides how
far to go from the zero-shot weights. docs/probe.md has the formulas, and what else was tried.
Shapes: N pictures, C classes, D feature size, K kept directions, L strengths, G gains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip import scoring

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]

STRENGTHS: Doubles = np.exp2(np.arange(-6, 3, 2))
"""Of the ridge (L,), in units of the features' mean square around their centre."""
GAINS: Doubles = np.exp2(np.arange(-1, 8))
"""What the fitted correction is multiplied by (G,)."""
USUAL_STRENGTH, USUAL_GAIN = 1.0, 2.0
_SCALES: Doubles = np.exp2(np.arange(-5, 1.25, 0.25))
_OCTAVES = 1.0
"""Standard deviation of all three around the usual ones, before any picture is seen."""
_BLOCK = 2048
_LEAST_SQUARE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class FewShot:
    """`logits = image_features @ weight.T + bias`.

    Attributes:
        weight: (C, D) float32.
        bias: (C,) float32.
        scale: what the zero-shot cosines are multiplied by: the model's scale, or less where the
            pictures show that it promises too much.
        strength: of the ridge, the mean over all by their weights.
        gain: of the correction, likewise.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    scale: float
    strength: float | None = None
    gain: float = 0.0


def fit(features: Floats, labels: Ints, *, prior: Floats, scale: float) -> FewShot:
    """Correct zero-shot weights by labelled pictures; without any the weights stay as they are.

    Args:
        features: (N, D) image_features of unit length.
        labels: (N,) class of each picture.
        prior: (C, D) zero-shot weights of unit length.
        scale: what the model multiplies cosines by.
    """
    pictures, words = features.astype(np.float64), prior.astype(np.float64)
    if not len(labels):
        return _result(scale * words, np.zeros(len(words)), scale)
    cosines = pictures @ words.T  # (N, C)
    scale = calibrate(cosines, labels, scale)
    centre = pictures.mean(axis=0)
    ridge = Ridge(pictures - centre, cosines, labels, scale)
    share = _shares(ridge.log_likelihoods())  # (L, G)
    correction = ridge.correction(share @ GAINS)  # (C, D)
    return _result(
        scale * words + correction,
        -correction @ centre,
        scale,
        strength=float(share.sum(axis=1) @ STRENGTHS),
        gain=float(share.sum(axis=0) @ GAINS),
    )


def _result(weight: Doubles, bias: Doubles, scale: float, **chosen: float) -> FewShot:
    return FewShot(weight.astype(np.float32), bias.astype(np.float32), scale, **chosen)


def calibrate(cosines: Doubles, labels: Ints, scale: float) -> float:
    """The scale under which zero-shot answers to the pictures are likely, near the model's own.

    No picture was used for the zero-shot weights, so that none has to be left out.
    """
    evidence = [log_likelihood(scale * s * cosines, labels) for s in _SCALES]
    return scale * float(_SCALES[np.argmax(evidence + _log_normal(_SCALES))])


class Ridge:
    """Least squares from centred features to what zero-shot answers lack.

    What they lack is the residual, one-hot labels less softmax: the direction in which logistic
    regression would go from the zero-shot weights. Where those answer well it is small, and so is
    the correction.

    Args:
        centred: (N, D) features around their mean.
        cosines: (N, C) zero-shot cosines of the pictures.
        labels: (N,) class of each picture.
        scale: of the cosines.
    """

    def __init__(self, centred: Doubles, cosines: Doubles, labels: Ints, scale: float) -> None:
        self.labels = labels
        self.square = max(float((centred**2).sum() / len(centred)), _LEAST_SQUARE)
        self._zero_shot = scale * cosines
        # (N, K), (K,), (K, D): K is the smaller one of N and D
        self._rows, self._lengths, self._directions = np.linalg.svd(centred, full_matrices=False)
        self._targets: Doubles = np.zeros((len(self._lengths), cosines.shape[1]))  # (K, C)
        for block in self._blocks():
            self._targets += self._rows[block].T @ self._residual(block)

    def _blocks(self) -> Iterator[slice]:
        """Some pictures at a time: N x C numbers are many, and several of that size are needed."""
        for start in range(0, len(self.labels), _BLOCK):
            yield slice(start, start + _BLOCK)

    def _residual(self, block: slice) -> Doubles:
        """One-hot labels less zero-shot probabilities, (B, C)."""
        residual = -scoring.softmax(self._zero_shot[block])
        residual[np.arange(len(residual)), self.labels[block]] += 1
        return residual

    def _kept(self, strength: float) -> Doubles:
        """How much of each direction the ridge keeps, (K,)."""
        kept: Doubles = self._lengths**2 / (self._lengths**2 + strength * self.square)
        return kept

    def left_out(self, strength: float, block: slice) -> Doubles:
        """What is predicted for pictures by all others, (B, C), as if each had been left out.

        Exact for least squares: the error of a picture that was left out is its error by the fit
        to all, divided by one less its leverage. Centre, scale and residuals stay those of all.
        """
        rows, kept = self._rows[block], self._kept(strength)
        residual = self._residual(block)
        error = residual - (rows * kept) @ self._targets
        leverage = (rows**2) @ kept
        predicted: Doubles = residual - error / (1 - leverage)[:, None]
        return predicted

    def log_likelihoods(self) -> Doubles:
        """How likely the labels are under each strength and gain, (L, G), each picture left out.

        Pictures that are alone in their class have no say: left out, their class has none.
        """
        total = np.zeros((len(STRENGTHS), len(GAINS)))
        counts = np.bincount(self.labels, minlength=self._zero_shot.shape[1])
        for block in self._blocks():
            labels = self.labels[block]
            rows = np.flatnonzero(counts[labels] > 1)
            zero_shot = self._zero_shot[block][rows].astype(np.float32)  # half the time
            for i, strength in enumerate(STRENGTHS):
                correction = self.left_out(strength, block)[rows].astype(np.float32)
                for j, gain in enumerate(GAINS.astype(np.float32)):
                    total[i, j] += log_likelihood(zero_shot + gain * correction, labels[rows])
        return total

    def correction(self, gains: Doubles) -> Doubles:
        """The weights that come to the zero-shot ones, (C, D): a sum over strengths.

        Args:
            gains: (L,) of each strength.
        """
        shrunk = np.zeros(len(self._lengths))
        for strength, gain in zip(STRENGTHS, gains, strict=True):
            shrunk += gain * self._lengths / (self._lengths**2 + strength * self.square)
        correction: Doubles = self._targets.T @ (shrunk[:, None] * self._directions)
        return correction


def _shares(log_likelihoods: Doubles) -> Doubles:
    """The weight of each strength and gain, (L, G), all together 1: prior times likelihood.

    Averaged heads are a head, and with few pictures an average is safer than the best.
    """
    usual = _log_normal(STRENGTHS / USUAL_STRENGTH)[:, None]
    log_shares = log_likelihoods + usual + _log_normal(GAINS / USUAL_GAIN)
    shares = np.exp(log_shares - log_shares.max())
    normalized: Doubles = shares / shares.sum()
    return normalized


def _log_normal(ratio: Doubles) -> Doubles:
    log_density: Doubles = -0.5 * (np.log2(ratio) / _OCTAVES) ** 2
    return log_density


def log_likelihood(logits: Floats, labels: Ints) -> float:
    """The sum over pictures of the logarithm of their class's probability; logits are (B, C)."""
    highest = logits.max(axis=1, keepdims=True)
    evidence = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float((logits[np.arange(len(labels)), labels] - evidence).sum(dtype=np.float64))
