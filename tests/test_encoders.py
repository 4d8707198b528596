"""A loaded model: what belongs together, opened at the first need only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import with_compiled
from PIL import Image

import zsclip
from zsclip.cache import TextCache
from zsclip.data_files import TINY_FOLDER
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.engines.opening import Choice
from zsclip.errors import (
    ModelError,
    PictureError,
    TextError,
    UnknownNameError,
    UsageError,
    ZsclipWarning,
)
from zsclip.loading import load_model

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "images"


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


@pytest.fixture(scope="module")
def tiny(compiled_tiny, tmp_path_factory):
    cache = with_compiled(compiled_tiny, tmp_path_factory.mktemp("cache"))
    return load_model("tiny", engine="onnx", cache_dir=cache)


@pytest.fixture(scope="module")
def tiny_in_open_clip():
    """(model, transform, tokenizer) of the embedded model, loaded by open_clip itself."""
    import open_clip

    name = f"local-dir:{TINY_FOLDER}"
    model, transform = open_clip.create_model_from_pretrained(name)
    return model.eval(), transform, open_clip.get_tokenizer(name)


def test_logits_of_the_embedded_model_equal_open_clips(tiny, tiny_in_open_clip):
    import torch

    model, transform, tokenizer = tiny_in_open_clip
    pictures = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.png"))[:5]]
    texts = ["a diagram", "a dog", "a cat", "naïve café 猫", "a red & white flag"]
    with torch.inference_mode():
        pixels = torch.stack([transform(picture) for picture in pictures])
        theirs = model.get_logits(pixels, tokenizer(texts))[0].numpy()

    per_image = tiny.logits_per_image(pictures, texts)
    per_text = tiny.logits_per_text(texts, pictures)

    apart = [np.abs(ours - theirs).max() for ours in (per_image, per_text.T)]
    assert max(apart) < 1e-4, apart
    assert np.array_equal(tiny.tokenize(texts), tokenizer(texts).numpy())


def test_features_of_the_embedded_model_equal_open_clips(tiny, tiny_in_open_clip):
    import torch

    model, transform, tokenizer = tiny_in_open_clip
    picture, texts = Image.open(EXAMPLES / "cat.png").convert("RGB"), ["a cat"]
    with torch.inference_mode():
        pixels = transform(picture)[None]
        image_features = model.encode_image(pixels, normalize=True).numpy()
        text_features = model.encode_text(tokenizer(texts), normalize=True).numpy()

    apart = [
        np.abs(tiny.encode_image([picture]) - image_features).max(),
        np.abs(tiny.encode_image(pixels) - image_features).max(),
        np.abs(tiny.encode_text(texts) - text_features).max(),
        np.abs(tiny.encode_text(tokenizer(texts)) - text_features).max(),
    ]
    assert max(apart) < 1e-5, apart


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "pillow", "grey", "array"])
def test_one_picture_of_any_kind_is_a_list_of_one(small, picture, kind):
    path = picture("red.png", "red") if kind != "grey" else picture("grey.png", 99, mode="L")
    source = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "pillow": Image.open(path),
        "grey": np.asarray(Image.open(path)),  # (H, W)
        "array": np.asarray(Image.open(path)),  # (H, W, 3)
    }[kind]

    alone = small.encode_image(source)

    assert alone.shape == (1, 16) and alone.dtype == np.float32
    assert np.array_equal(alone, small.encode_image([path]))


def test_pictures_may_be_one_array_or_come_one_by_one(small):
    stack = np.random.default_rng(1).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)

    listed = small.encode_image(list(stack))

    assert listed.shape == (3, 16)
    assert np.array_equal(listed, small.encode_image(stack))
    assert np.array_equal(listed, small.encode_image(row for row in stack))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "torch", "torch float16"])
def test_pixels_of_any_precision_are_taken(small, dtype):
    import torch

    prepared = small.prepare(Image.new("RGB", (40, 40), "red"))  # (3, S, S)
    expected = small.encode_image(prepared)
    if dtype.startswith("torch"):
        tensor = torch.from_numpy(prepared)[None]
        pixels = tensor.half() if dtype.endswith("16") else tensor
    else:
        pixels = prepared[None].astype(dtype)

    apart = np.abs(small.encode_image(pixels) - expected).max()

    assert apart < (1e-2 if dtype.endswith("float16") else 1e-7), apart


@pytest.mark.parametrize("shape", [(1, 3, 31, 32), (1, 32, 32, 3), (32, 32), (1, 1, 3, 32, 32)])
def test_pixels_of_another_shape_are_refused_with_the_right_one(small, shape):
    with pytest.raises(UsageError, match=r"\(B, 3, 32, 32\)"):
        small.encode_image(np.zeros(shape, np.float32))


def test_no_pictures_and_no_texts_give_features_of_no_rows(small):
    empty = [
        small.encode_image([]),
        small.encode_image(np.zeros((0, 3, 32, 32), np.float32)),
        small.encode_text([]),
        small.encode_text(small.tokenize([])),
        small.encode_text(np.array([], dtype=str)),
    ]

    assert {(features.shape, features.dtype.name) for features in empty} == {((0, 16), "float32")}
    assert "engine" not in vars(small)


def test_no_pictures_or_no_texts_give_logits_of_no_rows_or_columns(small):
    picture = Image.new("RGB", (40, 40))

    assert small.logits_per_image([], ["a", "b"]).shape == (0, 2)
    assert small.logits_per_image(picture, []).shape == (1, 0)
    assert small.logits_per_text(["a", "b"], []).shape == (2, 0)


def test_one_text_is_a_list_of_one_and_not_a_list_of_letters(small):
    assert np.array_equal(small.tokenize("a cat"), small.tokenize(["a cat"]))
    assert np.array_equal(small.encode_text("a cat"), small.encode_text(["a cat"]))
    assert small.logits_per_image(Image.new("RGB", (9, 9)), "a cat").shape == (1, 1)


def test_texts_may_be_an_array_or_come_one_by_one(small):
    texts = ["a cat", "a dog"]
    listed = small.encode_text(texts)

    assert np.array_equal(listed, small.encode_text(np.array(texts)))
    assert np.array_equal(listed, small.encode_text(text for text in texts))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint16", "torch"])
def test_tokens_may_be_any_integers(small, dtype):
    import torch

    tokens = small.tokenize(["a cat"])
    given = torch.from_numpy(tokens) if dtype == "torch" else tokens.astype(dtype)

    assert np.array_equal(small.encode_text(given), small.encode_text(["a cat"]))


@pytest.mark.parametrize("shape", [(24,), (1, 23), (1, 1, 24)])
def test_tokens_of_another_shape_are_refused_with_the_right_one(small, shape):
    with pytest.raises(UsageError, match=r"\(P, 24\)"):
        small.encode_text(np.zeros(shape, np.int64))


@pytest.mark.parametrize("number", [-1, 49408, 2**40])
def test_tokens_that_are_not_in_the_vocabulary_are_refused(small, number):
    tokens = small.tokenize(["a cat"])
    tokens[0, 1] = number

    with pytest.raises(UsageError, match=r"\[0, 49408\)"):
        small.encode_text(tokens)


def test_many_pictures_are_encoded_a_few_at_a_time(fake_model):
    sizes = []

    class Noting(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            sizes.append(len(pixels))
            return super().encode_images(pixels)

    fake_model.engine = Noting()

    features = fake_model.encode_image(Image.new("RGB", (9, 9), (n, 0, 0)) for n in range(70))

    assert sizes == [32, 32, 6] and features.shape == (70, 64)


def test_a_model_without_a_bias_cannot_score_with_a_sigmoid(fake_model):
    assert fake_model.choose_kind() == "softmax"
    with pytest.raises(UsageError, match="ViT-B/32@ffffff has no logit bias"):
        fake_model.choose_kind("sigmoid")


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
    with pytest.raises(TextError, match="> 24 tokens"):
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
        load_model("ViT-B-32", weights=tmp_path / "none.safetensors", tag="openai")


def test_weights_without_an_architecture_are_refused(small_clip_folder, tmp_path):
    with pytest.raises(UsageError):
        load_model(str(small_clip_folder), weights=tmp_path / "w.safetensors")


def test_load_model_is_a_public_name():
    assert zsclip.load_model is load_model


def test_a_cache_in_memory_serves_a_model(fake_model):
    model = Model(fake_model.local, cache=TextCache(None), engine=FakeEngine(logit_scale=7.0))

    assert model.logit_scale == 7.0


def test_weights_whose_tags_disagree_are_taken_with_a_warning(tmp_path):
    path = tmp_path / "w.safetensors"

    with (
        pytest.warns(ZsclipWarning, match="--tag TAG takes theirs"),
        pytest.raises(ModelError, match="cannot be read"),
    ):
        load_model("ViT-B-32", weights=path, cache_dir=tmp_path)


def test_a_list_of_prepared_pictures_is_as_their_stack(fake_model):
    size = fake_model.local.config.preprocess.size
    pixels = np.random.default_rng(0).standard_normal((3, 3, size, size)).astype(np.float32)

    assert np.array_equal(fake_model.encode_image(list(pixels)), fake_model.encode_image(pixels))


def test_image_features_that_are_not_finite_are_refused(fake_model):
    fake_model.engine.encode_images = lambda pixels, **_: np.full((len(pixels), 64), np.nan)
    size = fake_model.local.config.preprocess.size

    with pytest.raises(PictureError, match="not finite"):
        fake_model.encode_image(np.zeros((1, 3, size, size), np.float32))


def test_pictures_that_do_not_fit_at_once_are_encoded_a_few_at_a_time(fake_model):
    pictures = [Image.new("RGB", (9, 9), (n, 0, 0)) for n in range(40)]
    expected = fake_model.encode_image(pictures)
    scarce = Model(fake_model.local, cache=TextCache(None), engine=FakeEngine(fits=5))

    with pytest.warns(ZsclipWarning, match="going on with 4"):
        features = scarce.encode_image(pictures)

    assert np.array_equal(features, expected)


def test_a_picture_that_there_is_no_memory_for_is_a_picture_error(fake_model):
    model = Model(fake_model.local, cache=TextCache(None), engine=FakeEngine(fits=0))

    with pytest.raises(PictureError, match="not enough memory") as caught:
        model.encode_image(Image.new("RGB", (9, 9)))

    assert caught.value.code == "out_of_memory"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "fp8"}, "'fp8' is not one of fp32, bf16, fp16"),
        ({"precision": "fp16", "device": "cpu"}, "fp16 is not for device 'cpu'"),
        ({"precision": "bf16", "device": "mps"}, "bf16 is not for device 'mps'"),
    ],
)
def test_a_precision_that_cannot_be_is_refused_before_anything_is_opened(tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        load_model("none-such", cache_dir=tmp_path, **options)


def test_whether_weights_are_damaged_is_asked_in_fp32(fake_model, monkeypatch):
    asked = []

    class Noting(FakeEngine):
        def __init__(self, local, **options):
            super().__init__()
            self.notes = ()
            asked.append(options["precision"])

        def encode_images(self, pixels, *, full_precision=False):
            asked.append(full_precision)
            return super().encode_images(pixels)

    monkeypatch.setattr("zsclip.engines.torch_engine.TorchEngine", Noting)
    choice = Choice(device="cuda", precision="fp16")
    model = Model(fake_model.local, cache=TextCache(None), choice=choice)

    assert model.logit_scale == 100.0 and asked == ["fp16", True]
