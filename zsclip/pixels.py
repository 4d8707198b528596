"""A picture as the model was trained to see it: (3, S, S) float32.

Pillow and NumPy only. The result equals open_clip's transform (resize, centre crop, scale to
[0, 1], normalise), but of a very long picture only the box that survives the crop is resized:
1 x 65,000 pixels take kilobytes, not gigabytes.
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


_MAX_RESIZED_PIXELS = 1 << 22
"""How large a resized picture may be before its crop; more is resized from the crop's box only."""


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
    if preprocess.resize_mode == "squash":
        square = image.resize((size, size), resample)
    else:
        square = _resize_shortest_and_crop(image, size, resample)
    pixels = np.asarray(square, dtype=np.float32) / np.float32(255)  # (S, S, 3)
    mean = np.asarray(preprocess.mean, dtype=np.float32)
    std = np.asarray(preprocess.std, dtype=np.float32)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def _resize_shortest_and_crop(
    image: Image.Image, size: int, resample: Image.Resampling
) -> Image.Image:
    width, height = image.size
    resized_long = int(size * max(width, height) / min(width, height))
    if resized_long * size <= _MAX_RESIZED_PIXELS:
        # whole, then cropped: Pillow picks the order of its two passes by the whole picture's
        # shape and rounds in between, so the same box resized alone differs by up to 20 grey levels
        wide = width >= height
        whole = image.resize((resized_long, size) if wide else (size, resized_long), resample)
        first = round((resized_long - size) / 2.0)
        x, y = (first, 0) if wide else (0, first)
        return whole.crop((x, y, x + size, y + size))
    box = kept_box(width, height, size)
    margin = 2 * max(1.0, min(width, height) / size) + 2  # more than the filter reaches
    left, upper = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    right, lower = min(width, int(box[2] + margin)), min(height, int(box[3] + margin))
    part = image.crop((left, upper, right, lower))
    inside = (box[0] - left, box[1] - upper, box[2] - left, box[3] - upper)
    # Pillow keeps boxes in 32-bit floats: small numbers keep the fractions
    return part.resize((size, size), resample, box=inside)
