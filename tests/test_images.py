"""Decoding: every code that a picture can fail with, and pixels that mean what they should."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from zsclip import formats, images
from zsclip.errors import PICTURE_ERROR_CODES, PictureError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(width=64, height=48, mode="RGB"):
    y, x = np.mgrid[0:height, 0:width]
    values = np.stack([x * 4 % 256, y * 5 % 256, (x + y) * 2 % 256], axis=-1).astype(np.uint8)
    return Image.fromarray(values).convert(mode)


def noise(side=128):
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def failure(source):
    with pytest.raises(PictureError) as caught:
        images.load(source)
    assert caught.value.code in PICTURE_ERROR_CODES
    assert "\n" not in caught.value.message
    return caught.value


def png_chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width, height, *, content=b"\x00", bits=8, colour=0):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(content))
        + png_chunk(b"IEND", b"")
    )


# what can be wrong with a path


def test_a_missing_file_is_not_found(tmp_path):
    assert failure(tmp_path / "none.jpg").code == "not_found"


def test_a_path_below_a_file_is_not_found(tmp_path):
    (tmp_path / "file").touch()

    assert failure(tmp_path / "file" / "a.jpg").code == "not_found"


def test_a_dangling_link_is_not_found(tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "none.jpg")

    assert failure(tmp_path / "a.jpg").code == "not_found"


def test_a_nul_byte_in_a_name_is_not_found():
    assert failure("a\x00.jpg").code == "not_found"


def test_links_in_a_circle_are_a_read_error(tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")

    assert failure(tmp_path / "a.jpg").code == "read_error"


def test_a_name_that_is_too_long_is_a_read_error():
    assert failure("a" * 5000).code == "read_error"


def test_a_file_that_may_not_be_read_is_permission(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(gradient(), "PNG"))
    path.chmod(0)
    root = os.geteuid() == 0

    if root:
        os.seteuid(65534)
    try:
        code = failure(path).code
    finally:
        if root:
            os.seteuid(0)

    assert code == "permission"


def test_a_disk_that_fails_is_a_read_error(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.touch()

    def fails(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.open", fails)

    error = failure(path)

    assert (error.code, error.message) == ("read_error", "input/output error")


def test_a_folder_is_a_directory(tmp_path):
    assert failure(tmp_path).code == "is_directory"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_refused_without_waiting_for_it(tmp_path):
    path = tmp_path / "a.jpg"
    os.mkfifo(path)
    codes: list[str] = []

    thread = threading.Thread(target=lambda: codes.append(failure(path).code), daemon=True)
    thread.start()
    thread.join(60)

    assert codes == ["not_regular"]


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices here")
def test_a_device_is_not_regular():
    assert failure("/dev/zero").code == "not_regular"


# what can be wrong with the content


@pytest.mark.accepts("A1")
@pytest.mark.parametrize("source", ["path", "bytes"])
def test_a_file_without_bytes_is_empty(tmp_path, source):
    path = tmp_path / "a.jpg"
    path.touch()

    error = failure(path if source == "path" else b"")

    assert (error.code, error.message) == ("empty", "file is empty")


@pytest.mark.accepts("A2")
@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\n  <html lang=en>", "HTML"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04\x14\x00\x00\x00", "a zip archive"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
        (b"MZ\x90\x00\x03", "a Windows program"),
        (b"\x7fELF\x02\x01", "a program"),
    ],
)
def test_other_files_are_unrecognized_and_named(content, looks_like):
    error = failure(content + bytes(600))

    assert error.code == "unrecognized" and f"(looks like {looks_like})" in error.message


@pytest.mark.parametrize("content", [b"hello, world\n", bytes(1000), b"\xff" * 1000, b"x"])
def test_anything_else_is_unrecognized(content):
    assert failure(content).code == "unrecognized"


@pytest.mark.accepts("A17")
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypheix\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "HEI"),
        (b"8BPS\x00\x01", "PSD"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "EPS"),
        (b"\xc5\xd0\xd3\xc6\x1e\x00", "EPS"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a", "JPEG XL"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<svg width="10">', "SVG"),
    ],
)
def test_picture_formats_that_are_not_read_are_named(monkeypatch, content, name):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as without its extra

    error = failure(content + bytes(600))

    assert error.code == "unsupported_format" and name in error.message


@pytest.mark.accepts("A17")
def test_eps_starts_no_program(monkeypatch):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", started)
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"

    assert failure(content).code == "unsupported_format"


@pytest.mark.accepts("A4")
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_picture_that_ends_early_is_truncated(kind, kept):
    content = encoded(noise(), kind)

    assert failure(content[: int(len(content) * kept)]).code == "truncated"


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["PPM", "TGA"])
def test_a_cut_picture_without_lengths_is_truncated(kind, kept):
    content = encoded(noise(), kind)

    assert failure(content[: int(len(content) * kept)]).code == "truncated"


def test_a_flipped_chunk_is_corrupt():
    content = bytearray(encoded(noise(), "PNG"))
    content[content.index(b"IDAT") + 1] ^= 0xFF

    assert failure(bytes(content)).code == "corrupt"


def test_garbage_in_the_data_is_corrupt():
    assert failure(png(64, 64, content=b"\x00" * 3)).code in ("corrupt", "truncated")


@pytest.mark.accepts("A5")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_random_damage_gives_a_picture_or_a_code(kind):
    whole = encoded(noise(32), kind)
    generator = np.random.default_rng(7)

    for _ in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 4):
            damaged[place] = generator.integers(0, 256)
        try:
            picture = images.load(bytes(damaged))
        except PictureError as error:
            assert error.code in PICTURE_ERROR_CODES
        else:
            assert picture.image.mode == "RGB"


@pytest.mark.parametrize(("width", "height"), [(13_000, 13_000), (20_000, 20_000), (1 << 30, 1)])
def test_too_many_pixels_are_refused_before_they_are_decoded(width, height):
    error = failure(png(width, height))

    assert error.code == "too_many_pixels"


def test_the_refusal_of_a_large_picture_names_its_size():
    assert "13000 x 13000" in failure(png(13_000, 13_000)).message


@pytest.mark.parametrize("content", [png(0, 5), png(5, 0)])
def test_a_picture_without_pixels_is_refused(content):
    assert failure(content).code == "zero_size"


@pytest.mark.accepts("A9")
@pytest.mark.parametrize(
    "source",
    [
        Image.new("RGB", (0, 5)),
        Image.new("L", (5, 0)),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0), np.uint8),
    ],
    ids=["RGB", "L", "array", "grey array"],
)
def test_pictures_from_memory_without_pixels_are_zero_size(source):
    assert failure(source).code == "zero_size"


@pytest.mark.accepts("A13")
@pytest.mark.parametrize("source", ["file", "memory"])
def test_a13_float_pixels_are_refused(source):
    image = Image.new("F", (8, 8), 0.5)

    error = failure(encoded(image, "TIFF") if source == "file" else image)

    assert error.code == "unsupported_pixels" and "32-bit float pixels" in error.message


def test_no_memory_is_a_code(monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", no_memory)

    assert failure(b"x").code == "out_of_memory"


@pytest.mark.parametrize(
    "problem",
    [ValueError("a"), NotImplementedError("b"), RuntimeError("c\nd"), SyntaxError("e"), KeyError()],
)
def test_whatever_pillow_raises_becomes_one_line(monkeypatch, problem):
    def fails(*_, **__):
        raise problem

    monkeypatch.setattr(Image, "open", fails)

    assert failure(b"x").code == "corrupt"


# what a good picture looks like


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA"]
)
def test_every_format_of_the_list_is_read(kind):
    picture = images.load(encoded(gradient(32, 32), kind))

    assert (picture.image.mode, picture.image.size, picture.frames) == ("RGB", (32, 32), None)


@pytest.mark.accepts("A3")
def test_a_wrong_ending_does_not_matter(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(gradient(), "PNG"))

    assert images.load(path).image.size == (64, 48)


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "pillow", "array"])
def test_all_kinds_of_input_give_the_same_pixels(tmp_path, kind):
    image = gradient()
    path = tmp_path / "a.png"
    image.save(path)
    source = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "pillow": image,
        "array": np.asarray(image),
    }[kind]

    assert images.load(source).image.tobytes() == image.tobytes()


UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # undone by turning back
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.accepts("A15")
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation, kind):
    upright = gradient()
    turned = upright.transpose(UPRIGHT[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}

    loaded = images.load(encoded(turned, kind, exif=exif, **options))

    assert loaded.image.size == upright.size
    assert np.array_equal(np.asarray(loaded.image), np.asarray(upright))


@pytest.mark.accepts("A15")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_upright(orientation):
    upright = gradient()
    turned = upright.transpose(UPRIGHT[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation

    loaded = images.load(encoded(turned, "JPEG", exif=exif, quality=95, subsampling=0)).image

    difference = np.abs(np.asarray(loaded, np.int64) - np.asarray(upright, np.int64)).mean()
    assert loaded.size == upright.size and difference < 3, difference


@pytest.mark.accepts("A16")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"])
def test_a16_broken_metadata_does_not_fail_a_picture(exif):
    assert images.load(encoded(gradient(), "JPEG", exif=exif)).image.size == (64, 48)


@pytest.mark.accepts("A16")
def test_a16_a_broken_colour_profile_does_not_fail_a_picture():
    assert images.load(encoded(gradient(), "PNG", icc_profile=b"junk")).image.size == (64, 48)


def first_pixel(source):
    return images.load(source).image.getpixel((0, 0))


@pytest.mark.accepts("A14")
def test_transparent_pixels_are_white():
    assert first_pixel(Image.new("RGBA", (4, 4), (255, 0, 0, 0))) == (255, 255, 255)


def test_half_transparent_red_is_pink():
    red, green, blue = first_pixel(Image.new("RGBA", (4, 4), (255, 0, 0, 128)))

    assert red == 255 and abs(green - 127) <= 1 and abs(blue - 127) <= 1


def test_opaque_pixels_are_kept():
    assert first_pixel(Image.new("RGBA", (4, 4), (10, 20, 30, 255))) == (10, 20, 30)


@pytest.mark.accepts("A14")
@pytest.mark.parametrize("colour", [(0, 0), (0, 128)])
def test_transparent_grey_lies_over_white(colour):
    grey = first_pixel(encoded(Image.new("LA", (4, 4), colour), "PNG"))[0]

    assert abs(grey - (255 - colour[1])) <= 1


@pytest.mark.accepts("A14")
def test_a_transparent_palette_entry_is_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])

    content = encoded(image, "PNG", transparency=0)

    assert first_pixel(content) == (255, 255, 255)


def test_an_opaque_palette_gives_its_colours():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])

    assert first_pixel(encoded(image, "PNG", transparency=0)) == (0, 255, 0)


def test_a_transparent_colour_of_an_rgb_picture_is_white():
    content = encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3))

    assert first_pixel(content) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "white"), [("1", 1), ("L", 255), ("CMYK", (0, 0, 0, 0))])
def test_other_modes_are_read(mode, white):
    assert first_pixel(Image.new(mode, (4, 4), white)) == (255, 255, 255)


@pytest.mark.accepts("A12")
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "memory"])
def test_sixteen_bit_grey_keeps_its_shades(kind):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = Image.fromarray(ramp)

    loaded = images.load(image if kind == "memory" else encoded(image, kind)).image

    grey = np.asarray(loaded)[..., 0].astype(int).ravel()
    assert np.abs(grey - np.arange(256)).max() <= 1


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bit_grey_of_many_pixels_takes_little_memory(mode):
    deep = np.random.default_rng(0).integers(0, 65536, (1000, 2000)).astype(np.uint16)
    image = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(deep.astype(np.int32))

    tracemalloc.start()
    loaded = images.load(image).image
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    expected = (deep / 257.0 + 0.5).astype(np.uint8)
    assert image.mode == mode and np.array_equal(np.asarray(loaded)[..., 0], expected)
    assert peak_bytes < 16 * deep.size, peak_bytes


def test_a_picture_of_the_caller_is_not_changed():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))

    images.load(image)

    assert image.mode == "RGBA" and image.getpixel((0, 0)) == (255, 0, 0, 0)


@pytest.mark.accepts("A10")
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_a10_of_an_animation_the_first_frame_is_read_and_frames_are_counted(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"save_all": True, "append_images": frames[1:], "duration": 100}

    picture = images.load(encoded(frames[0], kind, **options))

    red, green, blue = picture.image.getpixel((8, 8))
    assert picture.frames == 3 and red > 240 and green < 20 and blue < 20


@pytest.mark.accepts("A18")
def test_a18_of_pages_the_first_is_read_and_they_are_not_frames():
    pages = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]

    picture = images.load(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))

    assert picture.frames is None and picture.image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.accepts("A18")
def test_a18_of_two_pictures_in_a_jpeg_the_first_is_read():
    both = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]

    picture = images.load(encoded(both[0], "MPO", save_all=True, append_images=both[1:]))

    assert picture.frames is None and picture.image.getpixel((0, 0))[0] > 240


@pytest.mark.accepts("A18")
def test_a18_of_icons_the_largest_is_read():
    content = encoded(gradient(64, 64), "ICO", sizes=[(16, 16), (64, 64), (32, 32)])

    assert images.load(content).image.size == (64, 64)


def test_a_grey_array_is_read():
    assert first_pixel(np.full((4, 4), 7, np.uint8)) == (7, 7, 7)


def test_an_array_with_transparency_lies_over_white():
    assert first_pixel(np.zeros((4, 4, 4), np.uint8)) == (255, 255, 255)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4), bool),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((3, 40, 40), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.array(3, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_another_form_are_refused_and_described(array):
    error = failure(array)

    assert error.code == "unsupported_pixels" and str(array.shape) in error.message


def test_the_endings_are_lower_case_and_have_a_dot():
    assert all(e.startswith(".") and e == e.lower() for e in formats.EXTENSIONS)
