"""Weights: refused in plain words, told apart by digest, pinned, fetched once and quickly."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import pickle
import runpy
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_CLIP
from loopback_hub import COMMIT, Faults, Repository
from safetensors.numpy import save

from zsclip import hub
from zsclip.classifier import Classifier
from zsclip.errors import ModelError, NotFetchedError, UsageError
from zsclip.heads import load_head
from zsclip.loading import load_model
from zsclip.models import ModelSource, open_clip_tags, resolve
from zsclip.weights import PICKLE_REFUSED, check, digest, find, locate, names_in_repository

WHOLE = save({"a": np.arange(12, dtype=np.float32), "b": np.ones((2, 2), np.float32)})
OLDER = "0dd" + "1" * 37
SHA256 = hashlib.sha256(WHOLE).hexdigest()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 605\n"
SAFE, PICKLE, CONFIG = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_config.json",
)


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
    assert check(file(WHOLE)) is False


def test_a_file_without_tensors_is_whole(file):
    assert check(file(safetensors({}))) is False


def spans(*offsets):
    entries = {
        f"t{i}": {"dtype": "F32", "shape": [1], "data_offsets": o} for i, o in enumerate(offsets)
    }
    return safetensors(entries, bytes(8))


@pytest.mark.accepts("D3")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (WHOLE[:-10], f"is incomplete: {len(WHOLE) - 10} of {len(WHOLE)} bytes"),
        (WHOLE + b"xyz", "has 3 bytes too many"),
        (POINTER, "looks like a Git LFS pointer: run git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "looks like an HTML page"),
        (b"\n  <html><body>", "looks like an HTML page"),
        (pickle.dumps({"a": 1}, protocol=2), PICKLE_REFUSED),
        (pickle.dumps({"a": 1}, protocol=5), PICKLE_REFUSED),
        (b"PK\x03\x04" + bytes(60), PICKLE_REFUSED),
        (b"", "is empty"),
        (b"short", "is not a safetensors file"),
        (b"\x00" * 100, "is not a safetensors file"),
        (b"\xff" * 100, "is not a safetensors file"),
        (struct.pack("<Q", 1 << 60) + b'{"a":', "is not a safetensors file"),
        (struct.pack("<Q", 50 << 20) + b'{"a":', "is incomplete: 13 bytes, and its header alone"),
        (spans([0, 4], [2, 8]), "is damaged: its tensors overlap or leave gaps"),
        (spans([0, 8], [0, 8]), "is damaged: its tensors overlap or leave gaps"),
        (spans([0, 2], [4, 8]), "is damaged: its tensors overlap or leave gaps"),
        (spans([4, 8]), "is damaged: its tensors overlap or leave gaps"),
        (safetensors(b"{broken"), "is not a safetensors file"),
        (safetensors(b"{" + b'"a":{' * 100_000), "is not a safetensors file"),
        (safetensors({"a": 3}), "is not a safetensors file"),
        (safetensors({"a": {"data_offsets": [0]}}), "is not a safetensors file"),
        (safetensors({"a": {"data_offsets": [0, "x"]}}), "is not a safetensors file"),
    ],
    ids=[
        "truncated", "trailing", "lfs", "html", "html with blanks", "pickle", "new pickle",
        "zip pickle", "empty", "short", "zeros", "ones", "1 EB header", "header beyond the end",
        "overlap", "the same place", "gap", "gap in front", "broken json",
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


def test_a_folder_without_weights_never_gets_random_ones(model_folder):
    (model_folder / "open_clip_model.safetensors").unlink()

    with pytest.raises(ModelError, match="no weights"):
        locate(folder_source(model_folder), allow_pickle=True)


def test_a_folder_that_cannot_be_listed_is_refused(model_folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)

    with pytest.raises(ModelError, match="mine: cannot be read: permission denied"):
        locate(folder_source(model_folder))


def test_a_bare_architecture_takes_a_file(file):
    source = resolve("ViT-B-32", weights_file=file(WHOLE))

    local = locate(source)

    assert (local.digest, local.is_pickle, local.revision) == (SHA256, False, None)
    assert local.config.architecture == "ViT-B-32"


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


def test_a_file_changed_and_dated_back_has_a_digest_of_its_own(file):
    remembered: dict[str, str] = {}
    path = file(WHOLE)
    first, before = digest(path, remembered), path.stat()
    path.write_bytes(WHOLE[:-1] + b"\x01")
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of files has steps
        os.utime(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert path.stat().st_mtime_ns == before.st_mtime_ns
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


def test_a_pinned_file_is_read_whatever_the_hub_calls_it(tmp_path):
    name = "ab" * 32
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / name).write_bytes(WHOLE)

    assert digest(tmp_path / "blobs" / name, trust_name=False) == SHA256


# pinned by --sha256


@pytest.mark.parametrize("sha256", [SHA256, SHA256.upper()])
def test_the_file_that_is_asked_for_is_taken(file, sha256):
    source = resolve("ViT-B-32", weights_file=file(WHOLE))

    assert locate(source, sha256=sha256).digest == SHA256


@pytest.mark.accepts("D10")
def test_another_file_is_refused_with_both_hashes(file):
    source = resolve("ViT-B-32", weights_file=file(WHOLE))

    with pytest.raises(ModelError) as caught:
        locate(source, sha256="0" * 64)

    assert SHA256 in caught.value.message and "0" * 64 in caught.value.message


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, SHA256[:-1]])
def test_what_is_no_hash_is_a_usage_error(file, sha256):
    source = resolve("ViT-B-32", weights_file=file(WHOLE))

    with pytest.raises(UsageError, match="is not 64 hexadecimal digits"):
        locate(source, sha256=sha256)


# pickles, opened by the engine and only where they are allowed


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


ZIPPED = zipped(data=b"x" * 100)


@pytest.mark.accepts("D1")
@pytest.mark.parametrize("name", ["m.pt", "m.bin", "m.pth"])
@pytest.mark.parametrize("content", [ZIPPED, pickle.dumps({}, protocol=2), b"(dp0\n."])
def test_a_pickle_is_refused_unless_allowed(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ModelError) as caught:
        check(path)

    assert caught.value.message.endswith(PICKLE_REFUSED)
    assert check(path, allow_pickle=True) is True


@pytest.mark.accepts("D3")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ZIPPED[:-30], "is incomplete: a zip archive without its end"),
        (POINTER, "looks like a Git LFS pointer"),
        (b"<html>", "looks like an HTML page"),
        (b"", "is empty"),
    ],
    ids=["cut", "lfs", "html", "empty"],
)
def test_what_is_no_pickle_is_refused_all_the_same(tmp_path, content, reason):
    path = tmp_path / "m.pt"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=reason):
        check(path, allow_pickle=True)


@pytest.mark.accepts("D1")
@pytest.mark.parametrize("name", [PICKLE, "epoch_latest.pt", "m.pth"])
def test_a_folder_with_a_pickle_only(model_folder, name):
    (model_folder / SAFE).unlink()
    (model_folder / name).write_bytes(ZIPPED)

    with pytest.raises(ModelError) as caught:
        locate(folder_source(model_folder))
    local = locate(folder_source(model_folder), allow_pickle=True)

    assert caught.value.message == f"{model_folder / name}: {PICKLE_REFUSED}"
    assert local.is_pickle and local.weights == model_folder / name
    assert local.digest == hashlib.sha256(ZIPPED).hexdigest()


def test_safetensors_come_before_pickles(model_folder):
    (model_folder / PICKLE).write_bytes(ZIPPED)

    local = locate(folder_source(model_folder), allow_pickle=True)

    assert not local.is_pickle and local.weights.name == SAFE


# the hub's models


@pytest.fixture
def acme(loopback):
    """acme/small on the loopback hub; its weights are whole, and fit no architecture."""
    repository = Repository({SAFE: WHOLE, CONFIG: json.dumps(SMALL_CLIP).encode()})
    loopback.repositories["acme/small"] = repository
    return repository


SMALL = ModelSource("hf-hub:acme/small", repo="acme/small")


def test_a_model_of_the_hub_has_its_commit_and_digest(acme):
    local = locate(SMALL)

    assert (local.digest, local.revision, local.is_pickle) == (SHA256, COMMIT, False)
    assert local.config.context_length == 24


@pytest.mark.accepts("D8")
def test_a_model_of_the_hub_is_fetched_once(acme, loopback):
    first = locate(SMALL)
    loopback.requests.clear()

    assert locate(SMALL) == first
    assert locate(SMALL, offline=True).weights == first.weights
    assert loopback.requests == []


def test_a_tag_is_fetched_by_its_own_file(loopback):
    name = "ViT-B-32-256:datacomp_s34b_b86k"
    loopback.repositories[open_clip_tags()[name]["hf_hub"]] = Repository({SAFE: WHOLE})

    assert locate(resolve(name)).weights.name == SAFE
    assert sum(request.startswith("HEAD") for request in loopback.requests) == 2


@pytest.mark.accepts("D12")
def test_a_moved_branch_changes_nothing_until_it_is_named(acme):
    before = locate(SMALL)
    moved = "beef" + "0" * 36
    acme.others = {COMMIT: acme.files}
    acme.commit, acme.files = moved, {**acme.files, SAFE: save({"a": np.ones(3, np.float32)})}

    after = locate(SMALL, revision=moved)

    assert locate(SMALL) == before and before.revision == COMMIT
    assert after.revision == moved and after.digest != before.digest
    assert locate(SMALL, revision=COMMIT) == before


@pytest.mark.accepts("D12")
def test_configuration_and_weights_are_of_one_commit(acme):
    moved = "beef" + "0" * 36
    hub.fetch("acme/small", CONFIG)
    acme.others = {COMMIT: acme.files}
    acme.commit, acme.files = moved, {SAFE: save({"a": np.ones(3, np.float32)})}

    local = locate(SMALL)

    assert (local.revision, local.digest) == (COMMIT, SHA256)


@pytest.mark.parametrize("call", [locate, find])
def test_a_revision_of_a_folder_is_a_usage_error(model_folder, call):
    with pytest.raises(UsageError, match="--revision goes with a model of the hub; mine is none"):
        call(folder_source(model_folder), revision="main")


@pytest.mark.accepts("D10")
def test_a_pinned_download_is_refused_with_both_hashes(acme):
    with pytest.raises(ModelError) as caught:
        locate(SMALL, sha256="0" * 64)

    assert SHA256 in caught.value.message and "0" * 64 in caught.value.message
    assert locate(SMALL, sha256=SHA256).digest == SHA256


@pytest.mark.accepts("D10")
def test_a_pinned_file_of_the_cache_that_was_changed_is_refused(acme):
    blob = locate(SMALL).weights.resolve()
    blob.write_bytes(WHOLE[:-1] + b"\x01")

    with pytest.raises(ModelError, match="not the"):
        locate(SMALL, sha256=SHA256)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("ViT-B/32", (SAFE, PICKLE)),
        ("hf-hub:acme/small", (SAFE, PICKLE)),
        ("ViTamin-B:datacomp1b", ("pytorch_model.safetensors", "pytorch_model.bin")),
    ],
)
def test_weights_have_open_clips_names(name, names):
    assert names_in_repository(resolve(name)) == names


def test_the_names_of_all_tags_are_those_that_open_clip_tries():
    from open_clip.pretrained import _get_safe_alternatives, get_pretrained_cfg

    for name in open_clip_tags():
        architecture, _, tag = name.partition(":")
        file = get_pretrained_cfg(architecture, tag)["hf_hub"].rpartition("/")[2] or PICKLE
        assert names_in_repository(resolve(name)) == (*_get_safe_alternatives(file), file)


@pytest.mark.accepts("D1")
def test_a_repository_with_a_pickle_only(acme, loopback):
    del acme.files[SAFE]
    acme.files[PICKLE] = ZIPPED

    with pytest.raises(ModelError) as caught:
        locate(SMALL)
    local = locate(SMALL, allow_pickle=True)
    loopback.requests.clear()

    assert caught.value.message == f"hf-hub:acme/small: {PICKLE}: {PICKLE_REFUSED}"
    assert not any("GET" in r and PICKLE in r for r in loopback.requests)
    assert local.is_pickle and local.digest == hashlib.sha256(ZIPPED).hexdigest()
    assert locate(SMALL, allow_pickle=True) == local and loopback.requests == []


@pytest.mark.accepts("D1")
def test_a_pickle_of_the_cache_is_refused_unless_allowed(acme, loopback):
    del acme.files[SAFE]
    acme.files[PICKLE] = ZIPPED
    locate(SMALL, allow_pickle=True)
    loopback.requests.clear()

    with pytest.raises(ModelError) as caught:
        locate(SMALL, offline=True)

    assert caught.value.message.endswith(PICKLE_REFUSED)
    assert loopback.requests == []


def test_offline_nobody_is_asked_whether_a_pickle_would_help(acme, loopback):
    del acme.files[SAFE]
    acme.files[PICKLE] = ZIPPED
    with pytest.raises(ModelError):
        locate(SMALL)
    loopback.requests.clear()

    with pytest.raises(NotFetchedError, match=f"its repository has no {SAFE}"):
        locate(SMALL, offline=True)

    assert loopback.requests == []


def test_a_refused_pickle_says_why_there_are_no_safetensors(acme):
    acme.files[PICKLE] = ZIPPED
    hub.fetch("acme/small", PICKLE)
    hub.fetch("acme/small", CONFIG)

    with pytest.raises(ModelError) as caught:
        locate(SMALL, offline=True)

    assert caught.value.message.endswith(PICKLE_REFUSED)
    assert caught.value.tip == f"whether the hub has {SAFE} is not known: --offline is set"


@pytest.mark.parametrize("missing", [SAFE, CONFIG])
@pytest.mark.parametrize("allow_pickle", [False, True])
def test_a_repository_without_a_file(acme, missing, allow_pickle):
    del acme.files[missing]

    with pytest.raises(NotFetchedError) as caught:
        locate(SMALL, allow_pickle=allow_pickle)

    wanted = PICKLE if missing == SAFE and allow_pickle else missing
    message = f"model hf-hub:acme/small is not on this machine: its repository has no {wanted}"
    assert caught.value.message == message
    assert caught.value.tip is not None and "--model FOLDER" in caught.value.tip


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("roberta-ViT-B-32:laion2b_s12b_b32k", "transformers", "hf"),
        ("ViT-B-16-SigLIP2:webli", "tokenizers", "siglip"),
    ],
)
def test_a_model_that_cannot_be_run_is_not_downloaded(loopback, monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ModelError, match=f"needs {package}") as caught:
        locate(resolve(name))

    assert caught.value.tip == f"pip install 'zsclip[{extra}]'"
    assert loopback.requests == []


def test_the_way_out_of_a_missing_tag_is_its_own_name_with_a_file():
    with pytest.raises(NotFetchedError) as caught:
        locate(resolve("ViT-B/32"), offline=True)

    assert caught.value.message == (
        "model ViT-B/32 (ViT-B-32:openai) is not on this machine: --offline is set"
    )
    assert caught.value.tip is not None
    assert caught.value.tip.endswith("for a local file: --model ViT-B/32 --weights FILE")


def test_looking_for_weights_asks_nobody(acme, loopback, model_folder, file):
    assert find(SMALL) is None and loopback.requests == []
    fetched = locate(SMALL).weights

    assert find(SMALL) == find(SMALL, revision=COMMIT) == fetched
    assert find(SMALL, revision="v9") is None
    assert find(folder_source(model_folder)) == model_folder / SAFE
    assert find(resolve("ViT-B-32", weights_file=file(WHOLE))) == file(WHOLE)


def test_a_pickle_counts_as_here_only_where_it_is_allowed(acme):
    acme.files[PICKLE] = ZIPPED
    path = hub.fetch("acme/small", PICKLE)

    assert find(SMALL) is None
    assert find(SMALL, allow_pickle=True) == path


# on the command line


CLASSIFY = ("--labels", "cat,dog", "--template", "{}", "--device", "cpu")
BARE = ("--model", "ViT-B-32", "--tag", "laion2b_s34b_b79k")


@pytest.fixture
def refused(zsclip, picture):
    """Classify one picture; the run must be refused with exit 4 and one `error:` line."""

    def run(*arguments: object) -> str:
        ran = zsclip("classify", picture("red.png"), *CLASSIFY, *arguments)
        errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
        assert ran.code == 4 and ran.stdout == "" and "Traceback" not in ran.stderr, ran.stderr
        assert len(errors) == 1 and ran.stderr.splitlines()[0] == errors[0]
        return ran.stderr

    return run


def test_the_command_to_paste_leaves_out_what_goes_with_another_model(refused):
    said = refused("--model", "ViT-B/32", "--revision=main", "--sha256", SHA256, "--top-k", 1)

    assert said.splitlines()[-1].endswith(" --device cpu --top-k 1 --model tiny")


@pytest.mark.accepts("D1")
@pytest.mark.parametrize("name", ["m.pt", "m.bin", "m.pth", "m.safetensors"])
def test_a_pickle_file_is_exit_4_with_both_ways_out(refused, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(ZIPPED)

    said = refused(*BARE, "--weights", path).splitlines()[0]

    assert said == f"error: {path} ({len(ZIPPED)} bytes): {PICKLE_REFUSED}"
    assert "safetensors" in PICKLE_REFUSED and "--allow-pickle" in PICKLE_REFUSED


def test_offline_is_exit_4_for_what_is_not_cached(refused, acme, loopback):
    said = refused("--model", "hf-hub:acme/small", "--offline")

    assert "model hf-hub:acme/small is not on this machine: --offline is set" in said
    assert loopback.requests == []


@pytest.mark.accepts("D10")
def test_other_weights_than_pinned_are_exit_4(refused, small_clip_folder):
    said = refused("--model", small_clip_folder, "--sha256", "0" * 64)

    assert "0" * 64 in said and digest(small_clip_folder / SAFE) in said


@pytest.mark.accepts("D6")
def test_an_architecture_without_weights_is_never_run(zsclip, picture):
    ran = zsclip("classify", picture("red.png"), *CLASSIFY, "--model", "ViT-B-32")

    assert ran.code == 2 and ran.stdout == ""
    assert "names an architecture but no weights" in ran.stderr
    assert "--weights FILE" in ran.stderr and "'ViT-B-32:TAG'" in ran.stderr


@pytest.mark.accepts("D4")
def test_weights_of_another_architecture_are_exit_4(refused, small_clip_folder):
    said = refused(*BARE, "--weights", small_clip_folder / SAFE)

    assert "does not fit ViT-B-32: " in said
    assert "missing, e.g. visual.transformer.resblocks.1." in said
    assert "shape of positional_embedding is (24, 16), not (77, 512)" in said


def changed(folder, change):
    """The weights of a model folder after a change of their arrays."""
    from safetensors.torch import load_file, save_file

    state = load_file(folder / SAFE)
    change(state)
    save_file(state, folder / SAFE)


@pytest.mark.accepts("D5")
@pytest.mark.parametrize("key", ["visual.conv1.weight", "token_embedding.weight", "logit_scale"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_exit_4(refused, model_folder, key, value):
    changed(model_folder, lambda state: state[key].view(-1).__setitem__(slice(None), value))

    assert "features are not finite: damaged weights?" in refused("--model", model_folder)


@pytest.mark.accepts("D9", "D11")
@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        (Faults(status=429), "too many requests from here (status 429): try again later"),
        (Faults(status=500), "the hub is out of order (status 500): try again later"),
        (Faults(cut_at=100, cuts=99), "the download failed: peer closed connection"),
    ],
    ids=["429", "500", "cut"],
)
def test_a_hub_that_fails_is_exit_4(
    refused, acme, loopback, monkeypatch, tmp_path, faults, sentence
):
    locate(SMALL)
    shutil.rmtree(tmp_path / "hf" / "hub" / "models--acme--small" / "blobs")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    loopback.faults = faults

    said = refused("--model", "hf-hub:acme/small")

    assert "model hf-hub:acme/small is not on this machine: " in said and sentence in said
    assert str(tmp_path / "hf") in said
    assert said.splitlines()[-1].strip().startswith("zsclip classify ")
    assert said.splitlines()[-1].endswith("--model tiny")


@pytest.mark.accepts("D3")
def test_damaged_weights_of_the_hub_are_exit_4(refused, acme):
    acme.files[SAFE] = POINTER

    assert "looks like a Git LFS pointer" in refused("--model", "hf-hub:acme/small")


@pytest.mark.accepts("D8", "D12")
def test_results_and_heads_say_commit_and_digest(
    zsclip, loopback, small_clip_folder, picture, tmp_path, monkeypatch
):
    files = {path.name: path.read_bytes() for path in small_clip_folder.iterdir()}
    loopback.repositories["acme/real"] = Repository(files)
    model = ("--model", "hf-hub:acme/real", "--revision", COMMIT)

    built = zsclip("build-head", *CLASSIFY, *model, "-o", tmp_path / "h.safetensors", "--json")
    monkeypatch.setattr(socket.socket, "connect", None)  # from here on no network at all
    ran = zsclip("classify", picture("red.png"), *CLASSIFY, *model, "-v", "--offline")

    sha256 = hashlib.sha256(files[SAFE]).hexdigest()
    made = load_head(tmp_path / "h.safetensors").provenance
    assert built.code == ran.code == 0, ran.stderr
    assert (made.revision, made.weights_digest) == (COMMIT, sha256)
    assert built.rows[0]["revision"] == COMMIT and built.rows[0]["weights_sha256"] == sha256
    assert ran.rows[0]["model"] == f"hf-hub:acme/real@{sha256[:6]}"
    assert ran.rows[0]["revision"] == COMMIT
    assert COMMIT in ran.stderr and sha256 in ran.stderr


@pytest.mark.accepts("D12")
def test_a_head_alone_takes_the_commit_that_it_was_made_with(
    zsclip, loopback, small_clip_folder, picture, tmp_path
):
    files = {path.name: path.read_bytes() for path in small_clip_folder.iterdir()}
    repository = Repository({SAFE: WHOLE, CONFIG: files[CONFIG]}, others={OLDER: files})
    loopback.repositories["acme/real"] = repository
    head = tmp_path / "h.safetensors"
    made = zsclip(
        "build-head", *CLASSIFY, "--model", "hf-hub:acme/real", "--revision", OLDER, "-o", head
    )

    ran = zsclip("classify", picture("red.png"), "--head", head, "--device", "cpu")

    assert made.code == ran.code == 0, ran.stderr
    assert ran.rows[0]["revision"] == OLDER
    assert Classifier(load_head(head), device="cpu").model.local.revision == OLDER


@pytest.mark.accepts("D8")
def test_a_model_of_the_hub_answers_as_the_same_folder_does(loopback, small_clip_folder, tmp_path):
    files = {path.name: path.read_bytes() for path in small_clip_folder.iterdir()}
    loopback.repositories["acme/real"] = Repository(files)

    theirs = load_model("hf-hub:acme/real", device="cpu", use_cache=False)
    ours = load_model(str(small_clip_folder), device="cpu", use_cache=False)

    assert np.array_equal(theirs.encode_text(["a cat"]), ours.encode_text(["a cat"]))


# pickles that mean harm


class Runs:
    """Unpickled, it calls something."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


class Remembers:
    """Unpickled, it is given a state that calls something."""

    def __init__(self, payload):
        self.payload = payload

    def __reduce__(self):
        return dict, (), {"state": self.payload}


def payloads(canary: Path) -> dict[str, bytes]:
    """Checkpoints that would make the canary file, if anything in them were run."""
    import torch

    def torch_file(payload: object, **options: object) -> bytes:
        stream = io.BytesIO()
        torch.save({"state_dict": {"logit_scale": payload}}, stream, **options)
        return stream.getvalue()

    touch = f"touch {canary}"
    system = Runs(os.system, touch)
    opened = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    inner = pickle.dumps(system, protocol=2)
    script = canary.with_suffix(".py")
    script.write_text(opened)
    return {
        "pickle.pt": inner,
        "text.pt": f"cos\nsystem\n(S'{touch}'\ntR.".encode(),
        "newest.bin": pickle.dumps(system, protocol=5),
        "zip.pt": torch_file(system),
        "old.pt": torch_file(system, _use_new_zipfile_serialization=False),
        "tar.pt": tarred(pickle=inner, storages=inner, tensors=inner, sys_info=inner),
        "script.pt": zipped(**{"x/constants.pkl": inner, "x/data.pkl": inner, "x/version": b"3"}),
        "subprocess.pt": torch_file(Runs(subprocess.Popen, ["touch", str(canary)])),
        "spawn.pt": torch_file(Runs(os.posix_spawn, "/bin/touch", ["touch", str(canary)], {})),
        "exec.bin": torch_file(Runs(exec, opened)),
        "eval.pth": torch_file(Runs(eval, opened)),
        "open.pt": torch_file(Runs(open, str(canary), "w")),
        "import.pt": torch_file(Runs(runpy.run_path, str(script))),
        "getattr.pt": torch_file(Runs(getattr, Runs(__import__, "os"), "system")),
        "partial.pt": torch_file(Runs(functools.partial, Runs(os.system, touch))),
        "nested.pt": torch_file(Runs(pickle.loads, inner)),
        "state.pt": torch_file(Remembers(system)),
        "torch.pt": torch_file(Runs(torch.load, str(script), "cpu", None, False)),
        "named.safetensors": inner,
    }


def tarred(**members: bytes) -> bytes:
    """As torch before 0.1.10 wrote its files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture(scope="session")
def all_started() -> list[str]:
    """Every start of a program by this process, as Python's audit events have them."""
    events: list[str] = []
    kinds = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen")

    def note(event: str, _: tuple[object, ...]) -> None:
        if event.startswith(kinds):
            events.append(event)

    sys.addaudithook(note)
    return events


@pytest.fixture
def started(all_started):
    """Programs that this test starts."""
    all_started.clear()
    return all_started


@pytest.mark.accepts("D2")
def test_no_payload_is_run(refused, tmp_path, monkeypatch, started, tried):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    canary = tmp_path / "canary"
    hostile = payloads(canary)
    tried(len(hostile))

    for name, content in hostile.items():
        (tmp_path / name).write_bytes(content)
        options = (*BARE, "--weights", tmp_path / name, "--allow-pickle")
        assert str(tmp_path / name) in refused(*options).splitlines()[0]
        assert not canary.exists() and started == [], name


@pytest.mark.parametrize("name", ["pickle.pt", "text.pt", "state.pt", "nested.pt"])
def test_the_canary_sings_where_it_is_let(tmp_path, started, name):
    import torch

    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(payloads(canary)[name])

    with contextlib.suppress(AttributeError):  # what came of it has no such state
        if zipfile.is_zipfile(tmp_path / name):
            torch.load(tmp_path / name, weights_only=False)
        else:
            pickle.loads((tmp_path / name).read_bytes())

    assert canary.exists() and started == ["os.system"]


@pytest.mark.accepts("D2")
@pytest.mark.slow
def test_no_payload_is_run_in_a_process_of_its_own(python, picture, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "zip.pt"
    path.write_bytes(payloads(canary)["zip.pt"])
    arguments = ("classify", str(picture("red.png")), *CLASSIFY, "--allow-pickle")

    ran = python(
        "http://127.0.0.1:9",
        "-m", "zsclip", *arguments, *BARE, "--weights", str(path),
        TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1",
    )  # fmt: skip

    assert ran.returncode == 4 and ran.stdout == "" and not canary.exists()
    assert ran.stderr.startswith(f"error: {path}: ") and "Traceback" not in ran.stderr


# in a process of its own, with the settings that people have


def classify(picture, model="hf-hub:acme/small"):
    return ("-m", "zsclip", "classify", str(picture("red.png")), *CLASSIFY, "--model", model)


def assert_not_fetched(ran, tmp_path, model, reason):
    lines = ran.stderr.splitlines()
    assert ran.returncode == 4 and ran.stdout == ""
    assert lines[0].startswith("error: ") and model in lines[0] and reason in lines[0]
    assert str(tmp_path / "hf") in lines[1] and "HF_HUB_OFFLINE" in lines[1]
    assert "PROXY" in lines[1] and "--offline" in lines[1]
    assert lines[-1].strip().startswith("zsclip classify ") and lines[-1].endswith("--model tiny")
    assert "Traceback" not in ran.stderr


@pytest.mark.accepts("D7")
@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://hub.invalid"])
def test_no_network_is_an_answer_at_once(python, picture, tmp_path, address):
    started = time.monotonic()

    ran = python(address, *classify(picture, "default"))

    assert_not_fetched(ran, tmp_path, "default", f"{address} cannot be reached")
    assert time.monotonic() - started < 30, "not after retries"


@pytest.mark.accepts("D7")
def test_a_hub_that_never_answers_is_an_answer_in_seconds(python, picture, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()

        ran = python(f"http://127.0.0.1:{silent.getsockname()[1]}", *classify(picture))

    assert_not_fetched(ran, tmp_path, "hf-hub:acme/small", "no answer from")
    assert time.monotonic() - started < 30, "not after retries"


def test_offline_by_the_environment_says_so(python, picture, tmp_path):
    ran = python("http://127.0.0.1:9", *classify(picture), HF_HUB_OFFLINE="1")

    assert_not_fetched(ran, tmp_path, "hf-hub:acme/small", "HF_HUB_OFFLINE is set")


def test_a_pipe_is_no_weights_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ModelError, match="not a regular file"):
        check(tmp_path / "pipe")
