"""The ONNX Runtime engine: what torch answers, from a folder alone; and what is refused there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SMALL_CLIP
from families import write_folder
from torch import nn

from zsclip import cpus
from zsclip.engines import compile as compiling
from zsclip.engines import compiled
from zsclip.engines.compile import NotCompiledError, compile_into
from zsclip.engines.image_encoder import ImageEncoder
from zsclip.engines.onnx_engine import OnnxEngine
from zsclip.engines.torch_engine import TorchEngine
from zsclip.errors import ModelError
from zsclip.models import resolve
from zsclip.results import Failure
from zsclip.tokenizer import ClipTokenizer
from zsclip.weights import locate

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return locate(resolve(str(write_folder(SMALL_CLIP, tmp_path_factory.mktemp("model")))))


@pytest.fixture(scope="module")
def torch_engine(local):
    return TorchEngine(local, device="cpu")


@pytest.fixture(scope="module")
def folder(local, torch_engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    compile_into(folder, torch_engine, local, lambda done, steps: None)
    return folder


@pytest.fixture(scope="module")
def engine(folder):
    return OnnxEngine(folder)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).standard_normal((9, 3, 32, 32), dtype=np.float32)


@pytest.fixture
def tokens():
    return ClipTokenizer(24)([f"a photo of number {n}" for n in range(300)])


def with_garbage(folder, name, place):
    """A copy of a compiled model where one file has other bytes, as many."""
    shutil.copytree(folder, place)
    path = place / name
    path.write_bytes(b"\x07" * path.stat().st_size)
    return place


def distance(ours, theirs) -> float:
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.float32
    return float(np.abs(ours - theirs).max())


# features


def test_features_equal_those_of_torch(engine, torch_engine, pixels, tokens):
    images = distance(engine.encode_images(pixels), torch_engine.encode_images(pixels))
    texts = distance(engine.encode_texts(tokens), torch_engine.encode_texts(tokens))

    assert images < TOLERANCE and texts < TOLERANCE, (images, texts)


def test_features_equal_those_of_open_clips_whole_towers(engine, torch_engine, pixels, tokens):
    # the torch engine shortens them as the compiled ones are: it would share a fault there
    with torch.inference_mode():
        plain_images = torch_engine.net.encode_image(torch.from_numpy(pixels), normalize=True)
        plain_texts = torch_engine.net.encode_text(torch.from_numpy(tokens), normalize=True)

    images = distance(engine.encode_images(pixels), plain_images.numpy())
    texts = distance(engine.encode_texts(tokens), plain_texts.numpy())

    assert images < TOLERANCE and texts < TOLERANCE, (images, texts)


def test_features_are_of_unit_length(engine, pixels, tokens):
    for features in (engine.encode_images(pixels), engine.encode_texts(tokens)):
        lengths = np.linalg.norm(features, axis=-1)

        assert np.abs(lengths - 1).max() < 1e-6, lengths


@pytest.mark.accepts("F4")
def test_the_same_input_gives_the_same_bytes(folder, engine, pixels, tokens):
    again = OnnxEngine(folder)

    for encode, other, batch in (
        (engine.encode_images, again.encode_images, pixels),
        (engine.encode_texts, again.encode_texts, tokens),
    ):
        first = encode(batch).tobytes()
        assert first == encode(batch).tobytes() == other(batch).tobytes()


@pytest.mark.accepts("F3")
@pytest.mark.parametrize("size", [1, 2, 5])
def test_features_hardly_depend_on_the_size_of_the_batch(engine, pixels, size):
    together = engine.encode_images(pixels)

    parts = [engine.encode_images(pixels[i : i + size]) for i in range(0, len(pixels), size)]

    cosines = (np.concatenate(parts) * together).sum(axis=-1)
    assert np.abs(1 - cosines).max() < TOLERANCE, cosines


def test_a_picture_that_is_not_finite_leaves_the_others_alone(engine, pixels):
    bad = pixels.copy()
    bad[4, 0, 0, 0], bad[6, 1, 2, 3] = np.nan, np.inf

    features = engine.encode_images(bad)

    others = [0, 1, 2, 3, 5, 7, 8]
    assert not np.isfinite(features[[4, 6]]).any()
    assert distance(features[others], engine.encode_images(pixels)[others]) < TOLERANCE


def test_scale_and_bias_are_those_of_torch(engine, torch_engine):
    found = (engine.logit_scale, engine.logit_bias)

    assert found == (torch_engine.logit_scale, torch_engine.logit_bias)


@pytest.mark.accepts("F6")
def test_a_batch_that_does_not_fit_is_a_memory_error(engine, pixels, monkeypatch):
    class Full:
        def run(self, names, inputs):
            if len(inputs["pixels"]) > 2:
                raise RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for ...")
            return [np.ones((len(inputs["pixels"]), 16), dtype=np.float32)]

    for session in ("shared", "alone"):
        monkeypatch.setitem(vars(engine._image_tower), session, Full())

    with pytest.raises(MemoryError):
        engine.encode_images(pixels)
    with pytest.warns(match="not enough memory for 9 pictures"):
        answers = ImageEncoder(engine).encode(pixels)
    assert len(answers) == 9 and not any(isinstance(answer, Failure) for answer in answers)


@pytest.mark.accepts("F3")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_inputs_side_by_side_are_like_one_after_the_other(
    folder, monkeypatch, pixels, tokens, threads
):
    monkeypatch.setattr(cpus, "usable", lambda: 1)
    alone = OnnxEngine(folder)
    monkeypatch.setattr(cpus, "usable", lambda: threads)
    engine = OnnxEngine(folder)

    for batch in (pixels, pixels[:1]):
        difference = engine.encode_images(batch) - alone.encode_images(batch)
        assert np.abs(difference).max() < TOLERANCE
    assert np.abs(engine.encode_texts(tokens) - alone.encode_texts(tokens)).max() < TOLERANCE


@pytest.mark.parametrize(("pictures", "session"), [(1, "shared"), (3, "shared"), (4, "alone")])
def test_threads_share_a_batch_that_is_too_small_to_be_divided(
    folder, monkeypatch, pixels, pictures, session
):
    monkeypatch.setattr(cpus, "usable", lambda: 2)
    engine = OnnxEngine(folder)

    engine.encode_images(pixels[:pictures])

    assert {"shared", "alone"} & set(vars(engine._image_tower)) == {session}


def test_torch_answers_as_before_when_it_has_been_compiled(
    local, torch_engine, folder, pixels, tokens
):
    fresh = TorchEngine(local, device="cpu")

    for encode, other, batch in (
        (torch_engine.encode_images, fresh.encode_images, pixels),
        (torch_engine.encode_texts, fresh.encode_texts, tokens),
    ):
        assert encode(batch).tobytes() == other(batch).tobytes()


# the folder


def test_it_runs_without_torch(folder):
    program = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'open_clip', 'onnxscript'))\n"
        "import numpy as np; from pathlib import Path\n"
        "from zsclip.engines.onnx_engine import OnnxEngine\n"
        "engine = OnnxEngine(Path(sys.argv[1]))\n"
        "print(engine.encode_images(np.zeros((2, 3, 32, 32), np.float32)).shape,"
        " engine.encode_texts(np.ones((3, 24), np.int64)).shape)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, timeout=60
    )

    assert (ran.stdout, ran.stderr) == ("(2, 16) (3, 16)\n", "")


def test_a_tower_is_opened_when_it_is_first_used(folder, tmp_path, pixels, tokens):
    engine = OnnxEngine(with_garbage(folder, compiled.TEXT_TOWER, tmp_path / "copy"))

    assert engine.encode_images(pixels).shape == (9, 16)
    with pytest.raises(ModelError, match=r"text\.onnx cannot be opened"):
        engine.encode_texts(tokens)


def test_a_folder_without_a_tower_is_no_model(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / compiled.IMAGE_TOWER).unlink()

    with pytest.raises(ModelError, match="not a compiled model"):
        OnnxEngine(copy)


def test_weights_lie_beside_the_graphs(folder, local):
    graphs = sum(path.stat().st_size for path in folder.glob("*.onnx"))
    weights = sum(path.stat().st_size for path in folder.glob("*.weights"))

    assert graphs < 100_000
    assert 0.9 < weights / local.weights.stat().st_size < 1.1


def test_a_folder_says_what_it_is(folder, local):
    about = compiled.read(folder)

    assert (about.model, about.weights) == (local.id, local.digest)
    assert about.text_cfg == local.config.model_cfg["text_cfg"]
    assert about.pad_token is None and not about.convolves
    assert json.loads((folder / compiled.ABOUT).read_text())["made_with"]["torch"]


# what is refused


class Skewed:
    """An engine with a fault in one of the towers."""

    def __init__(self, engine, *, tower, fault):
        self._engine, self._tower, self._fault = engine, tower, fault

    def encode_images(self, pixels, *, full_precision=False):
        features = self._engine.encode_images(pixels)
        return self._fault(features) if self._tower == "image" else features

    def encode_texts(self, tokens):
        features = self._engine.encode_texts(tokens)
        return self._fault(features) if self._tower == "text" else features


def turned(features, *, cosine):
    """Features of unit length at a cosine from those given."""
    other = np.roll(features, 1, axis=1)
    other -= (other * features).sum(axis=1, keepdims=True) * features
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return (cosine * features + np.sqrt(1 - cosine**2) * other).astype(np.float32)


def only_last(features, change):
    return np.concatenate([features[:-1], change(features[-1:])])


FAULTS = {
    "little": lambda f: turned(f, cosine=0.99998),
    "not finite": lambda f: f * np.float32(np.nan),
    "one of many": lambda f: only_last(f, np.negative) if len(f) > 1 else f,
    "alone": lambda f: -f if len(f) == 1 else f,
}


def check(engine, net):
    prompts = compiling._prompts(net, SMALL_CLIP["model_cfg"]["text_cfg"], 24, None)
    compiling._check(engine, net, 32, prompts)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tower", ["image", "text"])
def test_towers_that_are_not_those_of_torch_are_refused(torch_engine, tower, fault):
    skewed = Skewed(torch_engine, tower=tower, fault=FAULTS[fault])

    with pytest.raises(NotCompiledError, match=f"its {tower} features are not those of torch"):
        check(skewed, torch_engine.net)


def test_a_difference_of_rounding_is_not_refused(torch_engine):
    for tower in ("image", "text"):
        skewed = Skewed(torch_engine, tower=tower, fault=lambda f: turned(f, cosine=0.999995))

        check(skewed, torch_engine.net)


def test_the_check_has_prompts_of_many_lengths_that_begin_alike(torch_engine):
    prompts = compiling._prompts(
        torch_engine.net, SMALL_CLIP["model_cfg"]["text_cfg"], 24, None
    )  # (P, L)

    lengths = prompts.argmax(axis=1)
    assert (lengths.min(), lengths.max()) == (2, 23)
    assert len(set(lengths)) == len(prompts)
    assert (prompts[::2, :2] == prompts[0, :2]).all()


class Forks(nn.Module):
    """Cannot be exported: which way it goes depends on values."""

    def forward(self, pixels):
        return pixels if pixels.sum() > 0 else -pixels


def test_a_tower_that_cannot_be_exported_is_refused_in_one_line():
    with pytest.raises(NotCompiledError, match="cannot be exported") as caught:
        compiling._export(Forks(), compiling._image_example(8), compiling._IMAGE_AXES)

    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_graph_that_onnx_runtime_cannot_run_is_refused(tmp_path):
    class Program:
        def save(self, path, *, external_data):
            path.write_bytes(b"no graph")

    with pytest.raises(NotCompiledError, match="ONNX Runtime cannot run it"):
        compiling._save(Program(), tmp_path / "image.onnx")

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_where_both_towers_do_not_fit(
    torch_engine, local, tmp_path, monkeypatch
):
    values = sum(tensor.numel() for tensor in torch_engine.net.state_dict().values())
    usage = shutil.disk_usage(tmp_path)._replace(free=8 * values - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(OSError, match="are needed in the cache folder"):
        compile_into(tmp_path, torch_engine, local, lambda done, steps: None)

    assert list(tmp_path.iterdir()) == []


def test_what_fails_while_it_is_checked_is_refused_in_one_line(torch_engine):
    class Broken(Skewed):
        def encode_images(self, pixels, *, full_precision=False):
            raise RuntimeError("[ONNXRuntimeError] : 1\n\nno such kernel")

    broken = Broken(torch_engine, tower=None, fault=None)

    with pytest.raises(NotCompiledError, match=r"cannot run it \(.* 1 no such kernel\)$"):
        check(broken, torch_engine.net)


@pytest.mark.parametrize("kind", [MemoryError, OSError])
def test_what_this_machine_lacks_does_not_lie_in_the_model(torch_engine, kind):
    class Poor(Skewed):
        def encode_images(self, pixels, *, full_precision=False):
            raise kind("none left")

    with pytest.raises(kind):
        check(Poor(torch_engine, tower=None, fault=None), torch_engine.net)
