"""One input -> one guarded, decoded RGB picture, or a PictureError with a code.

Checks before it opens (regular file, not empty, not too large), checks the size before it decodes,
then loads, turns the picture upright and composes transparency over the background; a `Decoding`
says which of this is done. Public corpora raise eight exception classes from Pillow, so all of
this is one guarded unit. Knows nothing about models.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from zsclip import containers, decoders
from zsclip.decoding import DEFAULT, Box, Decoding
from zsclip.errors import PictureError, PictureErrorCode

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.generic]
"""What the Python API takes as one picture: a path, encoded bytes, a Pillow image, or an array
(H, W), (H, W, 3) or (H, W, 4) of uint8."""
Content: TypeAlias = bytes | Image.Image | npt.NDArray[np.generic]
"""The same without paths."""

_ORIENTATION = 0x0112
_PART = 1 << 16
_CAN_BE_CUT = ("JPEG", "MPO", "PNG", "GIF", "BMP", "JPEG2000")
"""Formats that are decoded from the first byte on, so that the beginning is of use by itself."""
_END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: RGB, upright, opaque (unless loaded as open_clip does).

    Attributes:
        frames: number of frames of an animation.
        box: the part of `image` that the picture fills, where a JPEG that was decoded at a smaller
            scale ends within a pixel.
        truncated: the file was cut, and this is what there was of it.
    """

    image: Image.Image
    frames: int | None = None
    box: Box | None = None
    truncated: bool = False


def load(source: ImageInput, decoding: Decoding = DEFAULT, *, size: int | None = None) -> Picture:
    """Decode one input.

    Args:
        size: what the picture's sides are going to be resized to, for `decode="fast"`.

    Raises:
        PictureError: with one code of the closed list; nothing else escapes.
    """
    with _guarded():
        source = _content(source, decoding.max_bytes)
        if isinstance(source, Image.Image):
            source.load()  # an opened file is not read before
            return _finish(source, decoding)
        if isinstance(source, np.ndarray):
            return _finish(_from_array(source), decoding)
        return _decode(source, decoding, size if decoding.decode == "fast" else None)


def read(source: ImageInput, decoding: Decoding = DEFAULT) -> Content:
    """What `load` decodes: the bytes of a file, which is guarded; all else as it is.

    Raises:
        PictureError: as `load`, for what is wrong with the file or the number of its bytes.
    """
    with _guarded():
        return _content(source, decoding.max_bytes)


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """The guard around one picture: Pillow raises anything."""
    try:
        yield
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("out_of_memory", "not enough memory to decode the picture") from error
    except Exception as error:
        raise _failure(error) from error


def _content(source: ImageInput, max_bytes: int) -> Content:
    if isinstance(source, Image.Image | np.ndarray):
        return source
    content = source if isinstance(source, bytes) else _read_file(os.fspath(source), max_bytes)
    if not content:
        raise PictureError("empty", "file is empty")
    _refuse_too_large(len(content), max_bytes)
    return content


def _read_file(path: str, max_bytes: int) -> bytes:
    try:
        _refuse_irregular(os.stat(path))  # opening a pipe waits, opening a device may do anything
        with open(path, "rb", opener=_open_without_waiting) as file:
            _refuse_irregular(os.fstat(file.fileno()))  # it may be another by now
            os.set_blocking(file.fileno(), True)  # reading from an archive's tape may wait
            _refuse_too_large(os.fstat(file.fileno()).st_size, max_bytes)
            return file.read()
    except OSError as error:
        raise _os_failure(error) from error
    except ValueError as error:  # a NUL byte in the name
        raise PictureError("not_found", "no such file") from error


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _refuse_irregular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise PictureError("is_directory", "is a folder")
    if not stat.S_ISREG(status.st_mode) or status.st_dev == _device_of_proc():
        raise PictureError("not_regular", "is not a regular file")


def _device_of_proc() -> int | None:
    """The device that files of /proc are on, where there is one of its own."""
    with contextlib.suppress(OSError):
        device = os.stat("/proc").st_dev
        return None if device == os.stat("/").st_dev else device
    return None


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


def _refuse_too_large(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise PictureError(
            "too_large_file", f"{size:,} bytes are more than {max_bytes:,} (--max-bytes)"
        )


def _decode(content: bytes, decoding: Decoding, size: int | None) -> Picture:
    try:
        return _whole(content, decoding, size)
    except MemoryError:
        raise
    except Exception as error:
        failure = _explained(error, content)
        if failure.code == "truncated" and decoding.allow_truncated:
            return _what_there_is(content, decoding, size, failure)
        raise failure from (None if failure is error else error)


def _whole(content: bytes, decoding: Decoding, size: int | None) -> Picture:
    image = decoders.open_picture(content, decoding.max_pixels)
    frames = decoders.count_frames(image)
    box = None if size is None else decoders.reduce(image, size)
    image.load()
    if image.format == "JPEG2000" and containers.is_cut(content):  # Pillow leaves tiles black
        raise _truncated()
    return _finish(image, decoding, frames, box)


def _what_there_is(
    content: bytes, decoding: Decoding, size: int | None, failure: PictureError
) -> Picture:
    """What can be decoded of a cut file; the rest is black, grey or clear.

    Without Pillow's LOAD_TRUNCATED_IMAGES: that holds for all threads and all users of Pillow.

    Raises:
        PictureError: `failure`, where there is nothing but one colour.
    """
    if content.startswith(b"\xff\xd8"):
        content += _END_OF_JPEG  # libjpeg waits for it, with all that is decoded
    try:
        image = decoders.open_picture(content, decoding.max_pixels)
        if image.format not in _CAN_BE_CUT:
            raise failure
        frames = decoders.count_frames(image)
        box = None if size is None else decoders.reduce(image, size)
        with contextlib.suppress(OSError, SyntaxError, ValueError, IndexError, struct.error):
            image.load()
        image.tile = []  # no more to decode: what there is stays
        picture = _finish(image, decoding, frames, box)
    except MemoryError:
        raise
    except Exception:
        raise failure from None
    if picture.image.convert("RGB").getcolors(1) is not None:
        raise failure
    return replace(picture, truncated=True)


def _explained(error: Exception, content: bytes) -> PictureError:
    """The failure, or what the file says of itself where that explains it better."""
    failure = error if isinstance(error, PictureError) else _failure(error)
    if failure.code not in ("corrupt", "unrecognized"):
        return failure
    if containers.is_cut(content):
        return _truncated()
    size = containers.picture_size(content)
    return failure if size is None or all(size) else _zero_size(size)


def _failure(error: Exception) -> PictureError:
    """What Pillow raises, as one of ours."""
    text = str(error).lower()
    if any(words in text for words in ("truncated", "unexpected end", "not enough", "reached eof")):
        return _truncated()
    return PictureError("corrupt", _one_line(error))


def _truncated() -> PictureError:
    return PictureError("truncated", "the picture ends early")


def _zero_size(size: tuple[int, int]) -> PictureError:
    return PictureError("zero_size", f"has no pixels: {size[0]} x {size[1]}")


def _from_array(array: npt.NDArray[np.generic]) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] in ((3,), (4,))):
        raise PictureError(
            "unsupported_pixels", f"needs uint8 (H, W[, C]); this is {array.dtype} {array.shape}"
        )
    return Image.fromarray(array)


def _finish(
    image: Image.Image, decoding: Decoding, frames: int | None = None, box: Box | None = None
) -> Picture:
    if 0 in image.size:
        raise _zero_size(image.size)
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
    values = np.asarray(image)
    shades = np.empty(values.shape, np.uint8)
    deep, shallow = values.reshape(-1), shades.reshape(-1)
    for start in range(0, deep.size, _PART):  # floats for all at once would be gigabytes
        part = slice(start, start + _PART)
        shallow[part] = np.clip(deep[part], 0, 65535) / 257.0 + 0.5
    grey = Image.fromarray(shades)
    if isinstance(transparent, int):  # the one value that a PNG makes transparent
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[0].lower() + text[1:200]
