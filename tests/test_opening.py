"""Which engine runs a model: what was asked for, what the machine has, what can be compiled."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from zsclip import Classifier, build_head, load_model
from zsclip.engines import compiled, opening
from zsclip.engines.fake import FakeEngine
from zsclip.engines.onnx_engine import OnnxEngine
from zsclip.engines.opening import Choice, compile_ahead, open_engine, why_torch
from zsclip.engines.torch_engine import TorchEngine
from zsclip.errors import ModelError, UsageError, ZsclipWarning

RED = Image.new("RGB", (40, 40), "red")


class Stage:
    """Engines and a compiler that do nothing but note that they were asked."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "cache"
        self.facts: dict[str, str] = {}
        self.opened: list[str] = []
        self.device = "cpu"  # what torch finds
        self.fault: BaseException | None = None  # of the compiler
        self.notes: list[str] = []  # of the weights
        self.accelerator = tmp_path / "nvidiactl"

    @property
    def compiled(self) -> int:
        """How many models are whole in the cache folder."""
        return len(compiled.stored(self.folder))


@pytest.fixture
def stage(tmp_path, monkeypatch):
    stage = Stage(tmp_path)

    class Torch(FakeEngine):
        def __init__(self, model, *, device, precision="fp32"):
            super().__init__()
            stage.opened.append(f"torch {device} {precision}")
            self.device = stage.device if device == "auto" else device
            self.notes = tuple(stage.notes)

    class Onnx(FakeEngine):
        def __init__(self, folder):
            super().__init__()
            stage.opened.append("onnx")
            self.notes = tuple(compiled.read(folder).notes)

    def compile_into(folder, engine, model, on_progress):
        stage.opened.append("compiler")
        if stage.fault is not None:
            raise stage.fault
        (folder / compiled.IMAGE_TOWER).write_bytes(b"tower")
        compiled.write_about(
            folder, model=model.id, weights=model.digest, architecture="", logit_scale=1.0,
            logit_bias=None, text_cfg={}, pad_token=None, convolves=False, made_with={},
            notes=stage.notes,
        )  # fmt: skip

    monkeypatch.setattr("zsclip.engines.torch_engine.TorchEngine", Torch)
    monkeypatch.setattr("zsclip.engines.compile.compile_into", compile_into)
    monkeypatch.setattr(opening, "OnnxEngine", Onnx)
    monkeypatch.setattr(opening, "_ACCELERATORS", (str(stage.accelerator),))
    monkeypatch.setattr(sys, "platform", "linux")
    return stage


@pytest.fixture
def open_it(stage, tiny_local):
    """Open `tiny` on the stage, with choices; what was opened for it, in order."""

    def run(**choice):
        stage.opened.clear()
        options = {"folder": stage.folder, **choice}
        open_engine(tiny_local, Choice(**options), stage.facts)
        return stage.opened

    return run


def not_compiled(reason: str) -> Exception:
    from zsclip.engines.compile import NotCompiledError

    return NotCompiledError(reason)


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_what_people_should_know_of_the_weights_is_said_whenever_they_are_opened(
    stage, open_it, engine
):
    stage.notes = ["has no logit_bias"]

    for _ in range(2):
        with pytest.warns(ZsclipWarning, match="has no logit_bias"):
            open_it(engine=engine)


# what was asked for


def possible(engine, device, precision):
    """Whether there is this combination."""
    if engine == "onnx":
        return device in ("auto", "cpu") and precision == "fp32"
    allowed = {"cpu": ("fp32", "bf16"), "mps": ("fp32",)}
    return precision in allowed.get(device, ("fp32", "bf16", "fp16"))


@pytest.mark.parametrize(
    ("engine", "device", "precision"),
    list(
        itertools.product(
            ("auto", "torch", "onnx"), ("auto", "cpu", "cuda", "mps"), ("fp32", "bf16", "fp16")
        )
    ),
)
def test_what_does_not_go_together_is_refused(tmp_path, engine, device, precision):
    refused = not possible(engine, device, precision)

    with pytest.raises(UsageError) if refused else contextlib.nullcontext():
        Choice(engine, device, precision, tmp_path)


@pytest.mark.parametrize(
    ("options", "said", "tip"),
    [
        ({"engine": "tpu"}, "engine 'tpu' is not one of auto, torch, onnx", None),
        (
            {"engine": "onnx", "device": "cuda"},
            "engine onnx runs on the CPU, not on cuda",
            "use --engine torch",
        ),
        (
            {"engine": "onnx", "precision": "bf16"},
            "engine onnx computes in fp32, not in bf16",
            "use --engine torch",
        ),
        ({"engine": "onnx", "folder": None}, "engine onnx needs a folder", None),
        ({"precision": "fp8"}, "'fp8' is not one of fp32, bf16, fp16", None),
    ],
)
def test_a_refusal_says_what_and_what_helps(tmp_path, options, said, tip):
    with pytest.raises(UsageError, match=said) as caught:
        Choice(**{"folder": tmp_path, **options})

    assert caught.value.tip == tip


@pytest.mark.parametrize(
    ("choice", "opened"),
    [
        ({"engine": "torch"}, ["torch auto fp32"]),
        ({"device": "cuda"}, ["torch cuda fp32"]),
        ({"device": "mps"}, ["torch mps fp32"]),
        ({"precision": "bf16"}, ["torch auto bf16"]),
        ({"precision": "bf16", "device": "cpu"}, ["torch cpu bf16"]),
        ({"folder": None}, ["torch auto fp32"]),
        ({"may_compile": False}, ["torch auto fp32"]),
    ],
)
def test_torch_runs_what_is_not_for_onnx_and_nothing_is_compiled(stage, open_it, choice, opened):
    assert open_it(**choice) == opened
    assert stage.compiled == 0


@pytest.mark.parametrize("choice", [{}, {"device": "cpu"}])
def test_on_a_cpu_a_model_is_compiled_once_and_then_torch_is_left_alone(stage, open_it, choice):
    assert open_it(**choice)[-2:] == ["compiler", "onnx"]
    assert stage.compiled == 1
    assert open_it(**choice) == ["onnx"]


def test_onnx_compiles_too(stage, open_it):
    assert open_it(engine="onnx") == ["torch cpu fp32", "compiler", "onnx"]
    assert open_it(engine="onnx") == ["onnx"]


@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_a_damaged_compiled_model_is_compiled_anew(stage, open_it, engine):
    open_it()
    [folder] = compiled.stored(stage.folder)
    (folder / compiled.IMAGE_TOWER).write_bytes(b"cut")

    assert open_it(engine=engine)[-2:] == ["compiler", "onnx"]
    assert stage.compiled == 1


@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_what_is_compiled_is_used_where_nothing_may_be_compiled(open_it, engine):
    open_it()

    assert open_it(engine=engine, may_compile=False) == ["onnx"]


def test_what_is_compiled_is_left_alone_where_torch_is_wanted(open_it):
    open_it()

    assert open_it(engine="torch") == ["torch auto fp32"]
    assert open_it(precision="bf16") == ["torch auto bf16"]


def test_onnx_where_nothing_may_be_compiled_says_what_helps(stage, open_it):
    with pytest.raises(ModelError, match="is not compiled, and --no-cache") as caught:
        open_it(engine="onnx", may_compile=False)

    assert caught.value.tip == "leave out --no-cache once, or use --engine torch"
    assert stage.opened == []


# what the machine has


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_where_there_may_be_a_gpu_auto_is_torch(stage, open_it, device):
    stage.accelerator.touch()
    stage.device = device

    assert open_it() == ["torch auto fp32"]
    assert stage.compiled == 0


def test_where_there_may_be_a_gpu_the_cpu_still_has_compiled_models(stage, open_it):
    stage.accelerator.touch()

    assert open_it(device="cpu")[-1] == "onnx"
    assert open_it(engine="onnx") == ["onnx"]


def test_a_mac_may_have_a_gpu(stage, open_it, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    assert open_it() == ["torch auto fp32"]


def test_a_gpu_that_only_torch_sees_runs_the_model(stage, open_it):
    stage.device = "cuda"

    assert open_it() == ["torch auto fp32"]
    assert stage.compiled == 0


# what cannot be compiled


def test_a_model_that_cannot_be_compiled_stays_on_torch_and_says_so_once(
    stage, open_it, tiny_local
):
    stage.fault = not_compiled("it cannot be exported (no such operator)")

    with pytest.warns(ZsclipWarning) as said:
        first = list(open_it())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = list(open_it())

    assert [str(warning.message) for warning in said] == [
        f"{tiny_local.id} stays on the torch engine: it cannot be exported (no such operator)"
    ]
    assert first == ["torch auto fp32", "compiler"] and second == ["torch auto fp32"]
    assert why_torch(tiny_local, stage.facts) == "it cannot be exported (no such operator)"


def test_a_failure_is_tried_again_where_onnx_is_asked_for_and_a_success_forgets_it(
    stage, open_it, tiny_local
):
    stage.fault = not_compiled("it cannot be exported")
    with pytest.warns(ZsclipWarning):
        open_it()
    with pytest.raises(ModelError, match="cannot be compiled: it cannot be exported") as caught:
        open_it(engine="onnx")
    stage.fault = None

    assert caught.value.tip == "use --engine torch"
    assert open_it(engine="onnx")[-2:] == ["compiler", "onnx"]
    assert why_torch(tiny_local, stage.facts) is None
    assert stage.facts == {}


def test_a_failure_is_tried_again_with_other_versions_of_the_packages(
    stage, open_it, tiny_local, monkeypatch
):
    stage.fault = not_compiled("it cannot be exported")
    with pytest.warns(ZsclipWarning):
        open_it()
    stage.fault = None

    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")

    assert open_it()[-2:] == ["compiler", "onnx"]


def test_a_compiled_model_that_cannot_be_opened_for_the_check_leaves_torch(stage, open_it):
    stage.fault = ModelError("image.onnx cannot be opened: no such operator")

    with pytest.warns(ZsclipWarning, match="stays on the torch engine: .*no such operator"):
        assert open_it() == ["torch auto fp32", "compiler"]

    assert stage.compiled == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "no memory for it"),
    ],
)
def test_what_lies_in_the_machine_is_said_and_tried_again(stage, open_it, fault, said):
    stage.fault = fault
    with pytest.warns(ZsclipWarning, match=f"stays on the torch engine: .*{said}"):
        assert open_it()[-1] == "compiler"
    stage.fault = None

    assert open_it()[-2:] == ["compiler", "onnx"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), MemoryError()])
def test_what_lies_in_the_machine_is_an_error_where_onnx_is_asked_for(stage, open_it, fault):
    stage.fault = fault

    with pytest.raises(ModelError, match="cannot be compiled"):
        open_it(engine="onnx")

    assert stage.compiled == 0


def test_an_interrupt_goes_through_and_leaves_nothing(stage, open_it):
    stage.fault = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        open_it()

    assert [p for p in (stage.folder / "compiled").iterdir() if p.is_dir()] == []
    assert stage.facts == {}


def test_a_cache_folder_that_cannot_be_written_leaves_torch(stage, open_it):
    stage.folder.write_text("a file")

    with pytest.warns(ZsclipWarning, match="stays on the torch engine") as said:
        assert open_it() == ["torch auto fp32"]

    assert len(said) == 1


@pytest.mark.parametrize("problem", [NotImplementedError, OSError(37, "No locks available")])
def test_a_cache_folder_without_locks_leaves_torch(stage, open_it, monkeypatch, problem):
    def refuse(self):
        raise problem

    monkeypatch.setattr("filelock.FileLock._acquire", refuse)

    with pytest.warns(ZsclipWarning, match="stays on the torch engine: .*locks") as said:
        assert open_it() == ["torch auto fp32"]

    assert len(said) == 1


def test_large_weights_stay_on_torch_without_a_word(stage, open_it, tiny_local, monkeypatch):
    monkeypatch.setattr(opening, "LARGEST_BYTES", 1_000_000)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_it() == ["torch auto fp32"]

    reason = why_torch(tiny_local, stage.facts)
    assert reason is not None and reason.endswith("GB, more than 0.001 GB")
    assert stage.compiled == 0


def test_large_weights_are_not_even_loaded_for_onnx(stage, open_it, monkeypatch):
    monkeypatch.setattr(opening, "LARGEST_BYTES", 1_000_000)

    with pytest.raises(ModelError, match=r"cannot be compiled: its weights take 0\.\d\d GB"):
        open_it(engine="onnx")

    assert stage.opened == []


# ahead of the first use


def ahead(stage, model, **choice):
    stage.opened.clear()
    compile_ahead(model, Choice(folder=stage.folder, **choice), stage.facts)
    return stage.opened


@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_a_model_is_compiled_ahead(stage, tiny_local, engine):
    ahead(stage, tiny_local, engine=engine)

    assert stage.compiled == 1
    assert "compiler" not in ahead(stage, tiny_local, engine=engine)


@pytest.mark.parametrize("choice", [{"engine": "torch"}, {"device": "cuda"}])
def test_what_torch_will_run_is_not_opened_ahead(stage, tiny_local, choice):
    assert ahead(stage, tiny_local, **choice) == []


def test_large_weights_are_not_loaded_ahead(stage, tiny_local, monkeypatch):
    monkeypatch.setattr(opening, "LARGEST_BYTES", 1_000_000)

    assert ahead(stage, tiny_local) == []


def test_what_is_known_to_stay_on_torch_is_not_loaded_ahead(stage, tiny_local):
    stage.fault = not_compiled("it cannot be exported")
    with pytest.warns(ZsclipWarning):
        ahead(stage, tiny_local)

    assert ahead(stage, tiny_local) == []


def test_a_model_that_cannot_be_opened_ahead_is_a_warning_unless_onnx_is_asked_for(
    stage, tiny_local, monkeypatch
):
    def refuse(model, **options):
        raise ModelError("an extra is missing")

    monkeypatch.setattr("zsclip.engines.torch_engine.TorchEngine", refuse)

    with pytest.warns(ZsclipWarning, match="is not compiled: an extra is missing"):
        ahead(stage, tiny_local)
    with pytest.raises(ModelError, match="an extra is missing"):
        ahead(stage, tiny_local, engine="onnx")


# the real thing, with a very small model


@pytest.fixture
def cache(compiled_small, tmp_path):
    """A cache folder with the small model compiled, for one test."""
    shutil.copytree(compiled_small / "compiled", tmp_path / "copy" / "compiled")
    return tmp_path / "copy"


def test_the_model_and_every_step_are_shown(small_clip_folder, small_compilation):
    from zsclip.engines.compile import STEPS

    first, *steps, last = small_compilation[1]

    assert (first, last) == (load_model(small_clip_folder, use_cache=False).id, "done")
    assert steps == [(n, STEPS) for n in range(1, STEPS + 1)]


def spoil(cache: Path, *names: str) -> None:
    """Overwrite files of the compiled model; their sizes stay."""
    for folder in compiled.stored(cache):
        for name in names:
            path = folder / name
            path.write_bytes(b"\0" * path.stat().st_size)


def test_both_engines_answer_alike(small_clip_folder, cache):
    ours = load_model(small_clip_folder, engine="auto", device="cpu", cache_dir=cache)
    reference = load_model(small_clip_folder, engine="torch", device="cpu", use_cache=False)
    texts = ["a cat", "a photo of a dog.", "a photo of a cat."]

    assert isinstance(ours.engine, OnnxEngine) and isinstance(reference.engine, TorchEngine)
    assert ours.logit_scale == reference.logit_scale
    assert np.abs(ours.encode_text(texts) - reference.encode_text(texts)).max() < 1e-5
    assert np.abs(ours.encode_image(RED) - reference.encode_image(RED)).max() < 1e-5


@pytest.mark.parametrize(("builder", "user"), [("onnx", "torch"), ("torch", "onnx")])
def test_a_head_of_one_engine_is_in_the_cache_for_the_other(
    small_clip_folder, cache, builder, user
):
    built, again = (
        load_model(small_clip_folder, engine=engine, device="cpu", cache_dir=cache)
        for engine in (builder, user)
    )
    head = build_head(["cat", "dog"], model=built)

    same = build_head(["cat", "dog"], model=again)

    assert "engine" in vars(built) and "engine" not in vars(again)
    assert same.digest == head.digest


def test_the_probe_of_one_engine_passes_for_the_other(small_clip_folder, cache):
    for name in ("torch", "onnx"):
        model = load_model(small_clip_folder, engine=name, device="cpu", cache_dir=cache)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "encodes text differently"
            build_head([f"label of {name}"], model=model)


def test_with_a_cached_head_the_text_tower_is_not_opened(small_clip_folder, cache):
    first = load_model(small_clip_folder, engine="onnx", cache_dir=cache)
    build_head(["cat", "dog"], model=first)
    spoil(cache, compiled.TEXT_TOWER, "text.weights")
    again = load_model(small_clip_folder, engine="onnx", cache_dir=cache)

    classifier = Classifier(build_head(["cat", "dog"], model=again), model=again)
    [result] = classifier.classify([RED])

    assert result.label in ("cat", "dog")
    with pytest.raises(ModelError, match=r"text.onnx cannot be opened"):
        again.encode_text("a bird")


def test_a_head_that_is_in_the_cache_opens_nothing(small_clip_folder, cache):
    first = load_model(small_clip_folder, engine="onnx", cache_dir=cache)
    head = build_head(["cat", "dog"], model=first)
    for folder in compiled.stored(cache):
        shutil.rmtree(folder)
    again = load_model(small_clip_folder, engine="onnx", cache_dir=cache)

    assert build_head(["dog", "cat"], model=again).class_names == ("dog", "cat")
    assert build_head(["cat", "dog"], model=again).digest == head.digest
    assert compiled.stored(cache) == {}


@pytest.mark.parametrize("engine", ["auto", "onnx", "torch"])
def test_weights_with_nan_are_refused_and_leave_nothing(small_clip_folder, tmp_path, engine):
    folder = shutil.copytree(small_clip_folder, tmp_path / "damaged")
    state = load_file(folder / "open_clip_model.safetensors")
    state["visual.conv1.weight"] = np.full_like(state["visual.conv1.weight"], np.nan)
    save_file(state, folder / "open_clip_model.safetensors")
    model = load_model(folder, engine=engine, device="cpu", cache_dir=tmp_path / "cache")

    with pytest.raises(ModelError, match="not finite: damaged weights"):
        model.encode_image(RED)

    assert list((tmp_path / "cache").glob("compiled/*")) == []


def test_a_full_disk_leaves_torch_with_a_warning(small_clip_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    model = load_model(small_clip_folder, engine="auto", device="cpu", cache_dir=tmp_path)

    with pytest.warns(ZsclipWarning, match="stays on the torch engine: .*GB") as said:
        assert isinstance(model.engine, TorchEngine)

    assert len(said) == 1
    assert compiled.stored(tmp_path) == {}


def test_the_environment_names_the_engine_where_nothing_else_does(
    small_clip_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("ZSCLIP_ENGINE", "onnx")

    assert load_model(small_clip_folder, cache_dir=tmp_path).choice.engine == "onnx"
    assert load_model(small_clip_folder, cache_dir=tmp_path, engine="auto").choice.engine == "auto"
    monkeypatch.setenv("ZSCLIP_ENGINE", "")
    assert load_model(small_clip_folder, cache_dir=tmp_path).choice.engine == "auto"
