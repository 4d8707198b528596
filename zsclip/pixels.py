"""A picture as the model was trained to see it: (3, S, S) float32.

Pillow and NumPy only. The result equals open_clip's transform (resize, centre crop or pad, convert
to RGB, scale to [0, 1], normalise), but of a very long picture only the box that survives the crop
is resized: 1 x 65,000 pixels take kilobytes, not gigabytes.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from zsclip.decoding import Box
from zsclip.errors import PictureError
from zsclip.models import Preprocess

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
_MAX_RESIZED_PIXELS = 1 << 22
"""How large a resized picture may be before its crop; more is resized from the crop's box only."""


def kept_box(width: float, height: float, size: int) -> Box:
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


def prepare(
    image: Image.Image, preprocess: Preprocess, *, box: Box | None = None
) -> npt.NDArray[np.float32]:
    """Resize, crop or pad, and normalise a picture to (3, S, S).

    Args:
        image: RGB as a rule; other modes are resized as they are and then converted, as open_clip
            does.
        box: the part of `image` that the picture fills; all of it unless given.

    Raises:
        PictureError: its pixels cannot be converted to RGB.
    """
    size = preprocess.size
    resample = _RESAMPLING[preprocess.interpolation]
    box = box or (0.0, 0.0, float(image.width), float(image.height))
    try:
        if preprocess.resize_mode == "squash":
            square = image.resize((size, size), resample, box)
        elif preprocess.resize_mode == "longest":
            square = _resize_longest_and_pad(image, size, resample, box, preprocess.fill_color)
        else:
            square = _resize_shortest_and_crop(image, size, resample, box)
        square = square.convert("RGB")
    except ValueError as error:
        raise PictureError("unsupported_pixels", f"pixels of mode {image.mode}") from error
    levels = np.asarray(square)  # (S, S, 3)
    table = _table(preprocess.mean, preprocess.std)
    return np.stack([table[channel][levels[:, :, channel]] for channel in range(3)])


@functools.cache
def _table(mean: tuple[float, ...], std: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """(3, 256): what the model sees of each grey level; a pixel has no more than those."""
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    means, stds = (np.asarray(numbers, dtype=np.float32)[:, None] for numbers in (mean, std))
    return (levels - means) / stds


def _resize_shortest_and_crop(
    image: Image.Image, size: int, resample: Image.Resampling, box: Box
) -> Image.Image:
    width, height = box[2] - box[0], box[3] - box[1]
    resized_long = int(size * max(width, height) / min(width, height))
    if resized_long * size <= _MAX_RESIZED_PIXELS:
        # whole, then cropped: Pillow picks the order of its two passes by the whole picture's
        # shape and rounds in between, so the same box resized alone differs by up to 20 grey levels
        wide = width >= height
        whole = image.resize((resized_long, size) if wide else (size, resized_long), resample, box)
        first = round((resized_long - size) / 2.0)
        x, y = (first, 0) if wide else (0, first)
        return whole.crop((x, y, x + size, y + size))
    kept = kept_box(width, height, size)
    kept = (kept[0] + box[0], kept[1] + box[1], kept[2] + box[0], kept[3] + box[1])
    margin = 2 * max(1.0, min(width, height) / size) + 2  # more than the filter reaches
    left, upper = max(0, int(kept[0] - margin)), max(0, int(kept[1] - margin))
    right = min(image.width, int(kept[2] + margin))
    lower = min(image.height, int(kept[3] + margin))
    part = image.crop((left, upper, right, lower))
    inside = (kept[0] - left, kept[1] - upper, kept[2] - left, kept[3] - upper)
    # Pillow keeps boxes in 32-bit floats: small numbers keep the fractions
    return part.resize((size, size), resample, box=inside)


def _resize_longest_and_pad(
    image: Image.Image, size: int, resample: Image.Resampling, box: Box, fill_color: int
) -> Image.Image:
    width, height = box[2] - box[0], box[3] - box[1]
    ratio = max(width / size, height / size)
    resized = image.resize(
        (max(1, round(width / ratio)), max(1, round(height / ratio))), resample, box
    )
    left, upper = (size - resized.width) // 2, (size - resized.height) // 2
    border = (left, upper, size - resized.width - left, size - resized.height - upper)
    bands = len(resized.getbands())
    return ImageOps.expand(resized, border, (fill_color,) * bands if bands > 1 else fill_color)
