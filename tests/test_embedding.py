"""Pictures to features: in order, in batches, and with an image cache each picture once."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from zsclip import encoders, image_cache, images
from zsclip.classifier import Classifier
from zsclip.decoding import DEFAULT
from zsclip.embedding import BATCH_SIZE, Batches, embed_batches, open_image_cache
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.engines.opening import Choice
from zsclip.errors import ZsclipWarning
from zsclip.inputs import Input
from zsclip.loading import load_model
from zsclip.results import Failure


def colour(number, size=12):
    return Image.new("RGB", (size, size), (number * 37 % 256, number * 91 % 256, number * 53 % 256))


def png(number):
    file = io.BytesIO()
    colour(number).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path):
    """Make picture files of these colours, and inputs of them."""

    def make(*numbers):
        for number in numbers:
            (tmp_path / f"{number}.png").write_bytes(png(number))
        return [Input(f"{number}.png", str(tmp_path / f"{number}.png")) for number in numbers]

    return make


@pytest.fixture
def embed(fake_model):
    """Embed inputs, with the image cache beside the model's text cache unless told otherwise."""

    def run(inputs, *, model=fake_model, cached=True, **options):
        cache = open_image_cache(model) if cached else None
        batches = embed_batches(inputs, model=model, image_cache=cache, **options)
        return [item for batch in batches for item in batch]

    return run


def calls(model):
    """Pictures that the model has encoded."""
    return model.engine.image_calls


def assert_same(found, expected):
    """The same answers to the bit."""
    assert [(f.input, f.frames, f.truncated, f.error) for f in found] == [
        (e.input, e.frames, e.truncated, e.error) for e in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.features, other.features) or one.features is other.features


# with an image cache


def test_a_known_picture_is_neither_decoded_nor_encoded(embed, fake_model, photos, monkeypatch):
    inputs = photos(*range(40))
    first = embed(inputs)
    monkeypatch.setattr(images, "load", lambda *args, **kwargs: pytest.fail("decoded"))

    second = embed(inputs)

    assert calls(fake_model) == 40
    assert_same(second, first)


def test_features_are_those_of_a_run_without_cache(embed, photos):
    inputs = photos(*range(40))

    without, first, second = embed(inputs, cached=False), embed(inputs), embed(inputs)

    assert_same(first, without)  # the fake engine's do not depend on the batch
    assert_same(second, without)


def test_the_engine_is_not_opened_when_all_pictures_are_known(
    embed, fake_model, photos, monkeypatch
):
    inputs = photos(*range(5))
    first = embed(inputs)
    monkeypatch.setattr(encoders, "open_engine", lambda *args: pytest.fail("opened"))
    without_engine = Model(fake_model.local, cache=fake_model.cache)

    assert_same(embed(inputs, model=without_engine), first)


def test_only_new_pictures_are_encoded(embed, fake_model, photos):
    embed(photos(1, 2, 3))

    found = embed(photos(4, 1, 5, 3))

    assert calls(fake_model) == 5
    assert [item.input.path for item in found] == ["4.png", "1.png", "5.png", "3.png"]


def test_a_picture_by_another_name_or_from_memory_is_known(embed, fake_model, photos, tmp_path):
    (one,) = photos(1)
    embed([one])
    (tmp_path / "copy.jpg").write_bytes(png(1))

    embed([Input("copy.jpg", str(tmp_path / "copy.jpg")), Input(None, png(1))])

    assert calls(fake_model) == 1


def test_arrays_are_known_and_pillows_pictures_are_not(embed, fake_model):
    array = np.asarray(colour(1))
    inputs = [Input("a", array), Input("b", array.copy()), Input("c", colour(1))]

    embed(inputs)
    embed(inputs)

    assert calls(fake_model) == 3


def test_the_same_picture_many_times_is_encoded_once(embed, fake_model, photos):
    (one,) = photos(1)

    found = embed([one] * 100)

    assert calls(fake_model) == 1 and len(found) == 100
    assert all(np.array_equal(item.features, found[0].features) for item in found)


def test_what_is_encoded_together_does_not_depend_on_how_far_threads_are(
    embed, fake_model, photos, monkeypatch
):
    sizes = []
    inputs = photos(*range(60))
    inputs = list(itertools.chain.from_iterable(zip(inputs, reversed(inputs), strict=True)))
    encode = fake_model.engine.encode_images
    monkeypatch.setattr(
        fake_model.engine, "encode_images", lambda p, **k: sizes.append(len(p)) or encode(p, **k)
    )

    for _ in range(3):
        open_image_cache(fake_model).clear()
        embed(inputs)

    assert sum(sizes) == 180 and sizes[: len(sizes) // 3] * 3 == sizes


def test_content_that_changed_is_encoded_anew(embed, fake_model, photos, tmp_path):
    (one,) = photos(1)
    (before,) = embed([one])
    (tmp_path / "1.png").write_bytes(png(2))

    (after,) = embed([one])

    assert calls(fake_model) == 2 and not np.array_equal(before.features, after.features)


@pytest.mark.parametrize(
    "decoding",
    [
        DEFAULT.but(decode="fast"),
        DEFAULT.but(exact=True),
        DEFAULT.but(background="black"),
        DEFAULT.but(max_pixels=1000),
    ],
    ids=["fast", "exact", "background", "max_pixels"],
)
def test_another_way_to_decode_is_encoded_anew(embed, fake_model, photos, decoding):
    embed(photos(1))

    embed(photos(1), decoding=decoding)

    assert calls(fake_model) == 2


def test_another_model_or_precision_is_encoded_anew(embed, fake_model, photos):
    embed(photos(1))
    engine = FakeEngine()
    other = replace(fake_model.local, digest="e" * 64)

    for local, choice in ((other, Choice()), (fake_model.local, Choice(precision="bf16"))):
        embed(photos(1), model=Model(local, cache=fake_model.cache, engine=engine, choice=choice))

    assert (calls(fake_model), engine.image_calls) == (1, 2)


@pytest.mark.parametrize(
    "change",
    [
        "vector = zeroblob(length(vector))",
        "digest = zeroblob(32)",
        "dimension = dimension / 2",
        "truncated = 1",
    ],
)
def test_a_row_that_is_not_as_it_was_stored_is_made_anew(embed, fake_model, photos, change):
    inputs = photos(*range(3))
    expected = embed(inputs)
    with contextlib.closing(sqlite3.connect(open_image_cache(fake_model).path)) as db, db:
        db.execute(f"UPDATE pictures SET {change} WHERE rowid = 2")

    found = embed(inputs)

    assert_same(found, expected)
    assert calls(fake_model) == 4 and open_image_cache(fake_model).verify() == []


def test_failed_pictures_are_not_kept_and_fail_again(embed, fake_model, photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(png(1)[:40])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "large.png").write_bytes(bytes(2000))
    names = ["broken", "empty", "text", "pipe", "large", "missing"]
    failing = [Input(name, str(tmp_path / f"{name}.png")) for name in names]
    inputs = [*failing, Input("gone", Failure("not_found", "no such file")), *photos(1)]
    decoding = DEFAULT.but(max_bytes=1000)

    without, first, second = (
        embed(inputs, decoding=decoding, cached=cached) for cached in (False, True, True)
    )

    assert_same(first, without)
    assert_same(second, without)
    assert [item.error.code for item in first[:-1]] == [
        "truncated", "empty", "unrecognized", "not_regular", "too_large_file", "not_found",
        "not_found",
    ]  # fmt: skip
    assert sum(open_image_cache(fake_model).info().pictures.values()) == 1


def test_pictures_whose_features_are_not_finite_are_not_kept(embed, fake_model, photos):
    fake_model.engine._vector = lambda content: np.full(64, np.nan, np.float32)

    first, second = embed(photos(1)), embed(photos(1))

    assert [item.error.code for item in first + second] == ["non_finite"] * 2
    assert open_image_cache(fake_model).info().pictures == {}


@pytest.mark.parametrize("limit", [{"max_pixels": 100}, {"max_bytes": 40}], ids=str)
def test_a_known_picture_that_is_too_large_now_fails(embed, photos, limit):
    embed(photos(1))

    found = embed(photos(1), decoding=DEFAULT.but(**limit))

    assert_same(found, embed(photos(1), decoding=DEFAULT.but(**limit), cached=False))
    assert found[0].error is not None


def test_what_there_is_of_a_cut_file_is_kept_for_those_who_allow_it(embed, fake_model):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    cut = [Input("cut", file.getvalue()[:-600])]
    allowed = DEFAULT.but(allow_truncated=True)

    first, second = embed(cut, decoding=allowed), embed(cut, decoding=allowed)
    (refused,) = embed(cut)

    assert_same(second, first)
    assert first[0].truncated and calls(fake_model) == 1
    assert refused.error is not None and refused.error.code == "truncated"


def test_frames_are_those_of_the_first_time(embed, fake_model):
    file = io.BytesIO()
    colour(1).save(file, "GIF", save_all=True, append_images=[colour(2), colour(3)])
    moving = [Input("a.gif", file.getvalue())]

    first, second = embed(moving), embed(moving)

    assert_same(second, first)
    assert second[0].frames == 3 and calls(fake_model) == 1


def test_a_cache_in_memory_only_keeps_no_images(fake_model):
    model = Model(fake_model.local, cache=encoders.TextCache(None), engine=FakeEngine())

    assert open_image_cache(model) is None


@pytest.mark.accepts("C9")
def test_a_cache_that_is_locked_meanwhile_fails_no_picture_for_the_time_that_it_takes(
    fake_model, photos
):
    inputs, first_is_out = photos(*range(6)), threading.Event()
    cache = open_image_cache(fake_model, timeout_s=1.0)
    cache.newest()  # makes the file
    other = sqlite3.connect(cache.path, check_same_thread=False)

    def lock_after_the_first():
        yield inputs[0]
        first_is_out.wait(10)
        other.execute("BEGIN EXCLUSIVE")
        yield from inputs[1:]

    batches = embed_batches(
        lock_after_the_first(), model=fake_model, timeout_s=1.0, image_cache=cache
    )
    with contextlib.closing(other), pytest.warns(ZsclipWarning, match="locked") as caught:
        found = [next(batches)]
        first_is_out.set()
        found += batches

    assert len(caught) == 1 and [item.error for (item,) in found] == [None] * 6


def test_the_file_is_closed_when_a_run_is_left(fake_model, photos):
    cache = open_image_cache(fake_model)
    batches = embed_batches(photos(*range(10)), model=fake_model, image_cache=cache)
    next(batches)

    batches.close()

    assert cache._file._open is None


# bounded, and early


class Endless:
    """Inputs without end, counted."""

    def __init__(self, source):
        self.source, self.read = source, 0

    def __iter__(self):
        while True:
            self.read += 1
            yield Input(None, self.source)


@pytest.mark.accepts("E9")
@pytest.mark.parametrize("batch_size", [None, 64])
def test_of_many_known_pictures_few_are_held(embed, fake_model, batch_size):
    embed([Input(None, png(1))])
    endless = Endless(png(1))
    batches = embed_batches(
        endless, model=fake_model, batch_size=batch_size, image_cache=open_image_cache(fake_model)
    )

    ahead = [endless.read - taken for taken, _ in enumerate(itertools.islice(batches, 3000), 1)]
    batches.close()

    assert max(ahead) <= 4 * (batch_size or BATCH_SIZE), max(ahead)


def fill(batches, kinds):
    """Where batches end in inputs that are new (n), known (k) or failed (f)."""
    ends = []
    for number, kind in enumerate(kinds, 1):
        if batches.add(ready=kind == "n", known=kind == "k"):
            ends.append(number)
    return ends


@pytest.mark.parametrize(
    "kinds", ["n" * 130, "k" * 63, "nk" * 31 + "n"], ids=["new", "known", "mixed"]
)
def test_growing_batches_end_at_the_same_inputs_whatever_is_known(kinds):
    assert fill(Batches(None), kinds)[:5] == [1, 3, 7, 15, 31]


def test_known_pictures_take_no_place_in_batches_that_have_grown():
    batches = Batches(None)
    fill(batches, "n" * 63)

    assert fill(batches, "nkkk" * 64) == [125, 126, 127, 128, 253, 254, 255, 256]


def test_a_known_picture_does_not_wait_where_none_is_to_be_encoded():
    assert fill(Batches(32), "kkkk") == [1, 2, 3, 4]


def test_known_pictures_wait_for_a_new_one_so_long_only():
    ends = fill(Batches(32), "n" + "k" * 5000)

    assert ends[0] == 1 + 1024


def test_failed_pictures_wait_so_long_only():
    assert fill(Batches(32), "f" * 600) == [256, 512]


# through the classifier


def test_a_classifier_gives_the_same_rows_from_the_cache(fake_model, photos, tmp_path):
    files = [item.source for item in photos(*range(70))]
    labels = ["cat", "dog", "car"]

    def rows(**options):
        classifier = Classifier(labels, model=fake_model, templates="none", **options)
        return list(classifier.classify(files))

    without, first, second = rows(), rows(cache_images=True), rows(cache_images=True)

    assert first == second and calls(fake_model) == 140
    assert max(abs(a.score - b.score) for a, b in zip(without, first, strict=True)) < 1e-4


def test_a_real_model_gives_the_same_rows_from_the_cache_without_being_opened(
    small_clip_folder, photos, tmp_path, monkeypatch, one_thread
):
    files = [item.source for item in photos(*range(40))]

    def rows(model, **options):
        classifier = Classifier(["cat", "dog"], model=model, templates="none", **options)
        return list(classifier.classify(files))

    def load():
        return load_model(small_clip_folder, engine="torch", device="cpu", cache_dir=tmp_path / "c")

    without, first = rows(load()), rows(load(), cache_images=True)
    monkeypatch.setattr(encoders, "open_engine", lambda *args: pytest.fail("opened"))
    second = rows(load(), cache_images=True)

    assert first == second
    assert max(abs(a.score - b.score) for a, b in zip(without, first, strict=True)) < 1e-4


def test_a_pipeline_that_changed_makes_all_anew(embed, fake_model, photos, monkeypatch):
    embed(photos(1))
    monkeypatch.setattr(image_cache, "IMAGE_PIPELINE_VERSION", 2)

    embed(photos(1))

    assert calls(fake_model) == 2
