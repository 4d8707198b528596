"""Encoded bytes -> an opened Pillow picture, of which no pixel is decoded yet.

Opens an allow-list of formats, and HEIF where its extra is installed. Knows nothing about files,
nor what becomes of the pixels.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from zsclip import containers
from zsclip.decoding import Box
from zsclip.errors import PictureError
from zsclip.formats import FORMATS, NEEDS_HEIF, is_heif, unidentified, unsupported

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_SPARE = 2.75
"""How many times larger than needed a JPEG stays, at least, when it is decoded fast: with 2 the
12-megapixel photos of the tests come out at 48 dB, with this above 50."""


def open_picture(content: bytes, max_pixels: int) -> Image.Image:
    """Read the header.

    Raises:
        PictureError: another format, or too many pixels. Pillow raises others, too.
    """
    if containers.is_camera_raw(content):  # Pillow would take the preview for the picture
        raise unsupported("camera raw (such as DNG, NEF or CR2)")
    # before Pillow opens it: an icon is decoded when it is opened, and may hold a larger picture
    # than it says
    _refuse_too_many_pixels(containers.picture_size(content), max_pixels)
    if content[4:8] == b"ftyp":
        _decode_avif_alone()
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        if not is_heif(content):
            raise unidentified(content) from error
        image = _open_heif(content)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        image = _open_however_large(content)
    _refuse_too_many_pixels(image.size, max_pixels)
    return image


def _decode_avif_alone() -> None:
    """Let the thread that has an AVIF decode it by itself, unless the user has tuned that.

    Threads of its own do not make it faster, and where the system has no more to give the decoder
    calls a whole picture corrupt. Imported here: most runs have no AVIF, and it takes milliseconds.
    """
    from PIL import AvifImagePlugin

    if AvifImagePlugin.DEFAULT_MAX_THREADS == 0:
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def _refuse_too_many_pixels(size: tuple[int, int] | None, max_pixels: int) -> None:
    if size is not None and size[0] * size[1] > max_pixels:
        raise PictureError(
            "too_many_pixels",
            f"{size[0]} x {size[1]} is more than {max_pixels:,} pixels (--max-pixels)",
        )


def _open_heif(content: bytes) -> ImageFile:
    # opened directly: registered with Pillow, it would be there for all users of Pillow
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise PictureError("unsupported_format", NEEDS_HEIF) from error
    image: ImageFile = HeifImageFile(io.BytesIO(content), "")
    return image


def _open_however_large(content: bytes) -> ImageFile:
    """Do what `Image.open` does, without its limit: ours may be another."""
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        accepted = not accepts or accepts(content[:16])
        if not accepted or isinstance(accepted, str):
            continue
        try:
            return factory(io.BytesIO(content), "")
        except Image.DecompressionBombError:  # a limit of the format's own, which cannot be moved
            break
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # another format may accept it
    raise PictureError("too_many_pixels", "has more pixels than Pillow opens")


def count_frames(image: Image.Image) -> int | None:
    """Frames of an animation; None where there is one, or where they are pages."""
    if image.format not in _ANIMATED:
        return None
    frames = 1
    with contextlib.suppress(Exception):  # counting frames never fails a picture
        frames = int(getattr(image, "n_frames", 1))
        image.seek(0)
    return frames if frames > 1 else None


def reduce(image: Image.Image, size: int) -> Box | None:
    """Have a large JPEG decoded at 1/2, 1/4 or 1/8 of its size, with pixels to spare for `size`.

    Returns:
        The part of the smaller picture that is filled: its last column or row may be a fraction.
    """
    if not isinstance(image, JpegImageFile):
        return None
    smallest = math.ceil(_SPARE * _unevenness(image) * size)
    if min(image.size) < 2 * smallest:
        return None
    drafted = image.draft(None, (smallest, smallest))
    return None if drafted is None else drafted[1]


def _unevenness(image: JpegImageFile) -> float:
    """How many times more finely colour is sampled one way than the other: 2 in 4:2:2.

    At a smaller scale libjpeg makes good for subsampled colour where it is even (4:2:0), and else
    leaves it coarse: 41 dB instead of 54.
    """
    factors = [(across, down) for _, across, down, _ in image.layer]
    most_across, most_down = (max(values) for values in zip(*factors, strict=True))
    ratios: list[float] = [most_across / across * down / most_down for across, down in factors]
    return max(max(ratio, 1 / ratio) for ratio in ratios)
