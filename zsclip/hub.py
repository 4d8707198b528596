"""Files of the hub's repositories: from its cache on this machine, else asked for and downloaded.

Looks in the cache first, so that what is there makes no network call. Otherwise one short question
about the file comes before its download, so that a hub that is out of reach, or refuses, is an
answer in seconds; a running download has no time limit. Uses huggingface_hub's own cache and
settings (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies). Knows nothing about models.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsclip.errors import ModelError, NotFetchedError, OutputError

PROBE_TIMEOUT_S = 5.0
SHA256 = re.compile(r"[0-9a-f]{64}")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class MissingFileError(NotFetchedError):
    """The repository is there and has no such file."""


@dataclass(frozen=True, slots=True)
class CachedRepository:
    """A repository in the hub's cache.

    Attributes:
        size_bytes: of all its files, with what broken downloads left.
        files: names, in any of its revisions.
        commits: the revisions that are there.
    """

    name: str
    folder: Path
    size_bytes: int
    files: frozenset[str]
    commits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What huggingface_hub read from the environment.

    Attributes:
        endpoint: the hub's address.
        is_offline: nobody is asked.
        cache: the folder of its cache.
    """

    endpoint: str
    is_offline: bool
    cache: Path


def settings() -> Settings:
    """How the hub is used; asks nobody."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    return Settings(constants.ENDPOINT, bool(constants.HF_HUB_OFFLINE), cache)


def cached(repo: str, name: str, *, revision: str | None = None) -> Path | None:
    """The file in the hub's cache on this machine, or None; asks nobody.

    Raises:
        ModelError: no repository can have this name.
    """
    found = _in_cache(repo, name, revision)
    return Path(found) if isinstance(found, str) else None


def _in_cache(repo: str, name: str, revision: str | None) -> Any:
    """The path as text; None if it is not there; a mark if the commit is known to have none."""
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        return try_to_load_from_cache(repo, name, revision=revision)
    except errors.HFValidationError as error:
        raise ModelError(f"no repository of the hub can have the name {repo!r}") from error


def fetch(repo: str, name: str, *, revision: str | None = None, offline: bool = False) -> Path:
    """A file of a repository: from the hub's cache, else downloaded into it.

    A download is checked against the sha256 that the hub gives for large files.

    Args:
        revision: a branch, tag or commit; the main branch unless given.
        offline: ask nobody, as with HF_HUB_OFFLINE.

    Raises:
        MissingFileError: the repository has no such file.
        NotFetchedError: the file is not on this machine and cannot be fetched, with the reason.
        ModelError: no repository can have this name, or the download is damaged.
    """
    from huggingface_hub import hf_hub_download

    found = _in_cache(repo, name, revision)
    if isinstance(found, str):
        return Path(found)
    pinned = revision is not None and _COMMIT.fullmatch(revision)
    if found is not None and pinned:  # a commit that is known to have no such file
        raise _missing(repo, name)
    try:
        ask(repo, name, revision=revision, offline=offline)
    except MissingFileError:
        if pinned:
            # it fails, and leaves a mark in the cache (.no_exist) that saves asking again
            with contextlib.suppress(Exception), _silence():
                hf_hub_download(repo, name, revision=revision)
        raise
    with _explained(repo, name, revision), _silence():
        path = Path(hf_hub_download(repo, name, revision=revision))
    _check_download(repo, path)
    return path


def ask(repo: str, name: str, *, revision: str | None = None, offline: bool = False) -> None:
    """Ask the hub for the file's address, waiting at most PROBE_TIMEOUT_S for its answer.

    In a thread, because looking up a name has no time limit of its own.

    Raises:
        MissingFileError: the repository has no such file.
        NotFetchedError: the hub is out of reach or refuses, with the reason.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    if offline or constants.HF_HUB_OFFLINE:
        setting = "--offline" if offline else "HF_HUB_OFFLINE"
        raise _not_fetched(repo, name, f"{setting} is set")
    answers: list[Any] = []

    def probe() -> None:
        url = hf_hub_url(repo, name, revision=revision)
        try:
            answers.append(get_hf_file_metadata(url, timeout=PROBE_TIMEOUT_S))
        except Exception as error:  # raised again below, in the caller's thread
            answers.append(error)

    thread = threading.Thread(target=probe, daemon=True, name="zsclip-hub")
    thread.start()
    thread.join(PROBE_TIMEOUT_S + 1)
    with _explained(repo, name, revision):
        if not answers or "Timeout" in type(answers[0]).__name__:
            raise TimeoutError
        if isinstance(answers[0], Exception):
            raise answers[0]
    if not answers[0].commit_hash or not answers[0].etag:
        reason = f"{constants.ENDPOINT} does not answer as the hub does; is HF_ENDPOINT right?"
        raise _not_fetched(repo, name, reason)


@contextlib.contextmanager
def _explained(repo: str, name: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's library raises into one sentence each."""
    from huggingface_hub import errors

    try:
        yield
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):  # the hub failed after our question
            raise _not_fetched(repo, name, _reason(error.__cause__ or error)) from error
        raise _missing(repo, name) from error
    except errors.RevisionNotFoundError as error:
        raise _not_fetched(repo, name, f"it has no revision {revision!r}") from error
    # requests, httpx or httpx2 under the library, or xet beside it: each with errors of its own
    except Exception as error:
        raise _not_fetched(repo, name, _reason(error)) from error


def _reason(error: BaseException) -> str:
    """Why the hub did not give a file, in one sentence."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    if isinstance(error, errors.GatedRepoError):
        return "it is gated: accept its terms on the hub, then set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such repository, or it is private (then set HF_TOKEN)"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return (
            "the hub refuses (status 401): the access token HF_TOKEN is missing, wrong or expired"
        )
    if status == 403:
        return "the hub forbids it (status 403): HF_TOKEN has no access to it"
    if status == 429:
        return "the hub has had too many requests from here (status 429): try again later"
    if status is not None and status >= 500:
        return f"the hub is out of order (status {status}): try again later"
    if status is not None:
        return f"the hub answered with status {status}"
    if isinstance(error, TimeoutError):
        return f"no answer from {hub} within {PROBE_TIMEOUT_S:g} s"
    # the rest of a longer text is names of blobs, and advice for users of the library
    text = " ".join(str(error).split()).partition(" (")[0][:200] or type(error).__name__
    if "Connect" in type(error).__name__ or "Proxy" in type(error).__name__:
        return f"{hub} cannot be reached ({text})"
    return f"the download failed: {text}"


def _not_fetched(repo: str, name: str, reason: str) -> NotFetchedError:
    return NotFetchedError(
        f"{name} of hf-hub:{repo} is not on this machine: {reason}",
        tip=where_it_goes(repo),
        reason=reason,
    )


def _missing(repo: str, name: str) -> MissingFileError:
    return MissingFileError(f"hf-hub:{repo} has no {name}", reason=f"its repository has no {name}")


def where_it_goes(repo: str) -> str:
    """What to tell people whose file could not be fetched: cache folder, repository, proxies."""
    from huggingface_hub import constants

    proxies = [n for n in _PROXIES if os.environ.get(n)]
    via = f"{', '.join(proxies)} is set" if proxies else "HTTPS_PROXY is not set"
    return (
        f"it goes to {constants.HF_HUB_CACHE} from hf-hub:{repo} when the hub can be reached "
        f"({via}; --offline and HF_HUB_OFFLINE=1 ask nobody)"
    )


def _check_download(repo: str, path: Path) -> None:
    """Delete a download that is not what the hub said it is.

    Raises:
        ModelError: the sha256 differs; both are shown.
    """
    blob = path.resolve()
    if not SHA256.fullmatch(blob.name):
        return
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.name:
        path.unlink()
        blob.unlink()
        raise ModelError(
            f"{path.name} of hf-hub:{repo} came damaged: sha256 is {found}, should be {blob.name}",
            tip="it is deleted; run the command again",
        )


def repositories() -> list[CachedRepository]:
    """What is in the hub's cache, by name; nothing where there is no cache."""
    from huggingface_hub import constants, errors, scan_cache_dir

    try:
        scan = scan_cache_dir(constants.HF_HUB_CACHE)
    except (errors.CacheNotFound, OSError, ValueError):
        return []
    found = []
    for repo in scan.repos:
        if repo.repo_type != "model":
            continue
        size = repo.size_on_disk + _cut_bytes(repo.repo_path)
        names = frozenset(file.file_name for revision in repo.revisions for file in revision.files)
        commits = tuple(sorted(revision.commit_hash for revision in repo.revisions))
        found.append(CachedRepository(repo.repo_id, repo.repo_path, size, names, commits))
    return sorted(found, key=lambda repository: repository.name)


def _cut_bytes(folder: Path) -> int:
    """What broken downloads left; a running one may end while this looks."""
    total = 0
    for path in folder.glob("blobs/*.incomplete"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def remove(repository: CachedRepository) -> None:
    """Delete a repository from the hub's cache, all of its folder.

    Raises:
        OutputError: something of it cannot be deleted.
    """
    folder = repository.folder
    try:
        shutil.rmtree(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{error.filename or folder} cannot be deleted: {reason}") from error
    shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No log lines of the hub's library about attempts that it repeats; bars on a terminal only."""
    from huggingface_hub import constants, utils

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    bars = sys.stderr is None or not sys.stderr.isatty()
    bars &= constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    bars &= not utils.are_progress_bars_disabled()
    if bars:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            utils.enable_progress_bars()
