"""One input -> one guarded, decoded RGB picture, or a PictureError with a code.

Checks before it opens (regular file, not empty), opens an allow-list of formats only, checks the
size before it decodes, then loads, turns the picture upright and composes transparency over the
background. Public corpora raise eight exception classes from Pillow, so all of this is one guarded
unit. Knows nothing about models.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from zsclip.errors import PictureError, PictureErrorCode

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA")
# fmt: off
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".ico", ".tga",
))
# fmt: on
MAX_PIXELS = 89_478_485  # Pillow's own warning limit
BACKGROUND = (255, 255, 255)

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.generic]
"""What the Python API takes as one picture: a path, encoded bytes, a Pillow image, or an array
(H, W), (H, W, 3) or (H, W, 4) of uint8."""

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_HEAD_BYTES = 512
_FOREIGN = (
    # (offset, magic bytes, what it is, its format where a picture format that we do not read)
    (4, b"ftypheic", "HEIC", True),
    (4, b"ftypheix", "HEIC", True),
    (4, b"ftypmif1", "HEIF", True),
    (0, b"8BPS", "PSD", True),
    (0, b"%!PS", "EPS", True),
    (0, b"\xc5\xd0\xd3\xc6", "EPS", True),
    (0, b"\xff\x0a", "JPEG XL", True),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL", True),
    (0, b"%PDF", "PDF", False),
    (0, b"PK\x03\x04", "a zip archive", False),
    (0, b"\x1f\x8b", "a gzip archive", False),
    (0, b"MZ", "a Windows program", False),
    (0, b"\x7fELF", "a program", False),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: RGB, upright, opaque."""

    image: Image.Image
    frames: int | None = None


def load(source: ImageInput) -> Picture:
    """Decode one input.

    Raises:
        PictureError: with one code of the closed list; nothing else escapes.
    """
    try:
        if isinstance(source, Image.Image):
            return Picture(_to_rgb(source))
        if isinstance(source, np.ndarray):
            return Picture(_to_rgb(_from_array(source)))
        if isinstance(source, bytes):
            return _decode(source)
        return _decode(_read_file(os.fspath(source)))
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


def _decode(content: bytes) -> Picture:
    if not content:
        raise PictureError("empty", "file is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _unidentified(content[:_HEAD_BYTES]) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("too_many_pixels", _one_line(error)) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            "too_many_pixels", f"{width} x {height} is more than {MAX_PIXELS:,} pixels"
        )
    _refuse_zero_size(image)
    frames = _frames(image)
    try:
        image.load()
    except (OSError, SyntaxError, EOFError) as error:
        raise _load_failure(error) from error
    return Picture(_to_rgb(image), frames)


def _unidentified(head: bytes) -> PictureError:
    for offset, magic, name, is_picture in _FOREIGN:
        if head[offset:].startswith(magic):
            if is_picture:
                return PictureError("unsupported_format", f"{name} is not supported")
            return PictureError("unrecognized", f"not a supported image (looks like {name})")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return PictureError("unrecognized", "not a supported image (looks like HTML)")
    if b"<svg" in text:
        return PictureError("unsupported_format", "SVG is not supported")
    return PictureError("unrecognized", "not a supported image")


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


def _to_rgb(image: Image.Image) -> Image.Image:
    _refuse_zero_size(image)
    if image.mode == "F":
        raise PictureError("unsupported_pixels", "32-bit float pixels; convert first")
    with contextlib.suppress(Exception):  # broken metadata never fails a picture
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = _sixteen_bit_to_grey(image)
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(canvas, image.convert("RGBA"))
    return image.convert("RGB")


def _sixteen_bit_to_grey(image: Image.Image) -> Image.Image:
    # Pillow's convert() clips 16-bit values at 255, which turns nearly every picture white
    values = np.asarray(image, dtype=np.int64)
    return Image.fromarray((np.clip(values, 0, 65535) / 257.0 + 0.5).astype(np.uint8))


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[0].lower() + text[1:200]
