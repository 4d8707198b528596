"""The protocol of an engine: what runs a model's two towers.

NumPy float32 in and out; tensors stay inside.
Shapes: B images, P prompts, S image size, L context length, D feature size.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs a model; `logit_bias` is None for models that are trained with softmax."""

    logit_scale: float
    logit_bias: float | None

    def encode_images(self, pixels: Floats) -> Floats:
        """Unit-length image_features (B, D) of prepared pixels (B, 3, S, S)."""

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D) of tokens (P, L), always in fp32."""
