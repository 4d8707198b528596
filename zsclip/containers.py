"""What a picture file says of itself: where it ends, and how large its picture is.

Pillow calls many cut files corrupt, or does not know them at all; the lengths in their containers
tell. Reads headers only, by hand, and never raises, whatever the bytes are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

Order: TypeAlias = Literal["big", "little"]
Tags: TypeAlias = dict[int, list[int]]

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_BYTES = dict(enumerate((0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)))
"""Bytes of a value of each kind."""
_WIDTH, _HEIGHT, _COMPRESSION, _SUB_IFDS, _DNG_VERSION = 256, 257, 259, 330, 50706
_PARTS = ((273, 279), (324, 325))
"""Tags with the places and lengths of strips, and of tiles."""
_MOST_VALUES = 4096
"""Of a tag's values the last so many are looked at: a file that is cut lacks its end."""
_RAW_COMPRESSIONS = (32767, 34713, 34892, 65535)
_PPM = re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*(\d{1,10})\s+(\d{1,10})\s")


def is_cut(content: bytes) -> bool:
    """Whether a file ends before the end that its own lengths name."""
    if content.startswith(b"\xff\xd8"):
        return _jpeg_is_cut(content)
    if content.startswith(_PNG):
        return _png_is_cut(content)
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _gif_is_cut(content)
    if content.startswith(b"BM"):
        return _number(content, 2, 4, "little") > len(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return 8 + _number(content, 4, 4, "little") > len(content)
    if content.startswith(_TIFF):
        return _tiff(content)[1]
    if content[4:8] == b"ftyp" or content[4:8] == b"jP  ":
        return _boxes_are_cut(content)
    if content.startswith(b"\xff\x4f\xff\x51"):
        return _codestream_is_cut(content)
    if content.startswith(b"\0\0\1\0"):
        return any(place + length > len(content) for place, length in _icons(content))
    return False


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Width and height as the header gives them, 0 included; None where it is not known how.

    Of an icon, those of its largest picture, which may be larger than the icon says.
    """
    if content.startswith(b"\xff\xd8"):
        return _jpeg_size(content)
    if content.startswith(_PNG) and content[12:16] == b"IHDR":
        return _number(content, 16, 4, "big"), _number(content, 20, 4, "big")
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _number(content, 6, 2, "little"), _number(content, 8, 2, "little")
    if content.startswith(b"BM"):
        return _bitmap_size(content, 14)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp_size(content)
    if content.startswith(_TIFF):
        tags, _ = _tiff(content)
        width, height = tags.get(_WIDTH), tags.get(_HEIGHT)
        return (width[-1], height[-1]) if width and height else None
    if content.startswith(b"\0\0\1\0"):
        sizes = [_icon_size(content, place) for place, _ in _icons(content)]
        return max(sizes, key=lambda size: size[0] * size[1], default=None)
    if found := _PPM.match(content[:4096]):
        return int(found[1]), int(found[2])
    return None


def is_camera_raw(content: bytes) -> bool:
    """Whether a TIFF is what a camera's sensor saw: its first page is then a preview at most."""
    if not content.startswith(_TIFF):
        return False
    if content[8:10] == b"CR":  # Canon's CR2
        return True
    tags, _ = _tiff(content)
    compression = tags.get(_COMPRESSION, [0])[-1:]
    is_preview = any(kind & 1 for kind in tags.get(254, ()))
    return (
        _DNG_VERSION in tags
        or (is_preview and _SUB_IFDS in tags)
        or any(number in _RAW_COMPRESSIONS for number in compression)
    )


def _number(content: bytes, place: int, size: int, order: Order) -> int:
    return int.from_bytes(content[place : place + size], order)


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """(marker, place) of each segment up to the scan; at last (0, where they end)."""
    place = 2
    while content[place : place + 1] == b"\xff":
        marker = _number(content, place + 1, 1, "big")
        yield marker, place
        if marker == 0xDA:
            return
        if marker == 0xFF:  # padding
            place += 1
        elif marker in (0x01, *range(0xD0, 0xD9)):  # these have no length
            place += 2
        else:
            place = _after_segment(content, place)
    yield 0, place


def _after_segment(content: bytes, place: int) -> int:
    if place + 4 > len(content):  # its length is cut
        return len(content)
    return place + 2 + _number(content, place + 2, 2, "big")


def _jpeg_is_cut(content: bytes) -> bool:
    *_, (marker, place) = _jpeg_segments(content)
    if marker == 0xDA:
        return content.find(b"\xff\xd9", place) < 0
    return place >= len(content)


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    for marker, place in _jpeg_segments(content):
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            return _number(content, place + 7, 2, "big"), _number(content, place + 5, 2, "big")
    return None


def _png_is_cut(content: bytes) -> bool:
    place = len(_PNG)
    while place + 8 <= len(content):
        kind = content[place + 4 : place + 8]
        if kind == b"IEND" or not kind.isalpha():  # the end, or damaged
            return False
        place += 12 + _number(content, place, 4, "big")
    return True


def _gif_is_cut(content: bytes) -> bool:
    place = 13 + _colours(content, 10)
    while place < len(content):
        block = content[place]
        if block == 0x21:  # an extension
            place = _after_blocks(content, place + 2)
        elif block == 0x2C:  # a picture
            place = _after_blocks(content, place + 11 + _colours(content, place + 9))
        else:  # the end, or damaged
            return False
    return True


def _colours(content: bytes, place: int) -> int:
    """Bytes of the palette that a GIF's flags announce."""
    flags = _number(content, place, 1, "big")
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(content: bytes, place: int) -> int:
    while length := _number(content, place, 1, "big"):
        place += 1 + length
    return place + 1


def _bitmap_size(content: bytes, place: int) -> tuple[int, int]:
    """Of a BMP's second header, at `place`."""
    if _number(content, place, 4, "little") == 12:
        return _number(content, place + 4, 2, "little"), _number(content, place + 6, 2, "little")
    height = int.from_bytes(content[place + 8 : place + 12], "little", signed=True)
    return _number(content, place + 4, 4, "little"), abs(height)


def _webp_size(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b"VP8X":
        return _number(content, 24, 3, "little") + 1, _number(content, 27, 3, "little") + 1
    if kind == b"VP8L":
        bits = _number(content, 21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return _number(content, 26, 2, "little") & 0x3FFF, _number(
            content, 28, 2, "little"
        ) & 0x3FFF
    return None


def _icons(content: bytes) -> Iterator[tuple[int, int]]:
    """Place and length of each picture of an icon file."""
    for entry in range(6, 6 + 16 * _number(content, 4, 2, "little"), 16):
        if entry + 16 > len(content):
            yield len(content), 1  # the list itself is cut
            return
        yield _number(content, entry + 12, 4, "little"), _number(content, entry + 8, 4, "little")


def _icon_size(content: bytes, place: int) -> tuple[int, int]:
    if content[place : place + 8] == _PNG:
        return _number(content, place + 16, 4, "big"), _number(content, place + 20, 4, "big")
    width, height = _bitmap_size(content, place)
    return width, height // 2  # the picture lies above its mask


def _tiff(content: bytes) -> tuple[Tags, bool]:
    """The first page's tags (whole numbers, the last of each), and whether the file is cut."""
    order: Order = "little" if content.startswith(b"II") else "big"
    is_big = content[2:4] in (b"+\0", b"\0+")
    word = 8 if is_big else 4
    first = _number(content, word, word, order)
    start = first + (8 if is_big else 2)
    entries = _number(content, first, start - first, order)
    if first < word:  # damaged
        return {}, False
    if first >= len(content) or start + entries * (4 + 2 * word) > len(content):
        return {}, True
    tags: Tags = {}
    cut = False
    for entry in range(entries if entries <= _MOST_VALUES else 0):
        place = start + entry * (4 + 2 * word)
        tag, kind = _number(content, place, 2, order), _number(content, place + 2, 2, order)
        count = _number(content, place + 4, word, order)
        size = _TIFF_BYTES.get(kind, 0)
        place += 4 + word
        if size * count > word:
            place = _number(content, place, word, order)
            cut = cut or place + size * count > len(content)
        tags[tag] = [
            _number(content, place + i * size, size, order)
            for i in range(max(0, count - _MOST_VALUES), count if size else 0)
        ]
    return tags, cut or any(
        place + length > len(content)
        for places, lengths in _PARTS
        for place, length in zip(tags.get(places, ()), tags.get(lengths, ()), strict=False)
    )


def _boxes_are_cut(content: bytes) -> bool:
    """Of AVIF, HEIF and JPEG 2000: boxes, each with its length before it."""
    place = 0
    kinds = set()
    while place + 8 <= len(content):
        length, head = _number(content, place, 4, "big"), 8
        kind = content[place + 4 : place + 8]
        if length == 1:
            length, head = _number(content, place + 8, 8, "big"), 16
        if kind == b"jp2c":
            return _codestream_is_cut(content[place + head :])
        if length == 0 or not head <= length:  # up to the end, or damaged
            return False
        kinds.add(kind)
        place += length
    return place != len(content) or b"mdat" not in kinds


def _codestream_is_cut(content: bytes) -> bool:
    """Of JPEG 2000: a header of segments, then parts that name their length, then an end."""
    place = 2
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] != b"\x90":
        place = _after_segment(content, place)
    while content[place : place + 2] == b"\xff\x90" and place + 12 <= len(content):
        length = _number(content, place + 6, 4, "big")
        if length < 12:  # up to the end, or damaged
            return length == 0 and not content.endswith(b"\xff\xd9")
        place += length
    return place + 1 >= len(content) or content[place : place + 2] == b"\xff\x90"
