"""Prepared pixels equal open_clip's transform, and cost no more than the square that is left."""

from __future__ import annotations

import functools
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from zsclip import models, pixels
from zsclip.errors import PictureError
from zsclip.models import Preprocess

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
SIZES = (64, 224)
SHAPES = (
    (1, 1), (2, 1), (3, 2), (17, 1201), (63, 64), (64, 63), (65, 64), (90, 61), (100, 101),
    (10, 15),
    (223, 225), (224, 224), (225, 223), (256, 255), (257, 389), (333, 501), (379, 377), (500, 375),
    (640, 480), (480, 640), (481, 641), (799, 1200), (1023, 687),
    (1, 1000), (1000, 1), (3, 1000), (1000, 3), (901, 11),
)  # fmt: skip


def oracle(preprocess):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    settings = PreprocessCfg(
        size=preprocess.size,
        mean=preprocess.mean,
        std=preprocess.std,
        interpolation=preprocess.interpolation,
        resize_mode=preprocess.resize_mode,
        fill_color=preprocess.fill_color,
    )
    return image_transform_v2(settings, is_train=False)


def in_use():
    """Every preprocessing among open_clip's tags."""
    names = [name.partition(":")[::2] for name in models.open_clip_tags()]
    return sorted({models.config_of_architecture(*name).preprocess for name in names}, key=repr)


@functools.cache
def noise(width, height, mode="RGB"):
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    values = np.random.default_rng(width * 7919 + height).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values)


def smooth(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / (5 + 3 * c) + c) + np.cos(y / (9 + c)) for c in range(3)]
    return Image.fromarray(((np.stack(waves, axis=-1) + 2) / 4 * 255).astype(np.uint8))


def grey_levels_apart(ours, theirs, std):
    """Differences in grey levels, (3, S, S)."""
    return np.abs(ours - theirs) * np.float32(std)[:, None, None] * 255


def assert_parity(image, preprocess, *, theirs=None):
    ours = pixels.prepare(image.convert("RGB"), preprocess)
    theirs = oracle(preprocess)(theirs or image).numpy()

    apart = grey_levels_apart(ours, theirs, preprocess.std)
    assert ours.shape == theirs.shape
    assert apart.max() < 1.01, f"{image.size}: {apart.max()} grey levels apart"
    share = (apart > 0.01).mean()
    assert share <= 0.001, f"{image.size}: {share:.2%} of the values differ"


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", SIZES)
def test_noise_of_any_shape_equals_open_clips_transform(size, interpolation, resize_mode):
    preprocess = Preprocess(size, MEAN, STD, interpolation, resize_mode)
    shapes = SHAPES if (size, resize_mode) == (64, "shortest") else SHAPES[::4]

    for width, height in shapes:
        if max(width, height) / min(width, height) * size < 80_000:  # open_clip builds all of it
            assert_parity(noise(width, height), preprocess)


def test_open_clips_tags_use_25_ways_to_prepare_a_picture():
    assert len(in_use()) == 25
    assert {p.resize_mode for p in in_use()} == {"shortest", "squash"}
    assert {p.interpolation for p in in_use()} == {"bicubic", "bilinear"}


@pytest.mark.parametrize("preprocess", in_use(), ids=repr)
def test_every_way_in_use_equals_open_clips_transform(preprocess):
    portrait, landscape, square, small = (301, 467), (641, 479), (333, 333), (61, 90)

    for width, height in (portrait, landscape, square, small, (1, 1), (2, 1)):
        assert_parity(noise(width, height), preprocess)
    assert_parity(noise(*landscape, "L"), preprocess)


@pytest.mark.parametrize(
    "preprocess", [Preprocess(224, MEAN, STD), Preprocess(384, MEAN, STD, "bilinear", "squash")]
)
def test_twenty_megapixels_equal_open_clips_transform(preprocess):
    assert_parity(noise(5000, 4000, "L"), preprocess)


@pytest.mark.parametrize("preprocess", in_use(), ids=repr)
@pytest.mark.parametrize("shape", [(1, 65_000), (65_000, 1)])
def test_a_line_of_65000_pixels_equals_open_clips_transform(shape, preprocess):
    line = noise(*shape)
    theirs = line
    if preprocess.resize_mode == "shortest":  # open_clip would build all of it: give it the middle
        theirs = line.crop([max(0, side // 2 - 20) for side in shape] + [
            min(side, side // 2 + 20) for side in shape
        ])  # fmt: skip

    assert_parity(line, preprocess, theirs=theirs)


@pytest.mark.parametrize("fill_color", [0, 127])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_longest_side_can_be_resized_and_the_rest_filled(mode, interpolation, fill_color):
    preprocess = Preprocess(65, MEAN, STD, interpolation, "longest", fill_color)

    for width, height in ((301, 467), (640, 479), (65, 65), (31, 12), (1, 1), (2, 1), (130, 3)):
        assert_parity(noise(width, height, mode), preprocess)


def test_a_line_is_one_pixel_wide_where_the_longest_side_is_resized():
    preprocess = Preprocess(32, (0, 0, 0), (1, 1, 1), "bicubic", "longest")

    prepared = pixels.prepare(Image.new("L", (65_000, 1), "white"), preprocess)

    assert prepared.sum() == 3 * 32


@pytest.mark.parametrize("mode", ["1", "P", "PA", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "I;16"])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
def test_other_modes_are_resized_as_they_are_as_by_open_clip(resize_mode, mode):
    preprocess = Preprocess(48, MEAN, STD, "bicubic", resize_mode)
    image = smooth(90, 61).convert("L" if mode == "I;16" else mode[0] if mode == "PA" else mode)
    image = image.convert(mode)

    ours = pixels.prepare(image, preprocess)

    assert np.array_equal(ours, oracle(preprocess)(image).numpy())


def test_a_mode_that_cannot_become_rgb_is_an_error_with_a_code():
    with pytest.raises(PictureError) as caught:
        pixels.prepare(Image.new("La", (8, 8)), Preprocess(size=4))

    assert caught.value.code == "unsupported_pixels"


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
def test_a_box_is_prepared_as_if_it_were_the_picture(resize_mode):
    preprocess = Preprocess(40, MEAN, STD, "bilinear", resize_mode)
    inner = smooth(300, 201)
    outer = Image.new("RGB", (310, 220), "black")
    outer.paste(inner, (4, 9))

    boxed = pixels.prepare(outer, preprocess, box=(4, 9, 304, 210))

    apart = grey_levels_apart(boxed, pixels.prepare(inner, preprocess), STD)[:, 10:-10, 10:-10]
    assert apart.max() < 1.01, apart.max()


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_grey_pictures_equal_open_clips_transform(interpolation, resize_mode):
    preprocess = Preprocess(64, MEAN, STD, interpolation, resize_mode)

    for width, height in SHAPES:
        assert_parity(noise(width, height, "L"), preprocess)


@pytest.mark.parametrize("size", [64, 378])
def test_smooth_pictures_equal_open_clips_transform(size):
    preprocess = Preprocess(size, MEAN, STD, "bicubic", "shortest")

    for shape in ((401, 267), (1280, 853), (90, 61), (37, 512)):
        assert_parity(smooth(*shape), preprocess)


def test_the_result_is_contiguous_float32_with_channels_first():
    prepared = pixels.prepare(noise(50, 30), Preprocess(size=32))

    assert (prepared.dtype, prepared.shape) == (np.float32, (3, 32, 32))
    assert prepared.flags.c_contiguous


def test_black_and_white_become_the_ends_of_the_range():
    preprocess = Preprocess(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    black, white = (
        pixels.prepare(Image.new("RGB", (9, 9), colour), preprocess)
        for colour in ("black", "white")
    )

    assert (black == -2).all() and (white == 2).all()


def test_the_middle_of_a_wide_picture_is_kept():
    image = Image.new("RGB", (300, 100), "black")
    image.paste("white", (100, 0, 200, 100))

    prepared = pixels.prepare(image, Preprocess(10, (0, 0, 0), (1, 1, 1), "bilinear"))

    assert prepared[:, :, 2:-2].min() == 1.0


@pytest.mark.parametrize("shape", [(1, 65_000), (65_000, 1), (1, 10_000), (1, 1), (2, 1)])
def test_extreme_shapes_take_little_memory(shape):
    image = Image.new("RGB", shape, "red")
    tracemalloc.start()  # NumPy's memory; Pillow's is a few rows by the way it is called

    prepared = pixels.prepare(image, Preprocess(size=224))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert prepared.shape == (3, 224, 224) and peak < 50e6
