"""Labelled pictures in memory: what is broken, what is equal, which class is which."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from labelled import labelled, of_samples

from zsclip.errors import InputError, PictureError, UsageError
from zsclip.labelled_features import (
    LabelledFeatures,
    embed,
    with_classes_of,
    without_pictures_of,
)
from zsclip.readers.base import Sample
from zsclip.results import Failure


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"")
    return path


def features_of(name, class_names, labels, contents=()):
    names = tuple((each,) for each in class_names)
    rows = np.eye(len(labels), 8, dtype=np.float32)
    return LabelledFeatures(name, names, rows, np.array(labels), contents)


def test_features_and_labels_are_in_the_order_of_the_pictures(fake_model, picture):
    paths = {name: [picture(f"{name}.png", name)] for name in ("red", "lime", "blue")}

    found = embed(labelled(paths), model=fake_model)

    expected = fake_model.encode_image([each[0] for each in paths.values()])
    np.testing.assert_array_equal(found.features, expected)
    assert found.labels.tolist() == [0, 1, 2]
    assert found.shown_names == ("red", "lime", "blue")


def test_broken_pictures_fail_together_and_the_first_is_named(fake_model, picture, broken):
    pictures = labelled({"red": [broken, picture("r.png")], "blue": [broken]})

    with pytest.raises(PictureError) as caught:
        embed(pictures, model=fake_model)

    assert caught.value.code == "empty"
    assert caught.value.message.startswith("2 of 3 pictures cannot be read, the first is")
    assert "broken.png" in caught.value.message
    assert "--on-error skip" in caught.value.tip


def test_skipped_pictures_are_counted(fake_model, picture, broken):
    pictures = labelled({"red": [picture("r.png"), broken], "blue": [picture("b.png", "blue")]})

    found = embed(pictures, model=fake_model, on_error="skip")

    assert found.labels.tolist() == [0, 2]
    assert found.failed == {"empty": 1}


def test_no_readable_picture_is_an_error(fake_model, broken):
    with pytest.raises(InputError, match="no picture could be read"):
        embed(labelled({"red": [broken]}), model=fake_model, on_error="skip")


def test_features_that_are_not_finite_count_as_broken(fake_model, picture, monkeypatch):
    nan = np.full((1, 64), np.nan, dtype=np.float32)
    monkeypatch.setattr(fake_model.engine, "encode_images", lambda pixels, **_: nan)

    with pytest.raises(PictureError, match="non_finite"):
        embed(labelled({"red": [picture("r.png")]}), model=fake_model)


def test_pictures_with_several_classes_are_refused(fake_model, picture):
    pictures = labelled({"red": [picture("r.png")]}, multi_label=True)

    with pytest.raises(UsageError, match="several classes"):
        embed(pictures, model=fake_model)


def test_pictures_with_equal_bytes_are_left_out_wherever_they_lie(fake_model, picture, tmp_path):
    red, other = picture("train/1.png", "red"), picture("train/2.png", "#f00001")
    copy = tmp_path / "copy-of-1.png"
    shutil.copy(red, copy)
    train = embed(labelled({"red": [red, other]}), model=fake_model, with_contents=True)
    test = embed(labelled({"red": [copy]}), model=fake_model, with_contents=True)

    kept, count = without_pictures_of(train, test)

    assert count == 1
    assert kept.contents == train.contents[1:]
    np.testing.assert_array_equal(kept.features, train.features[1:])


def test_bytes_and_pixels_of_archives_are_compared_too(fake_model, picture):
    content = picture("a.png").read_bytes()
    pixels = np.zeros((4, 4, 3), np.uint8)
    samples = [
        Sample("a.png", str(picture("a.png")), (0,)),
        Sample("shard.tar/a.png", content, (0,)),
        Sample("batch#0", pixels, (0,)),
        Sample("batch#1", pixels.copy(), (0,)),
        Sample("batch#2", pixels.reshape(2, 8, 3), (0,)),
        Sample("gone", Failure("not_found", "no such file"), (0,)),
    ]

    found = embed(of_samples(samples), model=fake_model, on_error="skip", with_contents=True)

    first, second, third, fourth, fifth = found.contents
    assert first == second
    assert third == fourth != fifth


def test_classes_are_matched_by_name():
    train = features_of("train", ["cat", "dog", "owl"], [0, 1, 2])
    test = features_of("test", ["owl", "cat"], [0, 0, 1])

    matched = with_classes_of(test, train)

    assert matched.labels.tolist() == [2, 2, 0]
    assert matched.class_names == train.class_names


def test_a_class_that_only_the_test_has_is_refused():
    train, test = features_of("train", ["cat", "dog"], [0, 1]), features_of("t", ["cow"], [0])

    with pytest.raises(UsageError, match="t has a class 'cow', which train has not"):
        with_classes_of(test, train)
