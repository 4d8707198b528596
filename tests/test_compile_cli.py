"""Compiled models on the command line: made once, then torch is never imported."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_CLIP, with_compiled
from loopback_hub import Repository
from safetensors.numpy import load_file, save, save_file

from zsclip.cache import default_folder
from zsclip.engines import compiled, opening

SAFE, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
HEAVY = ("torch", "torchvision", "open_clip", "timm", "transformers", "onnxscript", "onnx")

# Where open_clip lies is asked, for its vocabulary: it is found, and only then fails to be loaded.
BLOCKED = f"""
import sys
from importlib.machinery import PathFinder

tried = []

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {HEAVY}:
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader = self
        return spec

    def create_module(self, spec):
        tried.append(spec.name)
        raise ImportError(f"{{spec.name}} is blocked", name=spec.name)

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Blocker())
"""
COMMAND_LINE = """
from zsclip.cli import main
code = main(sys.argv[1:])
if tried:
    print("imported:", tried, file=sys.stderr)
sys.exit(99 if tried else code)
"""


@pytest.fixture
def cache(compiled_small):
    """The small model is compiled where the command line has its cache; there is no text."""
    return with_compiled(compiled_small, default_folder())


@pytest.fixture
def blocked(tmp_path):
    """Run Python in a process that cannot import torch or anything near it."""

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", BLOCKED + code, *map(str, arguments)],
            env={k: v for k, v in os.environ.items() if k != "ZSCLIP_ENGINE"},
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )

    return run


@pytest.fixture
def compiler(monkeypatch):
    """A compiler that takes no time; models of which it knows a fault cannot be compiled."""
    from zsclip.engines.compile import NotCompiledError

    faults: dict[str, str] = {}

    def compile_into(folder, engine, model, on_progress):
        for name, fault in faults.items():
            if name in model.id:
                raise NotCompiledError(fault)
        (folder / compiled.IMAGE_TOWER).write_bytes(b"tower")
        compiled.write_about(
            folder, model=model.id, weights=model.digest, architecture="", logit_scale=1.0,
            logit_bias=None, text_cfg={}, pad_token=None, convolves=False, made_with={}, notes=[],
        )  # fmt: skip

    monkeypatch.setattr("zsclip.engines.compile.compile_into", compile_into)
    monkeypatch.setattr(opening, "_may_have_accelerator", lambda: False)
    return faults


def compiled_models() -> set[str]:
    """Names of the models that are compiled, without their digests."""
    return {about.model.partition("@")[0] for about in compiled.stored(default_folder()).values()}


def copy_of(small_clip_folder: Path, folder: Path, *, seed: int) -> Path:
    """A model of the same architecture with other weights."""
    shutil.copytree(small_clip_folder, folder)
    state = load_file(folder / SAFE)
    state["logit_scale"] = np.asarray(seed / 100, dtype=np.float32)
    save_file(state, folder / SAFE)
    return folder


# without torch


def test_the_block_blocks(blocked, small_clip_folder, picture):
    ran = blocked(
        COMMAND_LINE, "classify", picture("red.png"), "--labels", "cat,dog",
        "--model", small_clip_folder, "--engine", "torch",
    )  # fmt: skip

    assert ran.returncode == 99 and "imported: ['torch'" in ran.stderr


def test_all_commands_run_without_torch_once_a_model_is_compiled(
    blocked, cache, small_clip_folder, picture, tmp_path
):
    red, model = picture("red.png"), ("--model", small_clip_folder, "--device", "cpu")
    new = blocked(COMMAND_LINE, "classify", red, "--labels", "cat,dog", *model)
    again = blocked(COMMAND_LINE, "classify", red, "--labels", "cat,dog", *model)
    head = tmp_path / "head.safetensors"
    built = blocked(COMMAND_LINE, "build-head", "--labels", "cat,emu", "-o", head, *model)
    headed = blocked(COMMAND_LINE, "classify", red, "--head", head, *model)
    others = [
        blocked(COMMAND_LINE, *words)
        for words in (
            ("models", "show", small_clip_folder),
            ("models", "compile", small_clip_folder),
            ("models", "list"),
            ("cache", "info"),
            ("cache", "verify"),
        )
    ]

    for ran in (new, again, built, headed, *others):
        assert ran.returncode == 0, (ran.args[3:], ran.stderr)
    assert new.stdout == again.stdout
    assert json.loads(headed.stdout)["label"] in ("cat", "emu")
    assert "1 from the cache" in built.stderr


def test_the_python_api_runs_without_torch_once_a_model_is_compiled(
    blocked, cache, small_clip_folder, picture
):
    code = """
from pathlib import Path
from zsclip import Classifier, build_head, load_head, load_model
folder, red = sys.argv[1:]
model = load_model(folder, device="cpu")
head = build_head(["cat", "dog"], model=model)
head.save(Path("head.safetensors"))
for labels in (["cat", "bird"], head, load_head(Path("head.safetensors"))):
    [result] = Classifier(labels, model=model).classify([red])
    assert result.label, result
[result] = Classifier(["cat", "dog"], model=folder, device="cpu").classify([red])
assert model.encode_image(red).shape == model.encode_text("a cat").shape == (1, 16)
assert model.logits_per_image(red, ["a cat", "a dog"]).shape == (1, 2)
sys.exit(str(tried) if tried else 0)
"""

    ran = blocked(code, small_clip_folder, picture("red.png"))

    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("models", "compile", "--help"),
        ("models", "compile"),
        ("models", "compile", "no such model"),
        ("cache", "clear", "--help"),
        ("classify", "a.png", "--labels", "a,b", "--engine", "onnx", "--device", "cuda"),
        ("classify", "a.png", "--labels", "a,b", "--engine", "tpu"),
        ("cache", "info"),
    ],
)
def test_help_and_usage_errors_load_no_engine(words):
    code = (
        "import sys; from zsclip.cli import main; main(sys.argv[1:])\n"
        "sys.exit(' '.join({'torch', 'open_clip', 'onnxruntime'} & set(sys.modules)) or 0)"
    )

    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True)

    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("zsclip models comp", ["compile"]),
        ("zsclip models compile tin", ["tiny"]),
        ("zsclip classify --engine ", ["auto", "onnx", "torch"]),
    ],
)
def test_the_shell_completes_what_is_about_compiling(words, expected):
    completing = {"_ZSCLIP_COMPLETE": "complete_bash", "COMP_WORDS": words}
    code = (
        "import sys, zsclip.cli\n"
        "try: zsclip.cli.make_app()(prog_name='zsclip')\n"
        "finally: print(*{'torch', 'onnxruntime', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **completing, "COMP_CWORD": str(len(words.split(" ")) - 1)},
        capture_output=True,
        text=True,
    )

    assert (ran.stdout.split(), ran.stderr) == (expected, "\n")


# the first use


def test_the_first_run_says_that_it_compiles_and_both_give_the_same_bytes(
    zsclip, small_clip_folder, picture
):
    command = (
        "classify", picture("red.png"), picture("blue.png", "blue"), "--labels", "cat,dog,emu",
        "--model", small_clip_folder, "--engine", "auto", "--device", "cpu",
    )  # fmt: skip

    first, second = zsclip(*command), zsclip(*command)

    assert first.code == second.code == 0
    assert first.stdout == second.stdout
    line = first.stderr.splitlines()[0]
    assert line.startswith(f"compiling {first.rows[0]['model']} once, for fast starts")
    assert first.stderr.removeprefix(f"{line}\n") == second.stderr


STUCK = """
import sys, threading, types
from zsclip.cli import run
from zsclip.engines import opening

def compile_into(folder, *_):
    (folder / "image.onnx").write_bytes(b"half")
    print("half", file=sys.stderr, flush=True)
    threading.Event().wait()

compiler = types.ModuleType("zsclip.engines.compile")  # its own module loads torch
compiler.compile_into, compiler.NotCompiledError = compile_into, LookupError
sys.modules[compiler.__name__] = compiler
opening._open_torch = lambda *_: types.SimpleNamespace(device="cpu", notes=())
run()
"""
"""The command line with a compiler that does not come to an end."""


@pytest.fixture
def start_compiling(small_clip_folder, picture):
    """A process that says that it is compiling."""

    def start(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *command, "classify", picture("red.png"), "--labels", "cat,dog",
             "--model", small_clip_folder, "--engine", "auto", "--device", "cpu"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline().startswith("compiling ")
        return process

    return start


def test_an_interrupt_while_compiling_leaves_nothing_half_made(start_compiling):
    process = start_compiling("-m", "zsclip")

    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)

    assert (process.returncode, stdout, stderr) == (130, "", "")
    assert [path for path in default_folder().glob("compiled/*") if path.is_dir()] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_half_way_leaves_nothing_half_made(start_compiling, number, code):
    process = start_compiling("-c", STUCK)
    assert process.stderr.readline() == "half\n"

    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)

    assert (process.returncode, stdout, stderr) == (code, "", "")
    assert [path for path in default_folder().glob("compiled/*") if path.is_dir()] == []


def test_after_a_killed_process_the_next_run_compiles(
    zsclip, compiler, small_clip_folder, start_compiling
):
    process = start_compiling("-c", STUCK)
    assert process.stderr.readline() == "half\n"

    process.kill()
    process.communicate(timeout=60)
    assert list(default_folder().glob("compiled/*/image.onnx")) != []
    ran = zsclip("models", "compile", small_clip_folder)

    assert ran.code == 0
    assert [path.suffix for path in sorted(default_folder().glob("compiled/*"))] == ["", ".lock"]


def test_quiet_compiles_without_a_word(zsclip, compiler, small_clip_folder):
    ran = zsclip("models", "compile", small_clip_folder, "-q")

    assert ran.code == 0 and ran.stderr == ""


def test_no_cache_compiles_nothing(zsclip, compiler, small_clip_folder, picture):
    ran = zsclip(
        "classify", picture("red.png"), "--labels", "cat,dog", "--model", small_clip_folder,
        "--engine", "auto", "--no-cache",
    )  # fmt: skip

    assert ran.code == 0 and "compiling" not in ran.stderr
    assert not default_folder().exists()


def test_no_cache_uses_what_is_compiled(zsclip, cache, small_clip_folder, picture, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("torch was opened")

    monkeypatch.setattr("zsclip.engines.torch_engine.TorchEngine", refuse)

    ran = zsclip(
        "classify", picture("red.png"), "--labels", "cat,dog", "--model", small_clip_folder,
        "--engine", "auto", "--device", "cpu", "--no-cache",
    )  # fmt: skip

    assert ran.code == 0
    assert not (cache / "text.sqlite3").exists()


def test_onnx_and_no_cache_without_a_compiled_model_is_exit_4(zsclip, small_clip_folder, picture):
    ran = zsclip(
        "classify", picture("red.png"), "--labels", "cat,dog", "--model", small_clip_folder,
        "--engine", "onnx", "--no-cache",
    )  # fmt: skip

    error, tip = ran.stderr.splitlines()
    assert (ran.code, ran.stdout) == (4, "")
    assert error.endswith("is not compiled, and --no-cache compiles nothing")
    assert tip == "tip: leave out --no-cache once, or use --engine torch"


def test_a_cache_folder_that_cannot_be_written_is_a_warning(
    zsclip, compiler, small_clip_folder, picture, tmp_path
):
    (tmp_path / "file").touch()

    ran = zsclip(
        "classify", picture("red.png"), "--labels", "cat,dog", "--model", small_clip_folder,
        "--engine", "auto", "--device", "cpu", "--cache-dir", tmp_path / "file",
    )  # fmt: skip

    assert ran.code == 0 and ran.rows[0]["status"] == "ok"
    assert ran.stderr.count("stays on the torch engine") == 1
    assert ran.stderr.count("warning: ") == 2  # and one for the text


def test_both_engines_give_the_same_scores(zsclip, cache, small_clip_folder, picture):
    pictures = [picture(f"{colour}.png", colour) for colour in ("red", "green", "blue")]
    rows = {}
    for engine in ("onnx", "torch"):
        ran = zsclip(
            "classify", *pictures, "--labels", "cat,dog,emu,a red square", "--device", "cpu",
            "--model", small_clip_folder, "--engine", engine, "--no-cache",
        )  # fmt: skip
        rows[engine] = {
            (row["path"], score["label"]): (score["score"], score["cosine"])
            for row in ran.rows
            for score in row["scores"]
        }

    assert rows["onnx"].keys() == rows["torch"].keys() and len(rows["onnx"]) == 12
    for key, (score, cosine) in rows["onnx"].items():
        assert abs(score - rows["torch"][key][0]) < 1e-4, key
        assert abs(cosine - rows["torch"][key][1]) < 1e-5, key


@pytest.mark.parametrize("engines", [("onnx", "torch"), ("torch", "onnx")])
def test_classes_of_one_engine_are_not_encoded_again_by_the_other(
    zsclip, cache, small_clip_folder, engines
):
    rows = [
        zsclip(
            "build-head", "--labels", "cat,dog", "--model", small_clip_folder, "--json",
            "--device", "cpu", "--engine", engine,
        ).rows[0]
        for engine in engines
    ]  # fmt: skip

    assert [row["from_cache"] for row in rows] == [0, 2]
    assert rows[0]["head"] == rows[1]["head"]


# models compile


def test_compile_prints_where_the_compiled_model_is(zsclip, compiler, small_clip_folder):
    first = zsclip("models", "compile", small_clip_folder)
    second = zsclip("models", "compile", small_clip_folder)

    folder = Path(first.stdout.strip())
    assert first.code == 0 and compiled.is_whole(folder)
    assert folder.parent == default_folder() / "compiled"
    assert first.stderr.startswith("compiling ")
    assert (second.code, second.stdout, second.stderr) == (0, first.stdout, "")


def test_compile_takes_another_cache_folder(zsclip, compiler, small_clip_folder, tmp_path):
    ran = zsclip("models", "compile", small_clip_folder, "--cache-dir", tmp_path / "other")

    assert Path(ran.stdout.strip()).parent == tmp_path / "other" / "compiled"
    assert compiled_models() == set()


def test_compile_needs_no_word_of_the_environment(zsclip, compiler, small_clip_folder, monkeypatch):
    monkeypatch.setenv("ZSCLIP_ENGINE", "torch")

    assert zsclip("models", "compile", small_clip_folder).code == 0
    assert len(compiled_models()) == 1


def test_an_unknown_name_is_found_before_anything_is_compiled(zsclip, compiler, small_clip_folder):
    ran = zsclip("models", "compile", small_clip_folder, "defualt")

    assert (ran.code, ran.stdout) == (2, "")
    assert "did you mean 'default'" in ran.stderr
    assert compiled_models() == set()


def test_a_model_that_is_not_here_does_not_stop_the_others(
    zsclip, compiler, loopback, small_clip_folder
):
    ran = zsclip("models", "compile", "hf-hub:acme/none", small_clip_folder)

    assert ran.code == 4
    assert compiled.is_whole(Path(ran.stdout.strip()))
    assert "error: model hf-hub:acme/none is not on this machine" in ran.stderr


def test_a_model_that_cannot_be_compiled_does_not_stop_the_others(
    zsclip, compiler, small_clip_folder, tmp_path
):
    other = copy_of(small_clip_folder, tmp_path / "odd-one", seed=7)
    compiler["odd-one"] = "it cannot be exported (no such operator)"

    ran = zsclip("models", "compile", other, small_clip_folder)
    compiler.clear()
    again = zsclip("models", "compile", other)

    assert ran.code == 4
    assert len(ran.stdout.splitlines()) == 1
    assert "cannot be compiled: it cannot be exported (no such operator)\n" in ran.stderr
    assert "tip: use --engine torch" in ran.stderr
    assert again.code == 0


@pytest.mark.parametrize("option", [("--revision", "main"), ("--sha256", "0" * 64)])
def test_a_pin_goes_with_one_model(zsclip, compiler, small_clip_folder, option):
    ran = zsclip("models", "compile", small_clip_folder, "tiny", *option)

    assert ran.code == 2 and "go with one model at a time" in ran.stderr
    assert compiled_models() == set()


# models pull, rm


@pytest.fixture
def shelf(loopback, small_clip_folder):
    """Two repositories of the hub whose models differ in their weights."""
    state = load_file(small_clip_folder / SAFE)
    for number, name in enumerate(("acme/one", "acme/two")):
        weights = save(state | {"logit_scale": np.asarray(number, dtype=np.float32)})
        loopback.repositories[name] = Repository(
            {SAFE: weights, CONFIG: json.dumps(SMALL_CLIP).encode()}, commit=f"{number}" * 40
        )
    return loopback


@pytest.fixture
def auto(monkeypatch):
    """The environment says nothing of engines."""
    monkeypatch.delenv("ZSCLIP_ENGINE")


def test_pull_compiles_along_the_way(zsclip, compiler, shelf, auto):
    ran = zsclip("models", "pull", "hf-hub:acme/one", "hf-hub:acme/two")
    again = zsclip("models", "pull", "hf-hub:acme/one")

    assert ran.code == 0 and len(ran.stdout.splitlines()) == 2
    assert compiled_models() == {"hf-hub:acme/one", "hf-hub:acme/two"}
    assert ran.stderr.count("compiling ") == 2
    assert (again.stdout, again.stderr) == (ran.stdout.splitlines(keepends=True)[0], "")


@pytest.mark.parametrize("by_environment", [False, True])
def test_pull_for_torch_compiles_nothing(
    zsclip, compiler, shelf, auto, monkeypatch, by_environment
):
    if by_environment:
        monkeypatch.setenv("ZSCLIP_ENGINE", "torch")

    ran = zsclip(
        "models", "pull", "hf-hub:acme/one", *(() if by_environment else ("--engine", "torch"))
    )

    assert ran.code == 0 and ran.stderr == ""
    assert compiled_models() == set()


def test_pull_of_a_model_that_cannot_be_compiled_is_a_warning(zsclip, compiler, shelf, auto):
    compiler["acme/one"] = "it cannot be exported"

    ran = zsclip("models", "pull", "hf-hub:acme/one")
    again = zsclip("models", "pull", "hf-hub:acme/one")

    assert ran.code == 0 and Path(ran.stdout.strip()).is_file()
    assert "stays on the torch engine: it cannot be exported\n" in ran.stderr
    assert (again.code, again.stdout, again.stderr) == (0, ran.stdout, "")


def test_pull_of_a_model_that_needs_an_extra_is_a_warning(
    zsclip, compiler, shelf, auto, monkeypatch
):
    from zsclip.errors import ModelError

    def refuse(config):
        raise ModelError("acme needs transformers", tip="pip install 'zsclip[hf]'")

    monkeypatch.setattr("zsclip.engines.torch_model.require_extras", refuse)

    ran = zsclip("models", "pull", "hf-hub:acme/one")

    assert ran.code == 0 and Path(ran.stdout.strip()).is_file()
    [line] = ran.stderr.splitlines()
    assert line.startswith("warning: hf-hub:acme/one@")
    assert line.endswith(" is not compiled: acme needs transformers")


def test_pull_for_onnx_insists_on_compiling(zsclip, compiler, shelf, auto):
    compiler["acme/one"] = "it cannot be exported"

    ran = zsclip("models", "pull", "hf-hub:acme/one", "hf-hub:acme/two", "--engine", "onnx")

    assert ran.code == 4 and "acme--two" in ran.stdout and "acme--one" not in ran.stdout
    assert compiled_models() == {"hf-hub:acme/two"}


def test_rm_deletes_what_was_compiled_of_that_repository_alone(zsclip, compiler, shelf, auto):
    zsclip("models", "pull", "hf-hub:acme/one", "hf-hub:acme/two")

    ran = zsclip("models", "rm", "hf-hub:acme/one", "--yes")

    assert ran.code == 0 and ran.stdout == ""
    assert ran.stderr.splitlines()[0].startswith("deleted hf-hub:acme/one (")
    assert ran.stderr.splitlines()[1].startswith("deleted what was compiled of hf-hub:acme/one@")
    assert compiled_models() == {"hf-hub:acme/two"}
    assert zsclip("models", "where", "hf-hub:acme/two").code == 0


def test_rm_looks_into_another_cache_folder(zsclip, compiler, shelf, auto, tmp_path):
    other = tmp_path / "other"
    zsclip("models", "pull", "hf-hub:acme/one", "--cache-dir", other)

    zsclip("models", "rm", "hf-hub:acme/one", "--yes", "--cache-dir", other)

    assert compiled.stored(other) == {}


# models show


def shown(zsclip, name: object, *options: object) -> tuple[object, object]:
    [facts] = zsclip("models", "show", name, "--json", *options).rows
    return facts["engine"], facts["compiled"]


def test_show_says_engine_and_where_the_compiled_model_is(
    zsclip, compiler, small_clip_folder, tmp_path
):
    before = shown(zsclip, small_clip_folder)
    folder = zsclip("models", "compile", small_clip_folder).stdout.strip()
    after = shown(zsclip, small_clip_folder)
    elsewhere = shown(zsclip, small_clip_folder, "--cache-dir", tmp_path / "elsewhere")

    assert before == elsewhere == ("onnx", None)
    assert after == ("onnx", folder)
    assert f"compiled          {folder}\n" in zsclip("models", "show", small_clip_folder).stdout


def test_show_says_why_a_model_stays_on_torch(zsclip, compiler, small_clip_folder):
    compiler["small-clip"] = "it cannot be exported"
    zsclip("models", "compile", small_clip_folder)
    failed = shown(zsclip, small_clip_folder)
    compiler.clear()
    zsclip("models", "compile", small_clip_folder)

    assert failed == ("torch: it cannot be exported", None)
    assert shown(zsclip, small_clip_folder)[0] == "onnx"


def test_show_says_that_weights_are_too_large(zsclip, small_clip_folder, monkeypatch):
    monkeypatch.setattr(opening, "LARGEST_BYTES", 1_000_000)

    engine, folder = shown(zsclip, small_clip_folder)

    assert str(engine).startswith("torch: its weights take 0.0") and folder is None


def test_show_knows_no_engine_of_weights_that_are_not_here(zsclip, loopback):
    assert shown(zsclip, "default") == (None, None)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x09" * 40])
def test_show_says_what_is_wrong_with_weights(zsclip, tmp_path, content):
    (tmp_path / CONFIG).write_text(json.dumps(SMALL_CLIP))
    (tmp_path / SAFE).write_bytes(content)

    engine, folder = shown(zsclip, tmp_path)

    assert str(engine).startswith(f"none: {tmp_path / SAFE}") and folder is None


def test_show_opens_no_pickle(zsclip, tmp_path):
    (tmp_path / "odd.pt").write_bytes(b"neither a pickle nor anything else")

    engine = shown(zsclip, "ViT-B-32", "--weights", tmp_path / "odd.pt")[0]

    assert engine == "onnx"  # only who opens it can tell


# cache


def test_the_cache_lists_compiled_models(zsclip, cache, small_clip_folder):
    [(folder, about)] = compiled.stored(cache).items()

    [info] = zsclip("cache", "info", "--json").rows
    lines = zsclip("cache", "info").stdout.splitlines()

    size = sum(path.stat().st_size for path in folder.iterdir() if path.name != compiled.ABOUT)
    assert info["compiled"] == [{"model": about.model, "path": str(folder), "size_bytes": size}]
    assert lines[-1] == f"{folder}: {size:,} bytes, compiled {about.model}"


def test_an_empty_cache_has_no_compiled_models(zsclip):
    assert zsclip("cache", "info", "--json").rows[0]["compiled"] == []


def test_pruning_leaves_compiled_models_alone(zsclip, cache):
    ran = zsclip("cache", "prune", "--older-than", "0")

    assert ran.code == 0 and len(compiled.stored(cache)) == 1


def test_clearing_deletes_compiled_models(zsclip, cache):
    zsclip("build-head", "--labels", "cat", "--model", "tiny", "--engine", "torch")

    ran = zsclip("cache", "clear")

    assert (ran.code, ran.stdout) == (0, "")
    assert {path.suffix for path in cache.rglob("*") if path.is_file()} == {".lock"}


def test_clearing_says_what_cannot_be_deleted(zsclip, cache, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)

    ran = zsclip("cache", "clear")

    assert ran.code == 5 and "cannot delete" in ran.stderr and "Permission denied" in ran.stderr


def test_verify_asks_the_compiled_text_tower(zsclip, cache, small_clip_folder, monkeypatch):
    monkeypatch.setenv("ZSCLIP_ENGINE", "onnx")
    zsclip("build-head", "--labels", "cat", "--model", small_clip_folder)

    ran = zsclip("cache", "verify", "--model", small_clip_folder)

    assert (ran.code, ran.stderr) == (0, "0 broken rows\n")


def test_verify_says_that_it_compiles(zsclip, compiler, cache, small_clip_folder, monkeypatch):
    for folder in compiled.stored(cache):
        shutil.rmtree(folder)
    monkeypatch.setenv("ZSCLIP_ENGINE", "onnx")

    ran = zsclip("cache", "verify", "--model", small_clip_folder)

    assert ran.stderr.startswith("compiling ")
