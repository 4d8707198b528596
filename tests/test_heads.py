"""Heads: checked, saved and loaded whole, and kept to the model they were made for."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from zsclip.cache import TextCache
from zsclip.classifier import Classifier
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.errors import HeadError, OutputError
from zsclip.head_builder import build
from zsclip.heads import Head, load_head
from zsclip.prompts import TemplateSet

TWO = TemplateSet("two", ("a photo of a {}.", "the {}"))


@pytest.fixture
def head(fake_model):
    return build([("cat",), ("dog",), ("naïve 猫",)], model=fake_model, templates=TWO).head


@pytest.mark.parametrize(
    ("weight", "bias", "names"),
    [
        (np.ones((2, 4)), np.zeros(2), ("a",)),
        (np.ones(4), np.zeros(1), ("a",)),
        (np.ones((1, 4)), np.zeros(2), ("a",)),
        (np.ones((0, 4)), np.zeros(0), ()),
        (np.ones((1, 0)), np.zeros(1), ("a",)),
        (np.ones((1, 4)), np.zeros(1), ("half a character: \ud83d",)),
        (np.full((1, 4), np.nan), np.zeros(1), ("a",)),
        (np.ones((1, 4)), np.full(1, np.inf), ("a",)),
    ],
)
def test_a_head_that_is_not_one_cannot_be_made(head, weight, bias, names):
    with pytest.raises(HeadError):
        Head(
            weight=weight.astype(np.float32),
            bias=bias.astype(np.float32),
            class_names=names,
            scale=100.0,
            score_kind="softmax",
            provenance=head.provenance,
        )


# saved and loaded


def test_a_head_survives_saving_and_loading(head, tmp_path):
    head.save(str(tmp_path / "a.safetensors"))

    loaded = load_head(str(tmp_path / "a.safetensors"))

    assert loaded.digest == head.digest and loaded.provenance == head.provenance
    assert np.array_equal(loaded.weight, head.weight)
    assert (loaded.class_names, loaded.scale) == (head.class_names, head.scale)


@pytest.mark.parametrize("fit", ["crop", "views"])
def test_a_head_keeps_how_its_pictures_were_loaded(head, tmp_path, fit):
    dataclasses.replace(head, fit=fit).save(tmp_path / "a.safetensors")

    loaded = load_head(tmp_path / "a.safetensors")

    assert loaded.fit == fit
    assert (loaded.digest == head.digest) == (fit == "crop")


def test_a_fit_that_nobody_knows_is_refused(head):
    with pytest.raises(HeadError, match="unknown fit"):
        dataclasses.replace(head, fit="folded")


def test_equal_heads_are_equal_files(head, tmp_path):
    head.save(tmp_path / "a.safetensors")
    load_head(tmp_path / "a.safetensors").save(tmp_path / "b.safetensors")

    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_digest_changes_with_everything_in_the_head(head):
    others = [
        dataclasses.replace(head, weight=head.weight[::-1].copy()),
        dataclasses.replace(head, bias=head.bias + 1),
        dataclasses.replace(head, class_names=("a", "b", "c")),
        dataclasses.replace(head, scale=1.0),
        dataclasses.replace(head, score_kind="sigmoid"),
        dataclasses.replace(
            head, provenance=dataclasses.replace(head.provenance, weights_digest="0" * 64)
        ),
    ]

    assert len({head.digest, *(other.digest for other in others)}) == 7


def test_a_disk_that_fails_leaves_the_old_file(head, tmp_path, monkeypatch):
    path = tmp_path / "out" / "a.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"old")

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)

    with pytest.raises(OutputError, match="No space left on device"):
        head.save(path)

    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


def test_a_folder_that_is_not_there_is_an_output_error(head, tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        head.save(tmp_path / "none" / "a.safetensors")


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"garbage" * 100, b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"],
)
def test_garbage_is_not_a_head(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)

    with pytest.raises(HeadError, match=r"a\.safetensors"):
        load_head(path)


def test_a_missing_file_is_not_a_head(tmp_path):
    with pytest.raises(HeadError, match=r"none\.safetensors"):
        load_head(tmp_path / "none.safetensors")


def test_a_folder_is_not_a_head(tmp_path):
    with pytest.raises(HeadError):
        load_head(tmp_path)


def test_weights_of_a_model_are_not_a_head(small_clip_folder):
    with pytest.raises(HeadError, match="is not a head of zsclip"):
        load_head(small_clip_folder / "open_clip_model.safetensors")


def test_a_cut_head_is_refused(head, tmp_path):
    path = tmp_path / "a.safetensors"
    head.save(path)
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(HeadError, match="damaged"):
        load_head(path)


def rewritten(head, path, *, weight=None, **header):
    content = {**json.loads(head._header()), **header}
    content = {key: value for key, value in content.items() if value is not ...}
    metadata = {"zsclip-head": json.dumps(content)}
    arrays = {"weight": head.weight if weight is None else weight, "bias": head.bias}
    save_file(arrays, path, metadata=metadata)
    return path


def test_a_later_format_is_refused_and_both_are_named(head, tmp_path):
    path = rewritten(head, tmp_path / "a.safetensors", version="2")

    with pytest.raises(HeadError, match="has head format 2; this zsclip reads 1"):
        load_head(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(head, tmp_path, value):
    weight = head.weight.copy()
    weight[0, 0] = value

    with pytest.raises(HeadError, match="not finite"):
        load_head(rewritten(head, tmp_path / "a.safetensors", weight=weight))


@pytest.mark.parametrize(
    "header",
    [
        {"class_names": ["cat"]},
        {"class_names": 3},
        {"class_names": [1, 2, 3]},
        {"class_names": "abc"},
        {"class_names": ["a", "b", "\ud83d"]},
        {"class_names": ...},
        {"scale": "large"},
        {"scale": ...},
        {"scale": float("nan")},
        {"scale": 10**400},
        {"score_kind": "other"},
        {"score_kind": "cosine"},
        {"kind": "other"},
        {"provenance": {}},
        {"provenance": {"unknown": 1}},
        {"provenance": ...},
    ],
    ids=lambda header: ascii(header)[:40],
)
def test_a_header_of_another_form_is_refused(head, tmp_path, header):
    with pytest.raises(HeadError):
        load_head(rewritten(head, tmp_path / "a.safetensors", **header))


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", 3), ("model", None), ("revision", 3), ("templates", "{}"), ("templates", [3])],
)
def test_what_a_head_was_made_with_is_text(head, tmp_path, key, value):
    made = {**dataclasses.asdict(head.provenance), key: value}

    with pytest.raises(HeadError):
        load_head(rewritten(head, tmp_path / "a.safetensors", provenance=made))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.complex64])
def test_numbers_of_another_kind_are_refused(head, tmp_path, dtype):
    with pytest.raises(HeadError, match="has numbers that are not float32"):
        load_head(rewritten(head, tmp_path / "a.safetensors", weight=head.weight.astype(dtype)))


def test_a_message_does_not_repeat_what_a_hostile_header_says_at_length(head, tmp_path):
    path = rewritten(head, tmp_path / "a.safetensors", version="2\n" * 10_000)

    with pytest.raises(HeadError) as caught:
        load_head(path)

    assert "\n" not in caught.value.message and len(caught.value.message) < len(str(path)) + 300


# fits


def test_a_head_fits_the_model_it_was_made_for(head, fake_model):
    assert head.check_fits(fake_model) is None


def test_a_head_for_another_model_names_both(head, fake_model):
    local = dataclasses.replace(fake_model.local, digest="e" * 64)
    other = Model(local, cache=TextCache(None), engine=FakeEngine())

    with pytest.raises(HeadError) as caught:
        head.check_fits(other)

    assert "ViT-B/32@ffffff" in caught.value.message and "ViT-B/32@eeeeee" in caught.value.message


def test_the_activation_is_part_of_what_must_fit(head, fake_model):
    config = fake_model.local.config
    cfg = {**config.model_cfg, "quick_gelu": False}
    local = dataclasses.replace(fake_model.local, config=dataclasses.replace(config, model_cfg=cfg))

    with pytest.raises(HeadError):
        head.check_fits(Model(local, cache=TextCache(None), engine=FakeEngine()))


def test_another_path_of_the_same_model_fits(head, fake_model, tmp_path):
    local = dataclasses.replace(fake_model.local, weights=tmp_path / "elsewhere.safetensors")

    assert head.check_fits(Model(local, cache=TextCache(None), engine=FakeEngine())) is None


@pytest.mark.parametrize("model", ["ViT-B/32", "tiny", "ViT-B-32:openai"])
def test_the_name_of_a_heads_model_is_known(head, model):
    provenance = dataclasses.replace(head.provenance, model=model)

    assert dataclasses.replace(head, provenance=provenance).model_name() == model


def test_a_model_without_a_name_is_asked_for(head):
    provenance = dataclasses.replace(head.provenance, model="mine")

    with pytest.raises(HeadError, match="cannot be found by this name") as caught:
        dataclasses.replace(head, provenance=provenance).model_name()

    assert "--model" in (caught.value.tip or "")


def test_a_pipe_or_a_folder_is_no_head(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(HeadError, match="not a regular file"):
            load_head(path)


def test_a_head_of_another_width_that_says_it_fits_is_refused_when_it_is_used(head, fake_model):
    narrow = dataclasses.replace(head, weight=np.eye(3, dtype=np.float32))

    with pytest.raises(HeadError, match="features of size 3, not 64"):
        list(Classifier(narrow, model=fake_model).classify(Image.new("RGB", (9, 9))))
