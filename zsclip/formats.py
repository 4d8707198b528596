"""Which picture formats are read, and what else a file may be. Knows nothing about pixels."""

from __future__ import annotations

from zsclip.errors import PictureError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA")
# fmt: off
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".ico", ".tga",
))
# fmt: on

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


def unidentified(content: bytes) -> PictureError:
    """Why this is none of FORMATS: what it is instead, where its first bytes tell."""
    head = content[:_HEAD_BYTES]
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
