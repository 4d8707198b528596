"""Batches that fit into memory, and a second try for features that are not finite."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from zsclip.engines.fake import FakeEngine
from zsclip.engines.image_encoder import NOT_FINITE, OUT_OF_MEMORY, ImageEncoder
from zsclip.errors import ZsclipWarning


class Noting(FakeEngine):
    """Notes each call as (pictures, full precision), and breaks where it is told to."""

    def __init__(self, *, broken=(), broken_in_fp32=(), no_memory_in_fp32=False, **options):
        super().__init__(**options)
        self.calls = []
        self.broken, self.broken_in_fp32 = list(broken), list(broken_in_fp32)
        self.no_memory_in_fp32 = no_memory_in_fp32

    def encode_images(self, pixels, *, full_precision=False):
        self.calls.append((len(pixels), full_precision))
        if full_precision and self.no_memory_in_fp32:
            raise MemoryError
        features = super().encode_images(pixels)
        broken = self.broken_in_fp32 if full_precision else self.broken
        features[np.isin(pixels[:, 0, 0, 0], broken), 3] = np.inf
        return features


def pictures(count):
    """Pixels (B, 3, 4, 4); each picture has its number as its colour."""
    return np.broadcast_to(
        np.arange(count, dtype=np.float32)[:, None, None, None], (count, 3, 4, 4)
    )


def test_a_batch_that_fits_is_encoded_at_once():
    engine = Noting(fits=8)

    answers = ImageEncoder(engine).encode(pictures(8))

    assert engine.calls == [(8, False)]
    assert np.array_equal(np.stack(answers), FakeEngine().encode_images(pictures(8)))


def test_no_pictures_have_no_features():
    assert ImageEncoder(FakeEngine()).encode(pictures(0)) == []


@pytest.mark.accepts("F6")
@pytest.mark.parametrize("fits", [1, 2, 3, 7, 31])
def test_a_batch_that_does_not_fit_gives_the_same_features_in_order(fits):
    with pytest.warns(ZsclipWarning):
        answers = ImageEncoder(FakeEngine(fits=fits)).encode(pictures(32))

    assert np.array_equal(np.stack(answers), FakeEngine().encode_images(pictures(32)))


@pytest.mark.accepts("F6")
def test_a_batch_is_halved_until_it_fits():
    engine = Noting(fits=3)

    with pytest.warns(ZsclipWarning):
        ImageEncoder(engine).encode(pictures(10))

    assert [size for size, _ in engine.calls] == [10, 5, 2, 2, 2, 2, 2]


@pytest.mark.accepts("F6")
def test_the_smaller_size_is_kept():
    engine = Noting(fits=4)
    encoder = ImageEncoder(engine)

    with pytest.warns(ZsclipWarning):
        encoder.encode(pictures(8))
    engine.calls.clear()
    encoder.encode(pictures(10))

    assert [size for size, _ in engine.calls] == [4, 4, 2]


@pytest.mark.accepts("F6")
def test_the_warning_comes_once_and_says_the_size_that_fits():
    engine = FakeEngine(fits=4)
    encoder = ImageEncoder(engine)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder.encode(pictures(32))
        engine.fits = 1
        encoder.encode(pictures(32))

    assert [str(warning.message) for warning in caught] == [
        "not enough memory for 32 pictures at once: going on with 4"
    ]


@pytest.mark.accepts("F6")
def test_a_picture_that_does_not_fit_alone_has_no_features():
    assert ImageEncoder(FakeEngine(fits=0)).encode(pictures(3)) == [OUT_OF_MEMORY] * 3


@pytest.mark.accepts("F6")
def test_when_memory_comes_back_the_pictures_after_have_features():
    class Short(FakeEngine):
        calls = 0

        def encode_images(self, pixels, *, full_precision=False):
            self.calls += 1
            if self.calls == 1:
                raise MemoryError
            return super().encode_images(pixels)

    encoder = ImageEncoder(Short())

    first, second = (encoder.encode(pictures(1)) for _ in range(2))

    assert first == [OUT_OF_MEMORY] and second[0].shape == (64,)


@pytest.mark.accepts("F1")
def test_a_picture_that_is_not_finite_is_tried_alone_in_fp32():
    engine = Noting(broken=[1])

    answers = ImageEncoder(engine).encode(pictures(3))

    assert engine.calls == [(3, False), (1, True)]
    assert np.array_equal(np.stack(answers), FakeEngine().encode_images(pictures(3)))


@pytest.mark.accepts("F1")
def test_it_is_tried_once_more_only_and_the_others_stay():
    engine = Noting(broken=[0, 2], broken_in_fp32=[2])

    answers = ImageEncoder(engine).encode(pictures(4))

    assert engine.calls == [(4, False), (1, True), (1, True)]
    assert [answer is NOT_FINITE for answer in answers] == [False, False, True, False]


@pytest.mark.accepts("F1")
def test_no_memory_for_the_second_try_fails_its_own_picture_only():
    answers = ImageEncoder(Noting(broken=[1], no_memory_in_fp32=True)).encode(pictures(3))

    assert [answer is OUT_OF_MEMORY for answer in answers] == [False, True, False]
