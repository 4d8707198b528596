"""Prepared pixels equal open_clip's transform, and cost no more than the square that is left."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from zsclip import pixels
from zsclip.models import Preprocess

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
SIZES = (64, 224, 256, 378)
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
    )
    return image_transform_v2(settings, is_train=False)


def noise(width, height, mode="RGB"):
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    values = np.random.default_rng(width * 7919 + height).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values)


def smooth(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / (5 + 3 * c) + c) + np.cos(y / (9 + c)) for c in range(3)]
    return Image.fromarray(((np.stack(waves, axis=-1) + 2) / 4 * 255).astype(np.uint8))


def grey_levels_apart(ours, theirs):
    """Differences in grey levels, (3, S, S)."""
    std = np.float32(STD)[:, None, None]
    return np.abs(ours - theirs) * std * 255


def assert_parity(image, preprocess):
    ours = pixels.prepare(image.convert("RGB"), preprocess)
    theirs = oracle(preprocess)(image).numpy()

    apart = grey_levels_apart(ours, theirs)
    assert ours.shape == theirs.shape
    assert apart.max() < 1.01, f"{image.size}: {apart.max()} grey levels apart"
    share = (apart > 0.01).mean()
    assert share <= 0.001, f"{image.size}: {share:.2%} of the values differ"


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", SIZES)
def test_noise_of_any_shape_equals_open_clips_transform(size, interpolation, resize_mode):
    preprocess = Preprocess(size, MEAN, STD, interpolation, resize_mode)
    shapes = SHAPES if resize_mode == "shortest" and size != 256 else SHAPES[::4]

    for width, height in shapes:
        if max(width, height) / min(width, height) * size < 80_000:  # open_clip builds all of it
            assert_parity(noise(width, height), preprocess)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_grey_pictures_equal_open_clips_transform(interpolation, resize_mode):
    preprocess = Preprocess(64, MEAN, STD, interpolation, resize_mode)

    for width, height in SHAPES:
        assert_parity(noise(width, height, "L"), preprocess)


@pytest.mark.parametrize("size", SIZES)
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


def test_a_picture_of_1_by_65000_pixels_does_not_grow_the_process():
    resource = pytest.importorskip("resource")
    image = Image.new("RGB", (1, 65_000), "red")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    pixels.prepare(image, Preprocess(size=378))

    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 50_000, f"{grown_kb} kB"
