"""The hub's files: cache first, asked for quickly, refused in plain words, never half a file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import hub_environment
from loopback_hub import COMMIT, Faults, LoopbackHub, Repository
from safetensors.numpy import save

from zsclip import hub
from zsclip.errors import ModelError, NotFetchedError, OutputError

WEIGHTS = save({"a": np.arange(100_000, dtype=np.float32)})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
LARGE, SMALL = "open_clip_model.safetensors", "open_clip_config.json"
OLDER = "0dd" + "1" * 37

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def acme(loopback: LoopbackHub) -> Repository:
    """acme/small on the loopback hub."""
    files = {LARGE: WEIGHTS, SMALL: b"{}"}
    repository = Repository(files, others={OLDER: {SMALL: b"older"}, "v1": {SMALL: b"v1"}})
    loopback.repositories["acme/small"] = repository
    return repository


def cache_of(folder: Path) -> list[str]:
    """Every file of the repository in the cache, without git's references and locks."""
    root = folder / "hf" / "hub" / "models--acme--small"
    files = [path for path in root.rglob("*") if path.is_file() or path.is_symlink()]
    return sorted(
        str(path.relative_to(root)) for path in files if path.relative_to(root).parts[0] != "refs"
    )


def final_files(folder: Path) -> list[str]:
    return [name for name in cache_of(folder) if not name.endswith(".incomplete")]


# what goes well


@pytest.mark.parametrize(("name", "content"), [(LARGE, WEIGHTS), (SMALL, b"{}")])
def test_a_file_is_downloaded_whole(acme, name, content):
    path = hub.fetch("acme/small", name)

    assert path.read_bytes() == content
    assert path.name == name and path.parent.name == COMMIT


@pytest.mark.accepts("D8")
def test_a_file_of_the_cache_asks_nobody(acme, loopback, monkeypatch):
    first = hub.fetch("acme/small", LARGE)
    loopback.requests.clear()

    def refuse(*_: object) -> None:
        raise AssertionError("a network call")

    for name in ("connect", "connect_ex", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    assert hub.fetch("acme/small", LARGE) == hub.cached("acme/small", LARGE) == first
    assert loopback.requests == []


def test_what_is_not_cached_is_not_asked_for_by_looking(acme, loopback):
    assert hub.cached("acme/small", LARGE) is None
    assert loopback.requests == []


def test_the_question_comes_before_the_download(acme, loopback):
    hub.fetch("acme/small", LARGE)

    kinds = [request.split("/")[0] for request in loopback.requests]
    assert kinds[0] == "HEAD " and kinds.count("GET ") == 1


@pytest.mark.accepts("D12")
@pytest.mark.parametrize(("revision", "content"), [("v1", b"v1"), (OLDER, b"older")])
def test_a_revision_is_pinned(acme, revision, content):
    hub.fetch("acme/small", SMALL)

    path = hub.fetch("acme/small", SMALL, revision=revision)

    assert path.read_bytes() == content and len(path.parent.name) == 40
    assert path.parent.name == revision or revision == "v1"
    assert hub.cached("acme/small", SMALL, revision=revision) == path
    assert hub.cached("acme/small", SMALL) != path


@pytest.mark.accepts("D12")
def test_a_cached_file_stays_when_its_branch_moves(acme):
    before = hub.fetch("acme/small", SMALL)
    acme.commit, acme.files = "beef" + "0" * 36, {SMALL: b"moved"}

    assert hub.fetch("acme/small", SMALL) == before
    assert hub.fetch("acme/small", SMALL, revision=acme.commit).read_bytes() == b"moved"


def test_a_file_that_a_commit_does_not_have_is_asked_for_once(acme, loopback):
    with pytest.raises(hub.MissingFileError):
        hub.fetch("acme/small", "none.json", revision=COMMIT)
    loopback.requests.clear()

    with pytest.raises(hub.MissingFileError):
        hub.fetch("acme/small", "none.json", revision=COMMIT, offline=True)

    assert loopback.requests == []


def test_a_file_that_a_branch_does_not_have_may_come_later(acme):
    with pytest.raises(hub.MissingFileError):
        hub.fetch("acme/small", "new.json")
    acme.commit, acme.files = "beef" + "0" * 36, {"new.json": b"new"}

    assert hub.fetch("acme/small", "new.json").read_bytes() == b"new"


def test_the_token_goes_to_the_hub_and_not_to_its_store(acme, loopback, monkeypatch):
    acme.needs_token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    hub.fetch("acme/small", LARGE)

    asked = dict(zip(loopback.requests, loopback.tokens, strict=True))
    assert {token for url, token in asked.items() if "/resolve/" in url} == {"Bearer hf_secret"}
    assert {token for url, token in asked.items() if "/large/" in url} == {None}


def test_a_proxy_and_the_address_of_the_hub_are_respected(acme, loopback, python):
    fetch = f"from zsclip import hub; print(hub.fetch('acme/small', {LARGE!r}))"

    ran = python("http://hub.example", "-c", fetch, HTTP_PROXY=loopback.address)

    assert Path(ran.stdout.strip()).read_bytes() == WEIGHTS, ran.stderr
    assert loopback.requests[0] == f"HEAD http://hub.example/acme/small/resolve/main/{LARGE}"


@pytest.mark.parametrize("hidden", [False, True])
def test_bars_are_afterwards_as_they_were(acme, hidden):
    from huggingface_hub import utils

    bars = utils.disable_progress_bars() if hidden else contextlib.nullcontext()
    with bars:
        hub.fetch("acme/small", LARGE)
        after = utils.are_progress_bars_disabled()

    assert after is hidden


# refusals, each a sentence of its own


def reason(name: str = LARGE, **options: object) -> str:
    started = time.monotonic()
    with pytest.raises(NotFetchedError) as caught:
        hub.fetch("acme/small", name, **options)
    assert time.monotonic() - started < 30, "not after retries"
    assert "\n" not in caught.value.message
    return caught.value.reason


@pytest.mark.accepts("D11")
def test_a_repository_that_is_not_there(loopback, acme):
    loopback.repositories.clear()

    assert reason() == "the hub has no such repository, or it is private (then set HF_TOKEN)"


@pytest.mark.accepts("D11")
def test_a_file_that_is_not_there(acme):
    assert reason("none.json") == "its repository has no none.json"


@pytest.mark.parametrize("name", ["acme/small.git", "a b", "a/b/c", "a--b", ""])
def test_a_name_that_no_repository_can_have(loopback, name):
    for look in (hub.cached, hub.fetch):
        with pytest.raises(ModelError, match=f"can have the name {name!r}"):
            look(name, SMALL)

    assert loopback.requests == []


@pytest.mark.accepts("D11")
def test_a_revision_that_is_not_there(acme):
    assert reason(revision="v9") == "it has no revision 'v9'"


@pytest.mark.accepts("D11")
@pytest.mark.parametrize("token", [None, "hf_of_somebody_else"])
def test_a_gated_repository(acme, monkeypatch, token):
    acme.needs_token = "hf_secret"
    if token:
        monkeypatch.setenv("HF_TOKEN", token)

    assert reason() == "it is gated: accept its terms on the hub, then set HF_TOKEN"


@pytest.mark.accepts("D11")
def test_a_token_that_has_expired(acme, monkeypatch):
    acme.needs_token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "expired")

    assert reason() == (
        "the hub refuses (status 401): the access token HF_TOKEN is missing, wrong or expired"
    )


@pytest.mark.accepts("D11")
@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (403, "the hub forbids it (status 403): HF_TOKEN has no access to it"),
        (429, "the hub has had too many requests from here (status 429): try again later"),
        (500, "the hub is out of order (status 500): try again later"),
        (503, "the hub is out of order (status 503): try again later"),
        (418, "the hub answered with status 418"),
    ],
)
def test_a_status_is_an_answer_at_once(acme, loopback, status, sentence):
    loopback.faults = Faults(status=status)

    assert reason() == sentence
    assert len(loopback.requests) == 1


def test_something_else_in_the_place_of_the_hub(acme, loopback):
    del loopback.repositories["acme/small"]
    loopback.faults = Faults(status=204)  # a page of the network, say

    assert reason().endswith("does not answer as the hub does; is HF_ENDPOINT right?")


def test_offline_asks_nobody(acme, loopback):
    assert reason(offline=True) == "--offline is set"
    assert loopback.requests == []


def test_offline_by_the_environment_asks_nobody(acme, loopback, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    assert reason() == "HF_HUB_OFFLINE is set"
    assert loopback.requests == []


@pytest.mark.accepts("D7")
def test_a_hub_that_cannot_be_reached(acme, loopback):
    loopback.close()

    assert reason().startswith(f"{loopback.address} cannot be reached (")


@pytest.mark.accepts("D7")
def test_a_hub_that_never_answers(acme, loopback, monkeypatch):
    monkeypatch.setattr(hub, "PROBE_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)

        assert reason() == f"no answer from {address} within 0.2 s"


@pytest.mark.accepts("D7")
def test_the_tip_says_where_it_goes_and_what_can_be_set(acme, monkeypatch, tmp_path):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")

    tip = hub.where_it_goes("acme/small")

    for part in (tmp_path / "hf" / "hub", "hf-hub:acme/small", "--offline", "HF_HUB_OFFLINE"):
        assert str(part) in tip
    assert "HTTPS_PROXY is set" in tip


# downloads that go wrong


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library waits between attempts; here it does not."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.mark.accepts("D9")
@pytest.mark.parametrize("ignores_range", [False, True], ids=["Range", "Range ignored"])
def test_a_download_that_is_cut_once_goes_on(acme, loopback, impatient, ignores_range):
    loopback.faults = Faults(cut_at=len(WEIGHTS) // 2, cuts=1, ignores_range=ignores_range)

    assert hub.fetch("acme/small", LARGE).read_bytes() == WEIGHTS
    assert sum(request.startswith("GET") for request in loopback.requests) == 2


@pytest.mark.accepts("D9")
@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(cut_at=len(WEIGHTS) // 2, cuts=99), "peer closed connection"),
        (Faults(extra=b"x"), f"size {len(WEIGHTS)} but has size {len(WEIGHTS) + 1}"),
        (Faults(linked_size=99), f"should be of size 99 but has size {len(WEIGHTS)}"),
    ],
    ids=["cut at half", "a byte too many", "wrong size"],
)
def test_a_broken_download_leaves_no_file(acme, loopback, impatient, tmp_path, capfd, faults, said):
    loopback.faults = faults

    answer = reason()

    assert answer.startswith("the download failed: ") and said in answer
    assert cache_of(tmp_path) == []
    assert capfd.readouterr().err == ""
    loopback.faults = Faults()
    assert hub.fetch("acme/small", LARGE).read_bytes() == WEIGHTS


def test_a_download_with_another_hash_is_deleted(acme, loopback, monkeypatch, tmp_path):
    other = WEIGHTS[:-1] + b"\x01"
    monkeypatch.setattr(loopback, "blob", lambda sha256: other)

    with pytest.raises(ModelError) as caught:
        hub.fetch("acme/small", LARGE)

    assert SHA256 in caught.value.message
    assert hashlib.sha256(other).hexdigest() in caught.value.message
    assert cache_of(tmp_path) == []


@pytest.mark.accepts("D9")
def test_a_killed_download_leaves_no_file_and_the_next_one_succeeds(acme, loopback, tmp_path):
    loopback.faults = Faults(waits_at=len(WEIGHTS) // 2)
    process = subprocess.Popen(
        [sys.executable, "-c", f"from zsclip import hub; hub.fetch('acme/small', {LARGE!r})"],
        env=hub_environment(loopback.address, tmp_path),
    )
    assert loopback.waiting.wait(60)

    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)

    assert final_files(tmp_path) == [] and hub.cached("acme/small", LARGE) is None
    loopback.faults = Faults()
    assert hub.fetch("acme/small", LARGE).read_bytes() == WEIGHTS
    [repository] = hub.repositories()
    assert repository.size_bytes >= len(WEIGHTS)
    hub.remove(repository)
    assert cache_of(tmp_path) == []


# what is in the cache


def test_the_cache_lists_repositories_with_size_and_commits(acme, tmp_path):
    hub.fetch("acme/small", LARGE)
    hub.fetch("acme/small", SMALL, revision=OLDER)

    [found] = hub.repositories()

    assert found.name == "acme/small" and found.files == {LARGE, SMALL}
    assert found.commits == (OLDER, COMMIT)
    assert found.size_bytes == len(WEIGHTS) + len(b"older")
    assert found.folder == tmp_path / "hf" / "hub" / "models--acme--small"


def test_a_download_that_ends_while_the_cache_is_listed_is_not_counted(acme, tmp_path):
    hub.fetch("acme/small", SMALL)
    blobs = tmp_path / "hf" / "hub" / "models--acme--small" / "blobs"
    (blobs / "gone.incomplete").symlink_to(blobs / "nowhere")

    assert [found.size_bytes for found in hub.repositories()] == [len(b"{}")]


def test_a_repository_without_revisions_is_removed(acme, tmp_path):
    path = hub.fetch("acme/small", SMALL)
    shutil.rmtree(path.parents[1])
    path.parents[1].mkdir()
    (path.parents[2] / "refs" / "main").unlink()
    [found] = hub.repositories()

    hub.remove(found)

    assert found.commits == () and hub.repositories() == [] and not found.folder.exists()
    assert not list((tmp_path / "hf" / "hub" / ".locks").glob("*"))


def test_what_cannot_be_removed_is_said(acme, tmp_path):
    hub.fetch("acme/small", SMALL)
    [found] = hub.repositories()
    found.folder.rename(tmp_path / "elsewhere")
    found.folder.symlink_to(tmp_path / "elsewhere")  # which is not followed

    with pytest.raises(OutputError, match=f"{found.folder} cannot be deleted: "):
        hub.remove(found)

    assert (tmp_path / "elsewhere").is_dir()


def test_tests_have_a_cache_of_their_own(tmp_path):
    from huggingface_hub import constants

    assert Path(constants.HF_HUB_CACHE) == tmp_path / "hf" / "hub"
    assert Path(os.environ["HF_HOME"]) == tmp_path / "hf"


def test_no_cache_is_an_empty_list(loopback):
    assert hub.repositories() == []


def test_only_the_named_repository_is_removed(acme, loopback):
    names = ["acme/copy", "acme/other", "acme/small"]
    loopback.repositories["acme/copy"] = Repository({SMALL: b"copy"})  # of the same commit
    loopback.repositories["acme/other"] = Repository({SMALL: b"other"}, commit="0" * 40)
    for name in names:
        hub.fetch(name, SMALL)

    for name in ("acme/small", "acme/copy"):
        hub.remove(next(r for r in hub.repositories() if r.name == name))
        names.remove(name)
        assert [repository.name for repository in hub.repositories()] == names
