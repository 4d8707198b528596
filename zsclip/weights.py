"""Weights on this machine: find or fetch them, say what they are, refuse what they should not be.

Looks in the local hub cache first, so that a cached model makes no network call; asks the hub with
a short probe before a download, so that no network is an answer in seconds. Random weights are
never used, pickles never opened. Knows nothing about torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zsclip.errors import ModelError, NotFetchedError
from zsclip.models import (
    CONFIG_NAME,
    ModelConfig,
    ModelSource,
    config_of_architecture,
    config_of_folder,
    open_clip_tags,
)

WEIGHTS_NAME = "open_clip_model.safetensors"
PROBE_TIMEOUT_S = 5.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_HEADER_BYTES = 100 << 20
_PICKLES = (".bin", ".pt", ".pth")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model whose files are on this machine.

    Attributes:
        weights: a safetensors file.
        digest: sha256 of the weights file, hexadecimal.
        revision: commit of the hub's repository, where it came from there.
    """

    source: ModelSource
    config: ModelConfig
    weights: Path
    digest: str
    revision: str | None = None

    @property
    def id(self) -> str:
        """Name and digest, as results carry it: `tiny@3f2a9c`."""
        return f"{self.source.name}@{self.digest[:6]}"


def locate(source: ModelSource, *, digests: MutableMapping[str, str] | None = None) -> LocalModel:
    """Find a model's files, downloading them at first use.

    Args:
        digests: remembers the digest of a weights file by the file's identity.

    Raises:
        NotFetchedError: the weights are not on this machine and cannot be fetched.
        ModelError: the files are damaged, or not safetensors.
    """
    revision = None
    if source.weights_file is not None:
        assert source.architecture is not None
        weights = source.weights_file
        config = config_of_architecture(source.architecture, source.tag)
    elif source.folder is not None:
        config = config_of_folder(source.folder)
        weights = _weights_in(source.folder)
    else:
        if source.architecture is not None:
            config = config_of_architecture(source.architecture, source.tag)
        else:  # before the weights: a model that cannot be run is not worth a download
            config = config_of_folder(fetch(source, CONFIG_NAME).parent)
        weights = fetch(source, _weights_name(source))
        revision = weights.parent.name
    check(weights)
    return LocalModel(source, config, weights, digest(weights, digests), revision)


def is_local(source: ModelSource) -> bool:
    """Whether the weights are on this machine; looks at files only."""
    if source.repo is None:
        return True
    return _cached(source.repo, _weights_name(source)) is not None


def _weights_name(source: ModelSource) -> str:
    facts = open_clip_tags().get(f"{source.architecture}:{source.tag}", {})
    return facts.get("file") or WEIGHTS_NAME


def _weights_in(folder: Path) -> Path:
    preferred = folder / WEIGHTS_NAME
    found = [preferred] if preferred.is_file() else sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(f"{folder}: several weights: {', '.join(path.name for path in found)}")
    pickles = [path.name for path in sorted(folder.iterdir()) if path.suffix in _PICKLES]
    if pickles:
        raise ModelError(f"{folder}: {pickles[0]} is a pickle checkpoint; zsclip reads safetensors")
    raise ModelError(f"{folder}: no weights", tip=f"put {WEIGHTS_NAME} there")


def check(path: Path) -> None:
    """Refuse a file that is not a whole safetensors file, in words that say what it is.

    Raises:
        ModelError: missing, empty, cut, a pickle, an HTML page or a Git LFS pointer.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            start = file.read(64)
            wanted = _whole_size(file, head, start) if len(head) == 8 else None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    if head.startswith(b"version "):
        reason = "looks like a Git LFS pointer: run git lfs pull"
    elif head.lstrip().lower().startswith((b"<!doct", b"<html")):
        reason = "looks like an HTML page"
    elif head.startswith((b"PK\x03\x04", b"\x80\x02")):
        reason = "is a pickle checkpoint; zsclip reads safetensors"
    elif wanted is None:
        reason = "is not a safetensors file"
    elif size < wanted:
        reason = f"is incomplete: {size:,} of {wanted:,} bytes"
    elif size > wanted:
        reason = f"has {size - wanted:,} bytes too many"
    else:
        return
    raise ModelError(f"{path} ({size:,} bytes) {reason}")


def _whole_size(file: BinaryIO, head: bytes, start: bytes) -> int | None:
    """How large the safetensors file must be; None where it is not one."""
    (length,) = struct.unpack("<Q", head)
    if not 2 <= length <= _MAX_HEADER_BYTES or not start.startswith(b"{"):
        return None
    rest = file.read(max(0, length - len(start)))
    try:
        header = json.loads((start + rest)[:length])
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return int(8 + length + max(ends, default=0))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def digest(path: Path, remembered: MutableMapping[str, str] | None = None) -> str:
    """sha256 of a file; the hub's own where the file lies in its cache, else computed once."""
    real = path.resolve()
    if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        return real.name
    status = real.stat()
    identity = f"{real}|{status.st_size}|{status.st_mtime_ns}|{status.st_ino}"
    if remembered is not None and identity in remembered:
        return remembered[identity]
    with real.open("rb") as file:
        value = hashlib.file_digest(file, "sha256").hexdigest()
    if remembered is not None:
        remembered[identity] = value
    return value


def _cached(repo: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name)
    return Path(found) if isinstance(found, str) else None


def fetch(source: ModelSource, name: str) -> Path:
    """A file of the source's repository: from the hub's cache, else downloaded into it.

    Raises:
        NotFetchedError: with the reason, the cache folder, and how to use a local file.
    """
    assert source.repo is not None
    cached = _cached(source.repo, name)
    if cached is not None:
        return cached
    from huggingface_hub import constants, errors, hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        _probe(constants.ENDPOINT)
        if sys.stderr is None or not sys.stderr.isatty():
            disable_progress_bars()
        return Path(hf_hub_download(source.repo, name))
    except errors.GatedRepoError as error:
        reason = "it is gated: accept its terms on the hub, then set HF_TOKEN"
        raise _not_fetched(source, reason) from error
    except errors.RepositoryNotFoundError as error:
        raise _not_fetched(source, "the hub has no such repository, or it is private") from error
    except errors.LocalEntryNotFoundError as error:  # the hub answered, but not with the file
        response = getattr(error.__cause__, "response", None)
        status = f"the hub answered with status {getattr(response, 'status_code', None)}"
        reason = status if response is not None else f"{error.__cause__ or error}".splitlines()[0]
        raise _not_fetched(source, reason) from error
    except errors.EntryNotFoundError as error:
        raise _not_fetched(source, f"its repository has no {name}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise _not_fetched(source, f"the hub answered with status {status}") from error
    except OSError as error:
        raise _not_fetched(source, f"{error}".splitlines()[0]) from error


def _probe(endpoint: str) -> None:
    """Raise ConnectionError unless the hub sends a first byte within PROBE_TIMEOUT_S.

    Any HTTP status will do. In a thread, because looking up a name has no time limit of its own.
    """
    reasons: list[str] = [f"no answer from {endpoint} within {PROBE_TIMEOUT_S:g} s"]

    def ask() -> None:
        request = urllib.request.Request(endpoint, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S).close()
        except urllib.error.HTTPError:
            reasons.clear()
        except OSError as error:
            reasons[0] = f"{endpoint} cannot be reached ({getattr(error, 'reason', error)})"
        else:
            reasons.clear()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_TIMEOUT_S)
    if reasons:
        raise ConnectionError(reasons[0])


def _not_fetched(source: ModelSource, reason: str) -> NotFetchedError:
    from huggingface_hub import constants

    what = f"{source.architecture}:{source.tag}" if source.tag else f"hf-hub:{source.repo}"
    shown = source.name if source.name == what else f"{source.name} ({what})"
    # by its own name, not the bare architecture: the tag says which activation and preprocessing
    local_file = f"--model {source.name} --weights FILE" if source.tag else "--model FOLDER"
    proxies = [n for n in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY") if os.environ.get(n)]
    via = f"; {', '.join(proxies)} is set" if proxies else ""
    return NotFetchedError(
        f"model {shown} is not on this machine: {reason}",
        tip=f"it goes to {constants.HF_HUB_CACHE} from hf-hub:{source.repo} when the hub can be "
        f"reached{via}; for a local file: {local_file}",
    )
