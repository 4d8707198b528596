"""Engines: the torch engine is open_clip, strictly; the fake engine is deterministic."""

from __future__ import annotations

import json
import shutil
import weakref

import numpy as np
import pytest
from conftest import SMALL_CLIP

from zsclip import cpus
from zsclip.engines.fake import FakeEngine
from zsclip.engines.torch_engine import TorchEngine
from zsclip.errors import ModelError, UsageError, ZsclipWarning
from zsclip.models import resolve
from zsclip.tokenizer import ClipTokenizer
from zsclip.weights import locate


@pytest.fixture(scope="module")
def local(small_clip_folder):
    return locate(resolve(str(small_clip_folder)))


@pytest.fixture(scope="module")
def engine(local):
    return TorchEngine(local, device="cpu")


@pytest.fixture(scope="module")
def oracle(small_clip_folder):
    import open_clip

    return open_clip.create_model(f"local-dir:{small_clip_folder}").eval()


@pytest.fixture(scope="module")
def tokens():
    return ClipTokenizer(24)([f"a photo of number {n}" for n in range(300)])


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype(np.float32)


def test_text_features_equal_open_clips(engine, oracle, tokens):
    import torch

    with torch.inference_mode():
        theirs = oracle.encode_text(torch.from_numpy(tokens), normalize=True).numpy()

    difference = np.abs(engine.encode_texts(tokens) - theirs).max()
    assert difference < 1e-6, difference


def test_image_features_equal_open_clips(engine, oracle, pixels):
    import torch

    with torch.inference_mode():
        theirs = oracle.encode_image(torch.from_numpy(pixels), normalize=True).numpy()

    difference = np.abs(engine.encode_images(pixels) - theirs).max()
    assert difference < 1e-6, difference


@pytest.mark.parametrize("side", ["texts", "images"])
def test_features_are_float32_of_unit_length(engine, tokens, pixels, side):
    features = engine.encode_texts(tokens) if side == "texts" else engine.encode_images(pixels)

    lengths = np.linalg.norm(features, axis=1)
    assert features.dtype == np.float32 and np.abs(lengths - 1).max() < 1e-6, lengths


def test_the_scale_is_the_models_own(engine, oracle):
    assert abs(engine.logit_scale - float(oracle.logit_scale.detach().exp())) < 1e-5
    assert engine.logit_bias is None


def test_a_model_with_a_bias_has_it(small_clip_folder, tmp_path):
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path / "siglip-like"
    folder.mkdir()
    model_cfg = {**SMALL_CLIP["model_cfg"], "init_logit_bias": -10}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(dict(model.state_dict()), folder / "open_clip_model.safetensors")

    engine = TorchEngine(locate(resolve(str(folder))), device="cpu")

    assert engine.logit_bias == -10


def test_the_activation_is_the_configurations(small_clip_folder, tmp_path, engine, tokens):
    folder = tmp_path / "gelu"
    shutil.copytree(small_clip_folder, folder)
    config = {**SMALL_CLIP, "model_cfg": {**SMALL_CLIP["model_cfg"], "quick_gelu": False}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))

    other = TorchEngine(locate(resolve(str(folder))), device="cpu")

    assert np.abs(other.encode_texts(tokens) - engine.encode_texts(tokens)).max() > 1e-4


def with_state(small_clip_folder, folder, change):
    from safetensors.torch import load_file, save_file

    shutil.copytree(small_clip_folder, folder)
    file = folder / "open_clip_model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)
    return locate(resolve(str(folder)))


def test_weights_with_a_missing_key_are_refused(small_clip_folder, tmp_path):
    local = with_state(
        small_clip_folder, tmp_path / "m", lambda state: state.pop("text_projection")
    )

    with pytest.raises(ModelError, match=r"does not fit m: .*text_projection"):
        TorchEngine(local, device="cpu")


def test_weights_with_a_key_too_many_are_refused(small_clip_folder, tmp_path):
    local = with_state(
        small_clip_folder,
        tmp_path / "m",
        lambda state: state.update(extra=state["text_projection"].clone()),
    )

    with pytest.raises(ModelError, match=r"does not fit m: .*extra"):
        TorchEngine(local, device="cpu")


def test_weights_of_another_shape_are_refused(small_clip_folder, tmp_path):
    def cut(state):
        state["text_projection"] = state["text_projection"][:, :8].contiguous()

    local = with_state(small_clip_folder, tmp_path / "m", cut)

    with pytest.raises(ModelError, match="does not fit"):
        TorchEngine(local, device="cpu")


def test_weights_in_half_precision_run_in_fp32(small_clip_folder, tmp_path, engine, tokens):
    def halve(state):
        state.update({k: v.half() for k, v in state.items() if v.is_floating_point()})

    half = TorchEngine(with_state(small_clip_folder, tmp_path / "m", halve), device="cpu")

    features = half.encode_texts(tokens)
    difference = np.abs(features - engine.encode_texts(tokens)).max()
    assert features.dtype == np.float32 and difference < 1e-2, difference


def test_convolutions_on_a_gpu_give_the_features_of_the_cpu():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    tiny = locate(resolve("tiny"))
    pictures = np.random.default_rng(0).standard_normal((8, 3, 64, 64)).astype(np.float32)

    here, there = (TorchEngine(tiny, device=d).encode_images(pictures) for d in ("cpu", "cuda"))

    assert (here * there).sum(axis=1).min() > 1 - 1e-5


def test_an_unknown_device_is_a_usage_error(local):
    with pytest.raises(UsageError, match="is not there"):
        TorchEngine(local, device="cuda:99")


def test_equal_input_gives_equal_bytes(engine, pixels):
    assert engine.encode_images(pixels).tobytes() == engine.encode_images(pixels).tobytes()


# threads


@pytest.fixture
def two_threads():
    """torch on two threads, and back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield torch
    torch.set_num_threads(before)


@pytest.mark.accepts("F8")
@pytest.mark.parametrize(("usable", "expected"), [(1, 1), (2, 2), (64, 2)])
def test_threads_are_lowered_to_the_processors_and_never_raised(
    local, monkeypatch, two_threads, usable, expected
):
    monkeypatch.setattr(cpus, "usable", lambda: usable)

    TorchEngine(local, device="cpu")

    assert two_threads.get_num_threads() == expected


# memory


@pytest.mark.accepts("F6")
@pytest.mark.parametrize(
    "error",
    [
        "torch",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes",
        "MPS backend out of memory (MPS allocated: 9 GB)",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_running_out_of_memory_is_a_memory_error_in_torchs_words_too(
    local, pixels, monkeypatch, error
):
    import torch

    from zsclip.engines import towers

    def fail(model, images):
        raise torch.cuda.OutOfMemoryError("no") if error == "torch" else RuntimeError(error)

    engine = TorchEngine(local, device="cpu")
    monkeypatch.setattr(towers, "encode_images", fail)

    with pytest.raises(MemoryError, match="5 pictures do not fit into the memory of 'cpu'"):
        engine.encode_images(pixels)


@pytest.mark.accepts("F6")
def test_a_batch_for_which_there_is_really_no_memory_is_a_memory_error(engine, pixels):
    huge = np.lib.stride_tricks.as_strided(pixels, (2**38, 3, 32, 32), (0, *pixels.strides[1:]))

    with pytest.raises(MemoryError):
        engine.encode_images(huge)

    assert engine.encode_images(pixels).shape == (5, 16)


def test_what_held_the_batch_is_gone_when_the_memory_error_comes(local, pixels, monkeypatch):
    import torch

    from zsclip.engines import towers

    held = []

    def fail(model, images):
        held.append(weakref.ref(images))
        raise torch.cuda.OutOfMemoryError("no")

    engine = TorchEngine(local, device="cpu")
    monkeypatch.setattr(towers, "encode_images", fail)

    try:
        engine.encode_images(pixels)
    except MemoryError as error:
        alive = [reference() is not None for reference in held]
        chained = error.__context__

    assert alive == [False] and chained is None


def test_another_error_of_torch_stays_what_it_is(local, pixels, monkeypatch):
    from zsclip.engines import towers

    def fail(model, images):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    engine = TorchEngine(local, device="cpu")
    monkeypatch.setattr(towers, "encode_images", fail)

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        engine.encode_images(pixels)


# precision


@pytest.fixture(scope="module")
def in_bf16(local):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpus, "multiplies_bf16", lambda: True)
        return TorchEngine(local, device="cpu", precision="bf16")


@pytest.mark.accepts("F2")
def test_image_features_in_bf16_are_near_those_in_fp32_and_of_unit_length(engine, in_bf16, pixels):
    smaller, full = in_bf16.encode_images(pixels), engine.encode_images(pixels)

    difference = np.abs(smaller - full).max()
    lengths = np.linalg.norm(smaller, axis=1)
    assert 1e-6 < difference < 2e-2, difference
    assert smaller.dtype == np.float32 and np.abs(lengths - 1).max() < 1e-6, lengths


@pytest.mark.accepts("F2")
def test_full_precision_is_fp32_to_the_bit(engine, in_bf16, pixels):
    full = in_bf16.encode_images(pixels, full_precision=True)

    assert np.array_equal(full, engine.encode_images(pixels))


@pytest.mark.accepts("F2")
def test_text_features_are_fp32_to_the_bit_at_every_precision(engine, in_bf16, tokens):
    assert np.array_equal(in_bf16.encode_texts(tokens), engine.encode_texts(tokens))


@pytest.mark.accepts("F2")
def test_fp32_is_what_runs_unless_told_otherwise(engine, local, pixels):
    told = TorchEngine(local, device="cpu", precision="fp32")

    assert np.array_equal(engine.encode_images(pixels), told.encode_images(pixels))


def test_fp16_on_the_cpu_is_refused_with_what_is_possible(local):
    with pytest.raises(UsageError, match="fp16 is not for device 'cpu'") as caught:
        TorchEngine(local, device="cpu", precision="fp16")

    assert caught.value.tip == "use --precision bf16 or fp32"


def test_bf16_without_a_matrix_unit_is_warned_about(local, monkeypatch):
    monkeypatch.setattr(cpus, "multiplies_bf16", lambda: False)

    with pytest.warns(ZsclipWarning, match="probably slower than fp32"):
        TorchEngine(local, device="cpu", precision="bf16")


def test_smaller_precisions_on_a_gpu_are_near_fp32(local, pixels):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    engines = [TorchEngine(local, device="cuda", precision=p) for p in ("fp32", "bf16", "fp16")]

    full, *smaller = (engine.encode_images(pixels) for engine in engines)

    difference = [np.abs(features - full).max() for features in smaller]
    assert max(difference) < 2e-2, difference


# the fake engine


def test_the_fake_engine_depends_on_its_input_alone():
    tokens = np.arange(8).reshape(2, 4)

    one, other = FakeEngine().encode_texts(tokens), FakeEngine().encode_texts(tokens[::-1])

    assert np.array_equal(one, other[::-1]) and not np.array_equal(one[0], one[1])


def test_the_fake_engine_counts_what_it_encodes():
    engine = FakeEngine()

    engine.encode_texts(np.zeros((3, 4), np.int64))
    engine.encode_images(np.zeros((2, 3, 8, 8), np.float32))

    assert (engine.text_calls, engine.image_calls) == (3, 2)


def test_the_fake_engine_gives_unit_length():
    features = FakeEngine(dimension=7).encode_images(np.ones((2, 3, 4, 4), np.float32))

    assert features.shape == (2, 7) and np.abs(np.linalg.norm(features, axis=1) - 1).max() < 1e-6
