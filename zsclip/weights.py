"""Weights on this machine: find or fetch them, say what they are, refuse what they should not be.

Decides whether a pickle may be opened at all; an engine opens it. Random weights are never used.
Knows nothing about torch, and about the hub only what to ask for.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zipfile
from collections.abc import MutableMapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from zsclip import hub
from zsclip.errors import ModelError, NotFetchedError, UsageError
from zsclip.models import (
    CONFIG_NAME,
    ModelConfig,
    ModelSource,
    config_of,
    config_of_folder,
    open_clip_tags,
    require_extras,
)

WEIGHTS_NAME = "open_clip_model.safetensors"
PICKLE_NAME = "open_clip_pytorch_model.bin"
PICKLE_REFUSED = "pickle checkpoint; use safetensors, or --allow-pickle (weights_only)"
_MAX_HEADER_BYTES = 100 << 20
_PICKLES = (".bin", ".pt", ".pth")
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model whose files are on this machine.

    Attributes:
        weights: a safetensors file, or a pickle that the user allowed.
        digest: sha256 of the weights file, hexadecimal.
        revision: commit of the hub's repository, where it came from there.
        is_pickle: the weights must be opened as a pickle, and then with `weights_only` alone.
        offline: nothing else may be fetched for it.
    """

    source: ModelSource
    config: ModelConfig
    weights: Path
    digest: str
    revision: str | None = None
    is_pickle: bool = False
    offline: bool = False

    @property
    def id(self) -> str:
        """Name and digest, as results carry it: `tiny@3f2a9c`."""
        return f"{self.source.name}@{self.digest[:6]}"


def locate(
    source: ModelSource,
    *,
    revision: str | None = None,
    sha256: str | None = None,
    offline: bool = False,
    allow_pickle: bool = False,
    digests: MutableMapping[str, str] | None = None,
) -> LocalModel:
    """Find a model's files, downloading them at first use.

    Args:
        revision: branch, tag or commit of the hub's repository.
        sha256: what the weights file must be.
        offline: ask nobody for what is not on this machine.
        allow_pickle: take a pickle where there are no safetensors.
        digests: remembers the digest of a weights file by the file's identity.

    Raises:
        NotFetchedError: the weights are not on this machine and cannot be fetched.
        ModelError: the files are damaged, not what `sha256` says, or a pickle.
        UsageError: a revision of something that is not on the hub, or a `sha256` that is none.
    """
    if sha256 is not None and not hub.SHA256.fullmatch(sha256.lower()):
        raise UsageError(f"--sha256 {sha256!r} is not 64 hexadecimal digits")
    if source.repo is not None:
        config, weights = _from_hub(source, revision, offline=offline, allow_pickle=allow_pickle)
    else:
        here = find(source, revision=revision, allow_pickle=allow_pickle)
        own = config_of(source)
        assert here is not None and own is not None
        weights, config = here, own
    is_pickle = check(weights, allow_pickle=allow_pickle)
    found = digest(weights, digests, trust_name=sha256 is None)
    if sha256 is not None and found != sha256.lower():
        raise ModelError(
            f"{weights}: its sha256 is {found}, not the {sha256.lower()} of --sha256",
            tip="the file was changed or is another version; --revision names one of the hub's",
        )
    commit = weights.parent.name if source.repo is not None else None
    return LocalModel(source, config, weights, found, commit, is_pickle, offline)


def find(
    source: ModelSource, *, revision: str | None = None, allow_pickle: bool = False
) -> Path | None:
    """The weights file if it is on this machine, else None; looks at files only.

    Raises:
        ModelError: a folder without weights, with several, or with a pickle that is not allowed.
        UsageError: a revision of something that is not on the hub.
    """
    if revision is not None and source.repo is None:
        raise UsageError(f"--revision goes with a model of the hub; {source.name} is none")
    if source.weights_file is not None:
        return source.weights_file
    if source.folder is not None:
        return _weights_in(source.folder, allow_pickle=allow_pickle)
    assert source.repo is not None
    names = names_in_repository(source)[: 2 if allow_pickle else 1]
    return next(filter(None, (hub.cached(source.repo, n, revision=revision) for n in names)), None)


def names_in_repository(source: ModelSource) -> tuple[str, str]:
    """What the weights are called on the hub: safetensors, and the pickle that may stand in."""
    facts = open_clip_tags().get(f"{source.architecture}:{source.tag}", {})
    if facts.get("file"):
        return Path(facts["file"]).with_suffix(".safetensors").name, facts["file"]
    return WEIGHTS_NAME, PICKLE_NAME


def _from_hub(
    source: ModelSource, revision: str | None, *, offline: bool, allow_pickle: bool
) -> tuple[ModelConfig, Path]:
    """Configuration and weights of a model of the hub, both of one commit."""
    assert source.repo is not None
    try:
        config = config_of(source)
        if config is None:
            path = hub.fetch(source.repo, CONFIG_NAME, revision=revision, offline=offline)
            config = config_of_folder(path.parent)
            revision = path.parent.name
        if find(source, revision=revision, allow_pickle=True) is None:
            require_extras(config)  # a model that cannot be run is not worth a download
        weights = _fetch_weights(source, revision, offline=offline, allow_pickle=allow_pickle)
    except NotFetchedError as error:
        raise _not_fetched(source, error.reason) from error
    return config, weights


def _fetch_weights(
    source: ModelSource, revision: str | None, *, offline: bool, allow_pickle: bool
) -> Path:
    """The safetensors, else the pickle if that is allowed; what is in the cache comes first."""
    assert source.repo is not None
    safe, pickle = names_in_repository(source)
    here = find(source, revision=revision, allow_pickle=True)
    if here is not None and (allow_pickle or here.name == safe):
        return here
    tip = None
    try:
        return hub.fetch(source.repo, safe, revision=revision, offline=offline)
    except hub.MissingFileError as missing:
        if allow_pickle:
            return hub.fetch(source.repo, pickle, revision=revision, offline=offline)
        try:  # would --allow-pickle help?
            if here is None:
                hub.ask(source.repo, pickle, revision=revision, offline=offline)
        except NotFetchedError:
            raise missing from None
    except NotFetchedError as error:
        if here is None:
            raise
        tip = f"whether the hub has {safe} is not known: {error.reason}"
    raise ModelError(f"hf-hub:{source.repo}: {pickle}: {PICKLE_REFUSED}", tip=tip)


def _weights_in(folder: Path, *, allow_pickle: bool) -> Path:
    """The one safetensors file of a folder, else its one pickle if that is allowed."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read: {(error.strerror or '').lower()}") from error
    found = [path for path in files if path.suffix == ".safetensors"]
    pickles = [path for path in files if path.suffix in _PICKLES]
    if not found and pickles and not allow_pickle:
        raise ModelError(f"{pickles[0]}: {PICKLE_REFUSED}")
    candidates = found or pickles
    preferred = [path for path in candidates if path.name in (WEIGHTS_NAME, PICKLE_NAME)]
    if len(candidates) > 1 and not preferred:
        raise ModelError(f"{folder}: several weights: {', '.join(p.name for p in candidates)}")
    if candidates:
        return (preferred or candidates)[0]
    raise ModelError(f"{folder}: no weights", tip=f"put {WEIGHTS_NAME} there")


def check(path: Path, *, allow_pickle: bool = False) -> bool:
    """Refuse a file that is not whole weights, in words that say what it is.

    Returns:
        Whether it is a pickle; never True unless `allow_pickle`.

    Raises:
        ModelError: missing, empty, cut, a pickle, an HTML page or a Git LFS pointer.
    """
    try:
        size = path.stat().st_size
        if not (path.is_file() or path.is_dir()):  # a pipe would be waited for
            raise ModelError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            start = file.read(64)
            is_pickle = start.startswith(_PICKLE_STARTS) or path.suffix in _PICKLES
            reason = _fault_of_any(start)
            if reason is None and is_pickle:
                reason = _fault_of_pickle(path, start) if allow_pickle else PICKLE_REFUSED
            elif reason is None:
                reason = _fault_of_safetensors(file, size)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    if reason is not None:
        raise ModelError(f"{path} ({size:,} bytes): {reason}")
    return is_pickle


def _fault_of_any(start: bytes) -> str | None:
    if not start:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "looks like a Git LFS pointer: run git lfs pull"
    if start.lstrip().lower().startswith((b"<!doct", b"<html")):
        return "looks like an HTML page"
    return None


def _fault_of_pickle(path: Path, start: bytes) -> str | None:
    is_cut = start.startswith(b"PK") and not zipfile.is_zipfile(path)
    return "is incomplete: a zip archive without its end" if is_cut else None


def _fault_of_safetensors(file: BufferedReader, size: int) -> str | None:
    """What is wrong with a safetensors file, judged by its header and size; None if nothing."""
    file.seek(0)
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 2 <= length <= _MAX_HEADER_BYTES or file.peek(1)[:1] != b"{":
        return "is not a safetensors file"
    if length > size - 8:
        return f"is incomplete: {size:,} bytes, and its header alone has {length:,}"
    try:
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        spans = sorted(tuple(map(int, entry["data_offsets"])) for entry in header.values())
        ends = [end for _, end in spans]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "is not a safetensors file"
    if [begin for begin, _ in spans] != [0, *ends][: len(spans)]:
        return "is damaged: its tensors overlap or leave gaps"
    wanted = 8 + length + max(ends, default=0)
    if size < wanted:
        return f"is incomplete: {size:,} of {wanted:,} bytes"
    return f"has {size - wanted:,} bytes too many" if size > wanted else None


def count_values(path: Path) -> int:
    """Numbers in a weights file that `check` has taken; of a pickle, as if all were fp32."""
    with path.open("rb") as file:
        if file.read(4).startswith(_PICKLE_STARTS):
            return path.stat().st_size // 4
        file.seek(0)
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)
    return sum(math.prod(entry["shape"]) for entry in header.values())


def digest(
    path: Path, remembered: MutableMapping[str, str] | None = None, *, trust_name: bool = True
) -> str:
    """sha256 of a file, computed once.

    Args:
        remembered: digests by file identity.
        trust_name: take the hub's own where the file lies in its cache, which names it so.
    """
    real = path.resolve()
    if trust_name and real.parent.name == "blobs" and hub.SHA256.fullmatch(real.name):
        return real.name
    now = real.stat()  # with ctime, because mtime can be set back
    identity = f"{real}|{now.st_size}|{now.st_mtime_ns}|{now.st_ctime_ns}|{now.st_ino}"
    known = None if remembered is None else remembered.get(identity)
    if known is not None:
        return known
    with real.open("rb") as file:
        value = hashlib.file_digest(file, "sha256").hexdigest()
    if remembered is not None:
        remembered[identity] = value
    return value


def _not_fetched(source: ModelSource, reason: str) -> NotFetchedError:
    assert source.repo is not None
    what = f"{source.architecture}:{source.tag}" if source.tag else f"hf-hub:{source.repo}"
    shown = source.name if source.name == what else f"{source.name} ({what})"
    # by its own name, not the bare architecture: the tag says which activation and preprocessing
    local_file = f"--model {source.name} --weights FILE" if source.tag else "--model FOLDER"
    return NotFetchedError(
        f"model {shown} is not on this machine: {reason}",
        tip=f"{hub.where_it_goes(source.repo)}; for a local file: {local_file}",
        reason=reason,
    )
