"""Weights: refused in plain words, told apart by digest, fetched once, asked for quickly."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from zsclip import weights
from zsclip.errors import ModelError, NotFetchedError
from zsclip.models import ModelSource, resolve
from zsclip.weights import check, digest, is_local, locate

WHOLE = save({"a": np.arange(12, dtype=np.float32), "b": np.ones((2, 2), np.float32)})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 605\n"


@pytest.fixture
def file(tmp_path):
    def make(content: bytes) -> Path:
        path = tmp_path / "w.safetensors"
        path.write_bytes(content)
        return path

    return make


def safetensors(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


# refusals


def test_a_whole_file_is_accepted(file):
    assert check(file(WHOLE)) is None


def test_a_file_without_tensors_is_whole(file):
    assert check(file(safetensors({}))) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (WHOLE[:-10], f"is incomplete: {len(WHOLE) - 10} of {len(WHOLE)} bytes"),
        (WHOLE + b"xyz", "has 3 bytes too many"),
        (POINTER, "looks like a Git LFS pointer: run git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "looks like an HTML page"),
        (b"\n  <html><body>", "looks like an HTML page"),
        (pickle.dumps({"a": 1}, protocol=2), "is a pickle checkpoint"),
        (b"PK\x03\x04" + bytes(60), "is a pickle checkpoint"),
        (b"", "is not a safetensors file"),
        (b"short", "is not a safetensors file"),
        (b"\x00" * 100, "is not a safetensors file"),
        (b"\xff" * 100, "is not a safetensors file"),
        (struct.pack("<Q", 1 << 60) + b'{"a":', "is not a safetensors file"),
        (struct.pack("<Q", 50 << 20) + b'{"a":', "is not a safetensors file"),
        (safetensors(b"{broken"), "is not a safetensors file"),
        (safetensors(b"{" + b'"a":{' * 100_000), "is not a safetensors file"),
        (safetensors({"a": 3}), "is not a safetensors file"),
        (safetensors({"a": {"data_offsets": [0]}}), "is not a safetensors file"),
        (safetensors({"a": {"data_offsets": [0, "x"]}}), "is not a safetensors file"),
    ],
    ids=[
        "truncated", "trailing", "lfs", "html", "html with blanks", "pickle", "zip pickle", "empty",
        "short", "zeros", "ones", "1 EB header", "header beyond the end", "broken json",
        "deep json", "no entry", "one offset", "text offset",
    ],
)  # fmt: skip
def test_other_files_are_refused_in_plain_words(file, content, reason):
    path = file(content)

    with pytest.raises(ModelError) as caught:
        check(path)

    assert reason in caught.value.message
    assert str(path) in caught.value.message and f"({len(content):,} bytes)" in caught.value.message


def test_a_pickle_is_refused_without_running_it(tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    (tmp_path / "open_clip_model.safetensors").write_bytes(pickle.dumps(Payload(), protocol=2))

    with pytest.raises(ModelError, match="pickle"):
        check(tmp_path / "open_clip_model.safetensors")

    assert not canary.exists()


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read: no such file"):
        check(tmp_path / "none.safetensors")


def test_a_folder_is_not_a_weights_file(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        check(tmp_path)


# folders


def folder_source(folder):
    return ModelSource("mine", folder=folder)


@pytest.fixture
def model_folder(small_clip_folder, tmp_path):
    return Path(shutil.copytree(small_clip_folder, tmp_path / "mine"))


def test_a_folder_gives_configuration_weights_and_digest(small_clip_folder):
    local = locate(folder_source(small_clip_folder))

    content = (small_clip_folder / "open_clip_model.safetensors").read_bytes()
    assert local.digest == hashlib.sha256(content).hexdigest()
    assert local.id == f"mine@{local.digest[:6]}" and local.config.context_length == 24


def test_other_names_are_found_where_there_is_one_file(model_folder):
    (model_folder / "open_clip_model.safetensors").rename(model_folder / "x.safetensors")

    assert locate(folder_source(model_folder)).weights == model_folder / "x.safetensors"


def test_the_usual_name_comes_first(model_folder):
    shutil.copy(model_folder / "open_clip_model.safetensors", model_folder / "a.safetensors")

    assert locate(folder_source(model_folder)).weights.name == "open_clip_model.safetensors"


def test_several_weights_are_not_guessed_between(model_folder):
    (model_folder / "open_clip_model.safetensors").rename(model_folder / "a.safetensors")
    shutil.copy(model_folder / "a.safetensors", model_folder / "b.safetensors")

    with pytest.raises(ModelError, match=r"several weights: a\.safetensors, b\.safetensors"):
        locate(folder_source(model_folder))


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "epoch_latest.pt", "m.pth"])
def test_a_folder_with_a_pickle_only_is_refused(model_folder, name):
    (model_folder / "open_clip_model.safetensors").rename(model_folder / name)

    with pytest.raises(ModelError, match=f"{name} is a pickle checkpoint"):
        locate(folder_source(model_folder))


def test_a_folder_without_weights_never_gets_random_ones(model_folder):
    (model_folder / "open_clip_model.safetensors").unlink()

    with pytest.raises(ModelError, match="no weights"):
        locate(folder_source(model_folder))


def test_a_bare_architecture_takes_a_file(file):
    source = resolve("ViT-B-32", weights_file=file(WHOLE))

    local = locate(source)

    assert local.digest == hashlib.sha256(WHOLE).hexdigest()
    assert local.config.architecture == "ViT-B-32"


@pytest.mark.parametrize("name", ["tiny", "./x"])
def test_models_in_folders_are_local(name):
    assert is_local(ModelSource(name, folder=Path(name)))


# digests


def test_a_digest_is_the_sha256_of_the_file(file):
    assert digest(file(WHOLE)) == hashlib.sha256(WHOLE).hexdigest()


def test_a_digest_is_remembered(file, monkeypatch):
    path, remembered = file(WHOLE), {}
    first = digest(path, remembered)

    def compute(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(hashlib, "file_digest", compute)

    assert digest(path, remembered) == first and len(remembered) == 1


def test_a_file_replaced_under_its_name_has_a_digest_of_its_own(file, tmp_path):
    remembered: dict[str, str] = {}
    first = digest(file(WHOLE), remembered)
    other = tmp_path / "other"
    other.write_bytes(WHOLE[:-1] + b"\x01")
    os.replace(other, tmp_path / "w.safetensors")

    assert digest(tmp_path / "w.safetensors", remembered) != first


def test_a_file_changed_in_place_has_a_digest_of_its_own(file):
    remembered: dict[str, str] = {}
    path = file(WHOLE)
    first = digest(path, remembered)
    path.write_bytes(WHOLE[:-1] + b"\x01")
    os.utime(path, ns=(1, 1))

    assert digest(path, remembered) != first


def test_the_hubs_own_digest_is_taken(tmp_path, monkeypatch):
    name = "ab" * 32
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / name).write_bytes(WHOLE)
    (tmp_path / "open_clip_model.safetensors").symlink_to(tmp_path / "blobs" / name)

    assert digest(tmp_path / "open_clip_model.safetensors") == name


@pytest.mark.parametrize("name", ["ab" * 20, "AB" * 32, "x" * 64])
def test_a_blob_that_is_not_named_by_its_sha256_is_digested(tmp_path, name):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / name).write_bytes(WHOLE)

    assert digest(tmp_path / "blobs" / name) == hashlib.sha256(WHOLE).hexdigest()


# the hub


def test_offline_is_an_answer_at_once(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(NotFetchedError, match="HF_HUB_OFFLINE is set"):
        weights.fetch(ModelSource("hf-hub:acme/none", repo="acme/none"), "x.safetensors")


COMMIT = "c0ffee" + "0" * 34


class Hub:
    """What a client of the hub sees, on 127.0.0.1."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[str] = []
        self.statuses: dict[str, tuple[int, str]] = {}
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                hub.requests.append(f"{self.command} {self.path}")
                repo, _, name = self.path.strip("/").partition("/resolve/main/")
                status, code = hub.statuses.get(repo, (200, ""))
                if status == 200 and repo != "acme/small":
                    status, code = 404, "RepoNotFound"
                elif status == 200 and name not in hub.files:
                    status, code = 404, "EntryNotFound"
                content = hub.files[name] if status == 200 else b""
                self.send_response(status)
                if code:
                    self.send_header("X-Error-Code", code)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(small_clip_folder):
    hub = Hub({path.name: path.read_bytes() for path in small_clip_folder.iterdir()})
    yield hub
    hub.close()


@pytest.fixture
def run(tmp_path):
    """Run Python in a process of its own whose hub is at this address."""
    home = tmp_path / "hf"

    def run(address: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "ZSCLIP_"))}
        kept = {k: v for k, v in kept.items() if not k.lower().endswith("_proxy")}
        settings = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "ZSCLIP_CACHE_DIR": str(tmp_path / "cache"),
        }
        return subprocess.run(
            [sys.executable, *arguments],
            env={**kept, **settings, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )

    return run


LOCATE = """
from zsclip.models import resolve
from zsclip.weights import locate
local = locate(resolve("hf-hub:acme/small"))
print(local.digest, local.revision, local.config.context_length)
"""


def command(tmp_path, model="hf-hub:acme/small"):
    picture = tmp_path / "red.png"
    Image.new("RGB", (20, 20), "red").save(picture)
    return ("-m", "zsclip", "classify", str(picture), "--labels", "cat,dog", "--model", model)


def test_a_model_of_the_hub_is_fetched_once_and_then_needs_no_network(
    hub, run, tmp_path, small_clip_folder
):
    content = (small_clip_folder / "open_clip_model.safetensors").read_bytes()

    first = run(hub.address, "-c", LOCATE)
    fetched = list(hub.requests)
    hub.requests.clear()
    second = run(hub.address, "-c", LOCATE)

    assert first.stdout.split() == [hashlib.sha256(content).hexdigest(), COMMIT, "24"], first.stderr
    assert sum(request.startswith("GET /acme/small") for request in fetched) == 2
    assert (second.stdout, hub.requests) == (first.stdout, [])


@pytest.mark.slow
def test_a_fetched_model_classifies_with_the_hub_gone(hub, run, tmp_path):
    run(hub.address, "-c", LOCATE)
    hub.requests.clear()

    ran = run("http://127.0.0.1:9", *command(tmp_path))

    assert ran.returncode == 0, ran.stderr
    row = json.loads(ran.stdout)
    assert row["status"] == "ok" and row["model"].startswith("hf-hub:acme/small@")
    assert hub.requests == []


def assert_not_fetched(ran, tmp_path, model, reason):
    lines = ran.stderr.splitlines()
    assert ran.returncode == 4 and ran.stdout == ""
    assert model in lines[0] and reason in ran.stderr
    assert str(tmp_path / "hf") in ran.stderr
    assert lines[-1].strip().startswith("zsclip classify ")
    assert lines[-1].endswith("--labels cat,dog --model tiny")
    assert "Traceback" not in ran.stderr


def test_a_repository_that_is_not_there_is_exit_4(hub, run, tmp_path):
    ran = run(hub.address, *command(tmp_path, "hf-hub:acme/none"))

    assert_not_fetched(ran, tmp_path, "hf-hub:acme/none", "no such repository, or it is private")


def test_a_repository_without_safetensors_is_exit_4(hub, run, tmp_path):
    del hub.files["open_clip_model.safetensors"]

    ran = run(hub.address, *command(tmp_path))

    assert_not_fetched(
        ran, tmp_path, "hf-hub:acme/small", "its repository has no open_clip_model.safetensors"
    )


def test_a_repository_without_a_configuration_is_exit_4(hub, run, tmp_path):
    del hub.files["open_clip_config.json"]

    ran = run(hub.address, *command(tmp_path))

    assert_not_fetched(
        ran, tmp_path, "hf-hub:acme/small", "its repository has no open_clip_config.json"
    )


def test_a_gated_repository_says_so(hub, run, tmp_path):
    hub.statuses["acme/small"] = (403, "GatedRepo")

    ran = run(hub.address, *command(tmp_path))

    assert_not_fetched(ran, tmp_path, "hf-hub:acme/small", "it is gated")


def test_a_hub_that_refuses_says_its_status(hub, run, tmp_path):
    hub.statuses["acme/small"] = (403, "")

    ran = run(hub.address, *command(tmp_path))

    assert_not_fetched(ran, tmp_path, "hf-hub:acme/small", "status 403")


def test_no_network_is_an_answer_at_once(run, tmp_path):
    started = time.monotonic()

    ran = run("http://127.0.0.1:9", *command(tmp_path, "default"))

    assert_not_fetched(ran, tmp_path, "default", "cannot be reached")
    assert time.monotonic() - started < 10


def test_a_name_that_cannot_be_looked_up_is_an_answer_at_once(run, tmp_path):
    ran = run("http://hub.invalid", *command(tmp_path))

    assert_not_fetched(ran, tmp_path, "hf-hub:acme/small", "http://hub.invalid")


def test_a_hub_that_never_answers_is_an_answer_within_ten_seconds(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()

        ran = run(f"http://127.0.0.1:{silent.getsockname()[1]}", *command(tmp_path))

    assert_not_fetched(ran, tmp_path, "hf-hub:acme/small", "no answer from")
    assert time.monotonic() - started < 10


def test_offline_names_the_variable(run, tmp_path):
    ran = run("http://127.0.0.1:9", *command(tmp_path), HF_HUB_OFFLINE="1")

    assert_not_fetched(ran, tmp_path, "hf-hub:acme/small", "HF_HUB_OFFLINE is set")


def test_damaged_weights_of_the_hub_are_refused(hub, run, tmp_path):
    hub.files["open_clip_model.safetensors"] = POINTER

    ran = run(hub.address, *command(tmp_path))

    assert ran.returncode == 4 and "looks like a Git LFS pointer" in ran.stderr
