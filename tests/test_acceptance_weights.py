"""Weights that are bad, hostile or out of reach, by the command line; nothing is ever unpickled."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_CLIP, hub_environment
from loopback_hub import COMMIT, Faults, Repository
from safetensors.numpy import save

import zsclip as package
from zsclip import hub

SAFE, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
WHOLE = save({"a": np.arange(100_000, dtype=np.float32)})
LABELS = ("--labels", "cat,dog", "--template", "{}", "--device", "cpu")
BARE = ("--model", "ViT-B-32", "--tag", "laion2b_s34b_b79k")
REAL = "hf-hub:acme/real"


@pytest.fixture
def refused(zsclip, picture):
    """Classify one picture; the answer must be exit 4, no row, and one `error:` line."""

    def run(*arguments: object) -> str:
        ran = zsclip("classify", picture("red.png"), *LABELS, *arguments)
        errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
        assert ran.code == 4 and ran.stdout == "" and len(errors) == 1, ran
        assert "Traceback" not in ran.stderr
        return errors[0]

    return run


@pytest.fixture
def real(loopback, small_clip_folder):
    """acme/real on the loopback hub: a small model that runs."""
    files = {path.name: path.read_bytes() for path in small_clip_folder.iterdir()}
    loopback.repositories["acme/real"] = Repository(files)
    return loopback.repositories["acme/real"]


@pytest.fixture
def no_network(monkeypatch):
    """From the call on, whoever opens a socket or looks up a name fails the test."""
    from huggingface_hub import close_session

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a network call")

    def block() -> None:
        close_session()  # which has connections that are open
        for name in ("connect", "connect_ex", "bind", "sendto"):
            monkeypatch.setattr(socket.socket, name, refuse)
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            monkeypatch.setattr(socket, name, refuse)

    return block


@pytest.fixture
def no_waiting(monkeypatch):
    """The hub's library waits between attempts; here it does not."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


# what the files are


def with_spans(*offsets: list[int]) -> bytes:
    header = {
        f"t{i}": {"dtype": "F32", "shape": [1], "data_offsets": o} for i, o in enumerate(offsets)
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


NO_WEIGHTS = {
    "cut": (WHOLE[:-9], f"is incomplete: {len(WHOLE) - 9:,} of {len(WHOLE):,} bytes"),
    "cut in its header": (WHOLE[:50], "is incomplete: 50 bytes, and its header alone has"),
    "one byte too many": (WHOLE + b"x", "has 1 bytes too many"),
    "HTML": (b"<!DOCTYPE html><p>404", "looks like an HTML page"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer: run git lfs pull"),
    "1 EB header": (struct.pack("<Q", 1 << 60) + b"{}", "is not a safetensors file"),
    "overlap": (with_spans([0, 4], [2, 8]), "is damaged: its tensors overlap or leave gaps"),
    "empty": (b"", "is empty"),
    "text": (b"these are my weights\n", "is not a safetensors file"),
}


@pytest.mark.accepts("D3")
@pytest.mark.parametrize(("content", "reason"), NO_WEIGHTS.values(), ids=NO_WEIGHTS)
def test_what_are_no_weights_are_one_line_with_path_size_and_reason(
    refused, tmp_path, content, reason
):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)

    said = refused(*BARE, "--weights", path)

    assert said.startswith(f"error: {path} ({len(content):,} bytes): ") and reason in said


@pytest.mark.accepts("D4")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text_projection": 8}, "shape of text_projection is (16, 8), not (16, 16)"),
        ({"visual.proj": 8}, "shape of visual.proj is (32, 8), not (32, 16)"),
        ({"text_projection": 8, "visual.proj": 8}, "not (16, 16) (and 1 more)"),
        ({"visual.proj": None}, "1 key missing, e.g. visual.proj"),
    ],
    ids=["text width", "image width", "both", "a key"],
)
def test_weights_of_other_widths_are_not_run(refused, small_clip_folder, tmp_path, changes, reason):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(small_clip_folder, tmp_path / "mine"))
    state = load_file(folder / SAFE)
    for key, width in changes.items():
        value = state.pop(key)
        if width is not None:
            state[key] = value[:, :width].contiguous()
    save_file(state, folder / SAFE)

    said = refused("--model", folder)

    assert "does not fit mine: " in said and reason in said


@pytest.mark.accepts("D5")
@pytest.mark.parametrize("engine", ["onnx", "auto"])
@pytest.mark.parametrize("key", ["visual.conv1.weight", "text_projection", "logit_scale"])
def test_weights_that_are_not_finite_are_not_compiled_either(
    refused, small_clip_folder, tmp_path, key, engine
):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(small_clip_folder, tmp_path / "mine"))
    state = load_file(folder / SAFE)
    state[key].view(-1)[:] = float("nan")
    save_file(state, folder / SAFE)

    said = refused("--model", folder, "--engine", engine)

    assert "features are not finite: damaged weights?" in said
    assert not list((tmp_path / "cache").glob("compiled/*/*"))


# the hub


@pytest.mark.accepts("D8")
def test_a_fetched_model_gives_the_same_rows_without_a_network_call(
    zsclip, loopback, real, picture, no_network
):
    command = ("classify", picture("red.png"), *LABELS, "--model", REAL, "--no-cache")
    online = zsclip(*command)
    loopback.requests.clear()
    no_network()

    offline = zsclip(*command)

    assert loopback.requests == []
    assert online.code == offline.code == 0 and online.stdout == offline.stdout != ""


def blobs(tmp_path: Path) -> list[Path]:
    """Whole files of the repository in the hub's cache."""
    files = (tmp_path / "hf" / "hub" / "models--acme--real" / "blobs").glob("*")
    return [path for path in files if path.suffix != ".incomplete" and path.stat().st_size > 2000]


@pytest.mark.accepts("D9")
@pytest.mark.parametrize(
    "faults",
    [
        Faults(cut_at=30_000, cuts=99),
        Faults(cut_at=30_000, cuts=99, ignores_range=True),
        Faults(extra=b"x"),
        Faults(linked_size=99),
    ],
    ids=["cut", "cut, and Range ignored", "a byte too many", "wrong size"],
)
def test_a_download_that_fails_is_exit_4_and_the_next_run_succeeds(
    zsclip, loopback, real, tmp_path, no_waiting, faults
):
    loopback.faults = faults
    failed = zsclip("models", "pull", REAL)
    left = blobs(tmp_path)
    loopback.faults = Faults()

    pulled = zsclip("models", "pull", REAL)

    assert failed.code == 4 and "the download failed: " in failed.stderr and left == []
    assert pulled.code == 0 and Path(pulled.stdout.strip()).read_bytes() == real.files[SAFE]


@pytest.mark.accepts("D9")
def test_a_download_that_is_killed_leaves_no_file_and_the_next_run_succeeds(
    zsclip, loopback, real, tmp_path
):
    loopback.faults = Faults(waits_at=len(real.files[SAFE]) // 2)
    process = subprocess.Popen(
        [sys.executable, "-m", "zsclip", "models", "pull", REAL],
        env=hub_environment(loopback.address, tmp_path) | {"ZSCLIP_ENGINE": "torch"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert loopback.waiting.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    left = blobs(tmp_path), hub.cached("acme/real", SAFE)
    loopback.faults = Faults()

    pulled = zsclip("models", "pull", REAL)

    assert left == ([], None)
    assert pulled.code == 0 and Path(pulled.stdout.strip()).read_bytes() == real.files[SAFE]


@pytest.mark.accepts("D11")
def test_each_refusal_of_the_hub_has_its_own_sentence(zsclip, loopback, real, monkeypatch, tried):
    def pull(*, status: int = 200, needs_token: str | None = None, token: str = "") -> str:
        loopback.faults = Faults(status=status)
        real.needs_token = needs_token
        monkeypatch.setenv("HF_TOKEN", token)
        ran = zsclip("models", "pull", name)
        assert ran.code == 4 and "Traceback" not in ran.stderr
        return ran.stderr.splitlines()[0].partition("is not on this machine: ")[2]

    name = REAL
    said = [
        pull(needs_token="secret"),
        pull(needs_token="secret", token="expired"),
        *(pull(status=status) for status in (403, 429, 500)),
    ]
    del real.files[SAFE]
    said.append(pull())
    name = "hf-hub:acme/none"
    said.append(pull())
    tried(len(said))

    words = [
        "gated", "wrong or expired", "forbids", "too many requests", "out of order",
        f"has no {SAFE}", "no such repository",
    ]  # fmt: skip
    assert [word for word, line in zip(words, said, strict=True) if word not in line] == []


@pytest.mark.accepts("D12")
def test_a_moved_branch_is_seen_by_its_name_only_and_rows_say_the_commit(
    zsclip, real, picture, small_clip_folder
):
    command = ("classify", picture("red.png"), *LABELS, "--model", REAL)
    before = zsclip(*command).rows[0]
    moved = "beef" + "0" * 36
    real.others = {COMMIT: real.files}
    config = {**SMALL_CLIP, "preprocess_cfg": {"mean": [0.1] * 3, "std": [1.0] * 3}}
    real.commit, real.files = moved, {**real.files, CONFIG: json.dumps(config).encode()}

    unmoved = zsclip(*command).rows[0]
    after = zsclip(*command, "--revision", moved).rows[0]
    pinned = zsclip(*command, "--revision", COMMIT).rows[0]

    assert before["revision"] == COMMIT and before == unmoved == pinned
    assert after["revision"] == moved and after["score"] != before["score"]


# nothing in the package reads programs as data


FORBIDDEN_MODULES = {
    "pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib",
    "jsonpickle", "runpy", "code", "pandas",
}  # fmt: skip
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "os.system",
    "os.popen", "torch.jit.load", "torch.package.PackageImporter", "torch.hub.load",
    "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.unsafe_load_all",
}  # fmt: skip
KNOWN = {
    ("engines/checkpoint.py", "torch.jit.load"),  # of OpenAI's nine archives, by their sha256
}


def dotted(node: ast.expr) -> str:
    """`torch.jit.load` of such a name or attribute; empty for other expressions."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def dangers(source: str) -> set[str]:
    """What a module imports or calls that may run a program that it reads."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if is_forbidden(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {str(node.module)} if is_forbidden(str(node.module)) else set()
            found |= names & FORBIDDEN_CALLS | names & {"torch.load", "numpy.load", "yaml.load"}
        elif isinstance(node, ast.Call):
            found |= dangers_of_call(node)
    return found


def is_forbidden(module: str) -> bool:
    return module.partition(".")[0] in FORBIDDEN_MODULES


def dangers_of_call(call: ast.Call) -> set[str]:
    name = dotted(call.func)
    options = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name in FORBIDDEN_CALLS:
        return {name}
    if name == "torch.load" and options.get("weights_only") != "True":
        return {"torch.load"}
    if name == "yaml.load" and options.get("Loader") != "_PlainLoader":
        return {"yaml.load"}
    if options.get("allow_pickle", "False") != "False" and name.endswith(".load"):
        return {name}
    return set()


@pytest.mark.accepts("D2")
def test_no_module_reads_pickles_or_runs_what_it_reads(tried):
    root = Path(package.__file__).parent
    modules = {str(path.relative_to(root)): path for path in root.rglob("*.py")}
    tried(len(modules))

    found = {
        (name, danger)
        for name, path in modules.items()
        for danger in dangers(path.read_text(encoding="utf-8"))
    }

    assert found == KNOWN


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "import os, marshal", "from shelve import open", "import dill.source",
        "eval('1')", "exec(text)", "__import__(name)", "compile(text, 'x', 'exec')",
        "import torch\ntorch.load(path)", "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)", "from torch import load", "torch.jit.load(path)",
        "np.load(path, allow_pickle=True)", "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)", "from yaml import unsafe_load", "os.system(command)",
    ],
)  # fmt: skip
def test_the_search_sees_what_it_looks_for(source):
    assert dangers(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()", "torch.load(path, weights_only=True)", "re.compile(pattern)",
        "np.load(path, allow_pickle=False)", "yaml.load(text, Loader=_PlainLoader)", "json.load(f)",
    ],
)  # fmt: skip
def test_the_search_passes_what_is_harmless(source):
    assert dangers(source) == set()
