"""Where a file ends and how large its picture is, from headers alone."""

from __future__ import annotations

import io

import numpy as np
import picture_files as files
import pytest
from PIL import Image

from zsclip import containers

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def fails_in_pillow(content):
    try:
        Image.open(io.BytesIO(content)).load()
    except Exception:
        return True
    return False


@pytest.mark.parametrize("kind", files.KINDS)
def test_a_whole_file_is_not_cut(kind):
    assert not containers.is_cut(files.of_kind(files.noise(), kind))


@pytest.mark.parametrize("kind", files.KINDS)
def test_whatever_pillow_cannot_read_of_a_cut_file_is_cut(kind, tried):
    content = files.of_kind(files.noise(), kind)
    places = [*range(16, 360, 7), *range(360, len(content), len(content) // 15), len(content) - 1]
    cuts = [place for place in places if fails_in_pillow(content[:place])]

    missed = [place for place in cuts if not containers.is_cut(content[:place])]

    assert len(cuts) > 30 and missed == []
    tried(len(cuts))


def test_what_pillow_leaves_black_without_a_word_is_cut():
    content = files.of_kind(files.noise(), "JPEG 2000")
    header = content[: content.index(b"\xff\x90") + 2]  # no tile at all

    assert not fails_in_pillow(header) and containers.is_cut(header)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", bytes(100), b"P6 1 1 255 ", files.tga(4, 4)],
    ids=["nothing", "text", "zeros", "PPM", "TGA"],
)
def test_files_without_lengths_are_not_cut(content):
    assert not containers.is_cut(content)


def test_a_damaged_chunk_is_not_a_cut():
    content = files.encoded(files.noise(), "PNG").replace(b"IDAT", b"\0DAT", 1)

    assert not containers.is_cut(content)


@pytest.mark.parametrize(
    "make",
    [files.png, files.bmp, files.gif, files.ppm, files.jpeg, files.webp],
    ids=lambda make: make.__name__,
)
def test_the_size_is_read_from_the_header(make):
    assert containers.picture_size(make(30, 20)) == (30, 20)


def test_the_size_of_a_tiff_is_in_its_tags():
    assert containers.picture_size(files.tiff({256: 30, 257: 20})) == (30, 20)


@pytest.mark.parametrize(("lossless", "name"), [(True, b"VP8L"), (False, b"VP8 ")])
def test_the_size_of_a_plain_webp_is_read(lossless, name):
    content = files.encoded(files.noise(24).crop((0, 0, 20, 24)), "WEBP", lossless=lossless)

    assert content[12:16] == name and containers.picture_size(content) == (20, 24)


def test_of_an_icon_the_size_of_what_is_in_it_counts():
    assert containers.picture_size(files.ico(files.png(300, 200))) == (300, 200)
    assert containers.picture_size(files.ico(files.bmp(300, 400)[14:])) == (300, 200)


def test_an_upside_down_bitmap_has_a_height():
    assert containers.picture_size(files.bmp(3, -2)) == (3, 2)


def test_no_size_is_known_of_what_is_no_picture():
    assert containers.picture_size(b"hello, world") is None


@pytest.mark.parametrize(
    "tags",
    [{50706: 1}, {254: 1, 330: 8}, {259: 34713}, {259: 65535}],
    ids=["DNG", "preview", "NEF", "PEF"],
)
def test_a_camera_raw_file_is_told_from_a_tiff(tags):
    assert containers.is_camera_raw(files.tiff({256: 1} | tags))


def test_canons_files_say_so_themselves():
    plain = files.tiff({256: 1})

    assert containers.is_camera_raw(plain[:8] + b"CR\2\0" + plain[12:])
    assert not containers.is_camera_raw(plain)


@pytest.mark.parametrize("kind", ["TIFF", "LZW TIFF", "JPEG TIFF", "big TIFF"])
def test_a_plain_tiff_is_no_camera_raw(kind):
    assert not containers.is_camera_raw(files.of_kind(files.noise(), kind))


def test_no_bytes_whatever_raise_or_hang(tried):
    generator = np.random.default_rng(3)
    wholes = [files.of_kind(files.noise(64), kind) for kind in files.KINDS]

    for number in range(1500):
        damaged = bytearray(wholes[number % len(wholes)][: generator.integers(1, 2000)])
        for place in generator.integers(0, len(damaged), 6):
            damaged[place] = generator.choice((0, 1, 127, 128, 255))
        content = bytes(damaged)
        containers.is_cut(content)
        containers.picture_size(content)
        containers.is_camera_raw(content)

    tried(1500)
