"""The protocol of an engine: what runs a model's two towers.

NumPy float32 in and out; tensors stay inside.
Shapes: B images, P prompts, S image size, L context length, D feature size.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from zsclip.errors import UsageError

Floats = npt.NDArray[np.float32]

Precision = Literal["fp32", "bf16", "fp16"]
"""What the matrices of the image side are multiplied in; the text side is fp32 always."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_ON_DEVICE = {"cpu": ("fp32", "bf16"), "mps": ("fp32",)}


class Engine(Protocol):
    """Runs a model; `logit_bias` is None for models that are trained with softmax."""

    logit_scale: float
    logit_bias: float | None

    def encode_images(self, pixels: Floats, *, full_precision: bool = False) -> Floats:
        """Unit-length image_features (B, D) of prepared pixels (B, 3, S, S).

        Args:
            pixels: of any number of pictures.
            full_precision: in fp32, whatever precision the engine was opened with.

        Raises:
            MemoryError: there is no memory for so many; fewer may fit, and the engine goes on.
        """

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D) of tokens (P, L), always in fp32."""


def check_precision(precision: str, device: str) -> Precision:
    """The precision, if images can be encoded in it on `cpu`, `cuda` or `mps` (or `auto`).

    Raises:
        UsageError: no such precision, or not on this device.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    possible = _ON_DEVICE.get(device, PRECISIONS)
    if precision not in possible:
        raise UsageError(
            f"{precision} is not for device {device!r}",
            tip=f"use --precision {' or '.join(reversed(possible))}",
        )
    return precision
