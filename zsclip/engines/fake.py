"""An engine without weights, for tests: fast, deterministic, and public.

A text's features are a hash of its tokens, a picture's a hash of its mean colour.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from zsclip.engines.base import Floats
from zsclip.scoring import normalize


class FakeEngine:
    """Random-looking unit vectors that depend on the input alone.

    Args:
        fits: pictures that there is memory for at once; any number unless given.

    Attributes:
        text_calls: number of prompts encoded so far.
        image_calls: number of pictures encoded so far.
    """

    def __init__(
        self,
        *,
        dimension: int = 64,
        logit_scale: float = 100.0,
        logit_bias: float | None = None,
        fits: int | None = None,
    ) -> None:
        self.dimension = dimension
        self.logit_scale = logit_scale
        self.logit_bias = logit_bias
        self.fits = fits
        self.text_calls = 0
        self.image_calls = 0

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D)."""
        self.text_calls += len(tokens)
        return np.stack([self._vector(row.tobytes()) for row in tokens])

    def encode_images(self, pixels: Floats, *, full_precision: bool = False) -> Floats:
        """Unit-length image_features (B, D) that depend on each picture's mean colour.

        Raises:
            MemoryError: more pictures than `fits`.
        """
        if self.fits is not None and len(pixels) > self.fits:
            raise MemoryError
        self.image_calls += len(pixels)
        colours = np.round(pixels.mean(axis=(2, 3)), 1)  # (B, 3)
        return np.stack([self._vector(colour.astype(np.float32).tobytes()) for colour in colours])

    def _vector(self, content: bytes) -> Floats:
        seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
        generator = np.random.default_rng(seed)
        return normalize(generator.standard_normal(self.dimension, dtype=np.float32))
