"""A loaded model: what belongs together, opened at the first need only."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import zsclip
from zsclip.cache import TextCache
from zsclip.encoders import Model, load_model
from zsclip.engines.fake import FakeEngine
from zsclip.errors import ModelError, PictureError, UnknownNameError, UsageError
from zsclip.tokenizer import TokenizeError


@pytest.fixture
def small(small_clip_folder, tmp_path):
    return load_model(str(small_clip_folder), device="cpu", cache_dir=tmp_path / "cache")


def test_loading_does_not_open_the_engine(small):
    assert "engine" not in vars(small)


def test_the_id_is_name_and_digest(small):
    assert small.id == f"small-clip@{small.local.digest[:6]}"


def test_logits_per_image_equal_open_clips(small, small_clip_folder):
    import open_clip
    import torch

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{small_clip_folder}")
    model.eval()
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    )
    texts = ["a cat", "a dog", "salt, pepper"]
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(f"local-dir:{small_clip_folder}")(texts)
        theirs = model.get_logits(preprocess(picture)[None], tokens)[0].numpy()

    ours = small.logits_per_image([picture], texts)

    difference = np.abs(ours - theirs).max()
    assert ours.shape == (1, 3) and difference < 1e-3, difference


def test_logits_per_text_are_the_transpose(fake_model):
    pictures, texts = [Image.new("RGB", (9, 9), "red")] * 2, ["a", "b", "c"]

    per_text = fake_model.logits_per_text(texts, pictures)

    assert np.array_equal(per_text, fake_model.logits_per_image(pictures, texts).T)


def test_scale_and_bias_are_remembered_without_opening_the_engine(small, small_clip_folder):
    scale = small.logit_scale

    again = load_model(str(small_clip_folder), cache_dir=small.cache.path.parent)

    assert (again.logit_scale, again.logit_bias) == (scale, None)
    assert "engine" not in vars(again)


def test_a_bias_is_remembered(fake_model):
    fake_model.engine = FakeEngine(logit_bias=-10.0)

    again = Model(fake_model.local, cache=fake_model.cache, engine=FakeEngine(logit_bias=3.0))

    assert (fake_model.logit_bias, again.logit_bias) == (-10.0, -10.0)


def test_the_digest_is_remembered(small, small_clip_folder, monkeypatch):
    def compute(*_):
        raise AssertionError("the digest was computed again")

    monkeypatch.setattr("hashlib.file_digest", compute)

    assert load_model(str(small_clip_folder), cache_dir=small.cache.path.parent).id == small.id


def test_without_a_cache_nothing_is_written(small_clip_folder, tmp_path):
    model = load_model(str(small_clip_folder), use_cache=False)

    assert model.logit_scale > 0 and not (tmp_path / "cache").exists()


def test_the_cache_folder_comes_from_the_environment(small_clip_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ZSCLIP_CACHE_DIR", str(tmp_path / "elsewhere"))

    model = load_model(str(small_clip_folder))

    assert model.cache.path.parent == tmp_path / "elsewhere"


def test_tokens_have_the_models_length(small):
    assert small.tokenize(["cat"]).shape == (1, 24)


def test_a_text_that_is_too_long_is_refused_unless_cut(small):
    with pytest.raises(TokenizeError, match="> 24 tokens"):
        small.tokenize(["cat " * 30])

    assert small.tokenize(["cat " * 30], truncate=True)[0, -1] == 49407


def test_texts_and_their_tokens_give_the_same_features(small):
    texts = ["a cat", "a dog"]

    assert np.array_equal(small.encode_text(texts), small.encode_text(small.tokenize(texts)))


def test_pictures_and_their_pixels_give_the_same_features(small):
    picture = Image.new("RGB", (50, 40), "red")

    from_pictures = small.encode_image([picture])

    assert np.array_equal(from_pictures, small.encode_image(small.prepare(picture)[None]))


def test_a_bad_picture_is_a_picture_error(fake_model, tmp_path):
    with pytest.raises(PictureError):
        fake_model.encode_image([tmp_path / "none.jpg"])


def test_text_features_that_are_not_finite_are_refused(fake_model):
    fake_model.engine.encode_texts = lambda tokens: np.full((len(tokens), 64), np.nan, np.float32)

    with pytest.raises(ModelError, match="not finite"):
        fake_model.encode_text(["a cat"])


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(UnknownNameError):
        load_model("none-such", cache_dir=tmp_path)


def test_a_path_may_be_weights_for_an_architecture(tmp_path):
    with pytest.raises(ModelError, match=r"none\.safetensors: cannot be read"):
        load_model("ViT-B-32", weights=tmp_path / "none.safetensors")


def test_weights_without_an_architecture_are_refused(small_clip_folder, tmp_path):
    with pytest.raises(UsageError):
        load_model(str(small_clip_folder), weights=tmp_path / "w.safetensors")


def test_load_model_is_a_public_name():
    assert zsclip.load_model is load_model


def test_a_cache_in_memory_serves_a_model(fake_model):
    model = Model(fake_model.local, cache=TextCache(None), engine=FakeEngine(logit_scale=7.0))

    assert model.logit_scale == 7.0
