"""A picture as the model was trained to see it: (3, S, S) float32.

Pillow and NumPy only. The result equals open_clip's transform (resize, centre crop, scale to
[0, 1], normalise), but only the box that survives the crop is resized: a 1 x 65,000 picture takes
kilobytes, not gigabytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from zsclip.models import Preprocess

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}


def kept_box(width: int, height: int, size: int) -> tuple[float, float, float, float]:
    """The box of the source that is left after resizing the shortest side and centre cropping.

    Rounds as torchvision does: the longer side is cut to whole pixels before the crop.

    Returns:
        (left, upper, right, lower) in source pixels.
    """
    short, long = sorted((width, height))
    resized_long = int(size * long / short)
    first = round((resized_long - size) / 2.0) * long / resized_long
    last = first + size * long / resized_long
    return (
        (first, 0.0, last, float(height)) if width >= height else (0.0, first, float(width), last)
    )


def prepare(image: Image.Image, preprocess: Preprocess) -> npt.NDArray[np.float32]:
    """Resize, crop and normalise an RGB picture to (3, S, S)."""
    size = preprocess.size
    resample = _RESAMPLING[preprocess.interpolation]
    box = None if preprocess.resize_mode == "squash" else kept_box(image.width, image.height, size)
    square = image.resize((size, size), resample, box=box)
    pixels = np.asarray(square, dtype=np.float32) / np.float32(255)  # (S, S, 3)
    mean = np.asarray(preprocess.mean, dtype=np.float32)
    std = np.asarray(preprocess.std, dtype=np.float32)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))
