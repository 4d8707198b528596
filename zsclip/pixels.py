"""A picture as the model was trained to see it, (3, S, S) float32, or whole, as users choose it.

Pillow and NumPy only. The result equals open_clip's transform (resize, centre crop or pad, convert
to RGB, scale to [0, 1], normalise), but of a very long picture only the box that survives the crop
is resized: 1 x 65,000 pixels take kilobytes, not gigabytes.
Shapes: V views, S image size.
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
    return _prepare(image, preprocess, box or _all_of(image), preprocess.resize_mode)


def views(
    image: Image.Image, preprocess: Preprocess, *, box: Box | None = None, fit: str
) -> npt.NDArray[np.float32]:
    """The views (V, 3, S, S) of a picture whose average describes it; one, unless fit is `views`.

    Args:
        box: as for `prepare`.
        fit: `crop` is `prepare`; `pad` and `squash` show all of the picture; `views` are the
            squares at both ends and in the middle, and all of it. What nothing would be cropped
            of has one view.

    Raises:
        PictureError: as `prepare`.
    """
    parts = _parts(box or _all_of(image), preprocess, fit)
    return np.stack([_prepare(image, preprocess, part, mode) for mode, part in parts])


def _all_of(image: Image.Image) -> Box:
    return (0.0, 0.0, float(image.width), float(image.height))


def _parts(whole: Box, preprocess: Preprocess, fit: str) -> list[tuple[str, Box]]:
    """How to resize which part of a picture, for each of its views."""
    own = preprocess.resize_mode
    padded = "longest" if own == "longest" else "border"  # a model's own colour, if it has one
    if fit == "pad":
        return [(padded, whole)]
    if fit == "squash":
        return [("squash", whole)]
    squares = _squares(whole, preprocess.size)
    if fit == "crop" or not squares:
        return [(own, whole)]
    return [
        *(("shortest", square) for square in squares),
        (own if own == "squash" else padded, whole),
    ]


def _squares(box: Box, size: int) -> list[Box]:
    """The squares at both ends and in the middle; none where resizing leaves a square."""
    left, upper, right, lower = box
    width, height = right - left, lower - upper
    short, long = sorted((width, height))
    if int(size * long / short) == size:
        return []
    middle = (long - short) / 2
    if width > height:
        starts = (left, left + middle, right - short)
        return [(start, upper, start + short, lower) for start in starts]
    starts = (upper, upper + middle, lower - short)
    return [(left, start, right, start + short) for start in starts]


def _prepare(
    image: Image.Image, preprocess: Preprocess, box: Box, resize_mode: str
) -> npt.NDArray[np.float32]:
    size, resample = preprocess.size, _RESAMPLING[preprocess.interpolation]
    try:
        if resize_mode == "squash":
            square = image.resize((size, size), resample, box)
        elif resize_mode == "longest":
            resized = _resize_longest(image, size, resample, box)
            bands = len(resized.getbands())
            fill = preprocess.fill_color
            square = _centre(resized, size, (fill,) * bands if bands > 1 else fill)
        elif resize_mode == "border":
            resized = _resize_longest(image, size, resample, box).convert("RGB")
            square = _centre(resized, size, _border_colour(resized))
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


def _resize_longest(
    image: Image.Image, size: int, resample: Image.Resampling, box: Box
) -> Image.Image:
    width, height = box[2] - box[0], box[3] - box[1]
    ratio = max(width / size, height / size)
    shape = (max(1, round(width / ratio)), max(1, round(height / ratio)))
    return image.resize(shape, resample, box)


def _centre(resized: Image.Image, size: int, fill: int | tuple[int, ...]) -> Image.Image:
    left, upper = (size - resized.width) // 2, (size - resized.height) // 2
    border = (left, upper, size - resized.width - left, size - resized.height - upper)
    return ImageOps.expand(resized, border, fill)


def _border_colour(image: Image.Image) -> tuple[int, int, int]:
    """The median colour of an RGB picture's two longer sides, which are those that are padded."""
    levels = np.asarray(image)
    sides = levels[[0, -1]] if image.width >= image.height else levels[:, [0, -1]]
    red, green, blue = np.median(sides.reshape(-1, 3), axis=0)
    return int(red), int(green), int(blue)
