"""Picture files for tests, whole and made by hand where Pillow writes no such thing."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "GIF": ("GIF", {}),
    "BMP": ("BMP", {}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "TIFF": ("TIFF", {}),
    "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "JPEG TIFF": ("TIFF", {"compression": "jpeg"}),
    "big TIFF": ("TIFF", {"big_tiff": True}),
    "AVIF": ("AVIF", {}),
    "JPEG 2000": ("JPEG2000", {"tile_size": (32, 32)}),
    "JPEG 2000 codestream": ("JPEG2000", {"no_jp2": True}),
    "ICO": ("ICO", {"sizes": [(64, 64)]}),
}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of one of Pillow's formats."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def of_kind(image: Image.Image, kind: str) -> bytes:
    """The picture as one of KINDS."""
    name, options = KINDS[kind]
    return encoded(image, name, **options)


def noise(side: int = 96) -> Image.Image:
    """A picture that does not compress."""
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Length, kind, content, checksum."""
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(width: int, height: int, *, chunks: bytes = b"", rows: bytes | None = None) -> bytes:
    """A grey PNG of zeros, made without making the picture; or with other rows or chunks."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    if rows is None:
        rows = bytes(height * (width + 1))
    content = png_chunk(b"IDAT", zlib.compress(rows, 9)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + chunks + content


def bmp(width: int, height: int) -> bytes:
    """A BMP without its pixels."""
    return struct.pack("<2sIII", b"BM", 54, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
    )


def gif(width: int, height: int) -> bytes:
    """A GIF of one colour, without its pixels."""
    picture = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
    return screen + bytes(6) + picture + b"\x02\x02\x4c\x01\x00;"


def tiff(tags: dict[int, int], *, strip: bytes = b"\0") -> bytes:
    """A little-endian TIFF of these tags (each a whole number) and one strip."""
    known = {257: 1, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1 << 20} | tags
    known |= {273: 8 + 2 + 12 * (len(known) + 2) + 4, 279: len(strip)}
    entries = [struct.pack("<HHII", tag, 4, 1, known[tag]) for tag in sorted(known)]
    pages = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + pages + strip


def ppm(width: int, height: int) -> bytes:
    """A PPM without its pixels."""
    return b"P6\n%d %d\n255\n" % (width, height)


def jpeg(width: int, height: int) -> bytes:
    """A JPEG that says it has another size than it has."""
    content = bytearray(encoded(noise(16), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def jpeg2000(width: int, height: int) -> bytes:
    """A JPEG 2000 codestream that says it has another size than it has."""
    content = bytearray(encoded(noise(16), "JPEG2000", no_jp2=True))
    content[8:16] = struct.pack(">II", width, height)
    return bytes(content)


def tga(width: int, height: int) -> bytes:
    """A TGA without its pixels."""
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, height, 24, 0x20)


def webp(width: int, height: int) -> bytes:
    """An extended WebP without its pixels."""
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + canvas
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def ico(picture: bytes) -> bytes:
    """An icon that says it has 16 x 16 pixels, with any picture in it."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(picture), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + picture
