"""One input -> one guarded, decoded RGB picture, or a PictureError with a code.

Checks before it opens (regular file, not empty), opens an allow-list of formats only, checks the
size before it decodes, then loads, turns the picture upright and composes transparency over the
background; a `Decoding` says which of this is done. Public corpora raise eight exception classes
from Pillow, so all of this is one guarded unit. Knows nothing about models.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import stat
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from zsclip.decoding import DEFAULT, Box, Decoding
from zsclip.errors import PictureError, PictureErrorCode
from zsclip.formats import FORMATS, unidentified

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.generic]
"""What the Python API takes as one picture: a path, encoded bytes, a Pillow image, or an array
(H, W), (H, W, 3) or (H, W, 4) of uint8."""

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_ORIENTATION = 0x0112
_SPARE = 2.75
"""How many times larger than needed a JPEG stays, at least, when it is decoded fast: with 2 the
12-megapixel photos of the tests come out at 48 dB, with this above 50."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: RGB, upright, opaque (unless loaded as open_clip does).

    Attributes:
        frames: number of frames of an animation.
        box: the part of `image` that the picture fills, where a JPEG that was decoded at a smaller
            scale ends within a pixel.
    """

    image: Image.Image
    frames: int | None = None
    box: Box | None = None


def load(source: ImageInput, decoding: Decoding = DEFAULT, *, size: int | None = None) -> Picture:
    """Decode one input.

    Args:
        size: what the picture's sides are going to be resized to, for `decode="fast"`.

    Raises:
        PictureError: with one code of the closed list; nothing else escapes.
    """
    try:
        if isinstance(source, Image.Image):
            _load_pixels(source)  # an opened file is not read before
            return _finish(source, decoding)
        if isinstance(source, np.ndarray):
            return _finish(_from_array(source), decoding)
        if not isinstance(source, bytes):
            source = _read_file(os.fspath(source))
        return _decode(source, decoding, size if decoding.decode == "fast" else None)
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("out_of_memory", "not enough memory to decode the picture") from error
    except Exception as error:  # the guard around one picture: Pillow raises anything
        raise PictureError("corrupt", _one_line(error)) from error


def _read_file(path: str) -> bytes:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise PictureError("is_directory", "is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("not_regular", "is not a regular file")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise _os_failure(error) from error
    except ValueError as error:  # a NUL byte in the name
        raise PictureError("not_found", "no such file") from error


def _os_failure(error: OSError) -> PictureError:
    codes: dict[int | None, tuple[PictureErrorCode, str]] = {
        errno.ENOENT: ("not_found", "no such file"),
        errno.ENOTDIR: ("not_found", "no such file"),
        errno.EACCES: ("permission", "permission denied"),
        errno.EPERM: ("permission", "permission denied"),
    }
    code, message = codes.get(
        error.errno, ("read_error", (error.strerror or "cannot read").lower())
    )
    return PictureError(code, message)


def _decode(content: bytes, decoding: Decoding, size: int | None) -> Picture:
    if not content:
        raise PictureError("empty", "file is empty")
    image = _open(content, decoding.max_pixels)
    _refuse_zero_size(image)
    frames = _frames(image)
    box = None if size is None else _reduce(image, size)
    _load_pixels(image)
    return _finish(image, decoding, frames, box)


def _load_pixels(image: Image.Image) -> None:
    try:
        image.load()
    except (OSError, SyntaxError, EOFError) as error:
        raise _load_failure(error) from error


def _open(content: bytes, max_pixels: int) -> Image.Image:
    """Read the header; no pixel is decoded yet."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise unidentified(content) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        image = _open_however_large(content)
    if image.width * image.height > max_pixels:
        raise PictureError(
            "too_many_pixels",
            f"{image.width} x {image.height} is more than {max_pixels:,} pixels (--max-pixels)",
        )
    return image


def _open_however_large(content: bytes) -> ImageFile:
    """Do what `Image.open` does, without its limit: ours may be another."""
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        accepted = not accepts or accepts(content[:16])
        if accepted and not isinstance(accepted, str):
            return factory(io.BytesIO(content), "")
    raise PictureError("too_many_pixels", "has more pixels than Pillow opens")


def _reduce(image: Image.Image, size: int) -> Box | None:
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


def _load_failure(error: Exception) -> PictureError:
    text = str(error).lower()
    if "truncated" in text or "unexpected end" in text or "not enough data" in text:
        return PictureError("truncated", "the picture ends early")
    return PictureError("corrupt", _one_line(error))


def _frames(image: Image.Image) -> int | None:
    if image.format not in _ANIMATED:
        return None
    frames = 1
    with contextlib.suppress(Exception):  # counting frames never fails a picture
        frames = int(getattr(image, "n_frames", 1))
        image.seek(0)
    return frames if frames > 1 else None


def _from_array(array: npt.NDArray[np.generic]) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] in ((3,), (4,))):
        raise PictureError(
            "unsupported_pixels", f"needs uint8 (H, W[, C]); this is {array.dtype} {array.shape}"
        )
    return Image.fromarray(array)


def _refuse_zero_size(image: Image.Image) -> None:
    if 0 in image.size:
        raise PictureError("zero_size", f"has no pixels: {image.width} x {image.height}")


def _finish(
    image: Image.Image, decoding: Decoding, frames: int | None = None, box: Box | None = None
) -> Picture:
    _refuse_zero_size(image)
    if decoding.exact:
        return Picture(image, frames)
    if image.mode == "F":
        raise PictureError("unsupported_pixels", "32-bit float pixels; convert first")
    image, box = _upright(image, box)
    if image.mode.startswith("I"):
        image = _sixteen_bit_to_grey(image, image.info.get("transparency"))
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*decoding.colour, 255))
        image = Image.alpha_composite(canvas, image.convert("RGBA"))
    return Picture(image.convert("RGB"), frames, box)


def _upright(image: Image.Image, box: Box | None) -> tuple[Image.Image, Box | None]:
    with contextlib.suppress(Exception):  # broken metadata never fails a picture
        orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation in range(2, 9):
            turned = ImageOps.exif_transpose(image)
            return turned, box and _turned(box, image.size, orientation)
    return image, box


def _turned(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Where a box of the stored picture is in the upright one."""
    left, upper, right, lower = box
    if orientation in (2, 3, 7, 8):
        left, right = size[0] - right, size[0] - left
    if orientation in (3, 4, 6, 7):
        upper, lower = size[1] - lower, size[1] - upper
    return (left, upper, right, lower) if orientation < 5 else (upper, left, lower, right)


def _sixteen_bit_to_grey(image: Image.Image, transparent: object) -> Image.Image:
    # Pillow's convert() clips 16-bit values at 255, which turns nearly every picture white
    values = np.asarray(image, dtype=np.int64)
    grey = Image.fromarray((np.clip(values, 0, 65535) / 257.0 + 0.5).astype(np.uint8))
    if isinstance(transparent, int):  # the one value that a PNG makes transparent
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[0].lower() + text[1:200]
