"""Compiled models on disk: each in a folder of its own, whole or not there at all.

A folder is written beside its place under a lock, and appears by one rename; the first to appear
wins. What a killed process left is swept by the next one that writes there.
Knows nothing about torch or ONNX Runtime.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from zsclip.errors import ModelError, OutputError
from zsclip.weights import LocalModel, digest

VERSION = 3
"""Of all that a folder's content rests on here; models are compiled anew when it grows."""
IMAGE_TOWER = "image.onnx"
TEXT_TOWER = "text.onnx"
ABOUT = "about.json"
LOCK_TIMEOUT_S = 600.0
"""More than it takes to write one: who holds a lock for longer has been stopped."""


@dataclass(frozen=True, slots=True)
class About:
    """What a compiled model says of itself.

    Attributes:
        model: its id, as in results.
        weights: sha256 of the weights file that it was made from.
        architecture: open_clip's name.
        text_cfg: of the model's configuration.
        pad_token: of a text tower of transformers, which masks it; None for others.
        convolves: the image tower is made of convolutions, which ONNX Runtime arranges for the
            processor when it opens them.
        files: name and size in bytes of every other file of the folder.
        digests: name and sha256 of each of them.
        made_with: versions of the packages that made it.
        notes: what people should know about the weights, as warnings.
    """

    model: str
    weights: str
    architecture: str
    logit_scale: float
    logit_bias: float | None
    text_cfg: dict[str, Any]
    pad_token: int | None
    convolves: bool
    files: dict[str, int]
    digests: dict[str, str]
    made_with: dict[str, str]
    notes: list[str]

    @property
    def size_bytes(self) -> int:
        """What the folder takes on disk."""
        return sum(self.files.values())


def place(folder: Path, model: LocalModel) -> Path:
    """Where the compiled form of a model is, or would be, in a cache folder.

    Everything that its content rests on is in the name.
    """
    parts = [VERSION, model.digest, model.config.fingerprint, model.config.preprocess.size]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return folder / "compiled" / name


def read(folder: Path) -> About:
    """What a compiled model says of itself.

    Of its other files only the sizes are looked at: to read them all would take a second.

    Raises:
        ModelError: it is not there, or files are missing, cut or were replaced.
    """
    try:
        facts = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if facts.pop("digest", None) != _digest_of(facts):
            raise ValueError(f"{ABOUT} is not as it was written")
        about = About(**facts)
        wrong = [n for n, size in about.files.items() if (folder / n).stat().st_size != size]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder}: not a compiled model ({error})") from error
    if wrong:
        raise ModelError(f"{folder}: {wrong[0]} is not of the size that was written")
    return about


def make(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder, and put it in its place; do nothing if another process did.

    Raises:
        OSError: the cache folder cannot be written, or has no locks.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target):
        if is_whole(target):
            return
        _sweep(target.parent)
        unfinished = target.with_suffix(".unfinished")
        _delete(unfinished)  # the lock is ours, so nobody writes there
        _delete(target)
        try:
            unfinished.mkdir()
            write(unfinished)
            _flush(unfinished)
            os.replace(unfinished, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Bring files to the disk: a name that outlives a power failure must not name zeros."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _sweep(folder: Path) -> None:
    """Delete what killed processes left: what is being written is locked."""
    for path in folder.glob("*.unfinished"):
        with contextlib.suppress(OSError), _lock(path, timeout_s=0):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path, *, timeout_s: float | None = None) -> Iterator[None]:
    """Keep other processes from a compiled model; the lock of `X.unfinished` is that of `X`.

    Raises:
        OSError: there is no lock to be had, or not in time.
    """
    lock = FileLock(
        path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S if timeout_s is None else timeout_s
    )
    try:
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(errno.ENOLCK, "the file system has no locks", str(path.parent)) from error
    try:
        yield
    finally:
        lock.release()


def is_whole(folder: Path) -> bool:
    """Whether a compiled model is there, with files of the sizes that were written."""
    try:
        read(folder)
    except ModelError:
        return False
    return True


def stored(folder: Path) -> dict[Path, About]:
    """The compiled models of a cache folder."""
    found = {}
    for path in sorted((folder / "compiled").glob(f"*/{ABOUT}")):
        with contextlib.suppress(ModelError):
            found[path.parent] = read(path.parent)
    return found


def verify(folder: Path) -> list[str]:
    """The files of a cache folder's compiled models that are not as they were written."""
    return [
        str(place / name)
        for place, about in stored(folder).items()
        for name, expected in about.digests.items()
        if digest(place / name) != expected
    ]


def remove(target: Path) -> None:
    """Delete a compiled model, or do nothing if it is not there; waits for who writes it.

    Raises:
        OutputError: it cannot be deleted.
    """
    try:
        with _lock(target):
            for folder in (target, target.with_suffix(".unfinished")):
                if folder.is_dir():
                    shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"cannot delete {target}: {error.strerror or error}") from error


def clear(folder: Path) -> None:
    """Delete all compiled models of a cache folder, also those of other versions.

    Raises:
        OutputError: one cannot be deleted.
    """
    found = [path for path in (folder / "compiled").glob("*") if path.is_dir()]
    for target in sorted({path.with_suffix("") for path in found}):
        remove(target)


def write_about(folder: Path, **facts: Any) -> None:
    """The last file of a folder that is being written: `facts` are About's, without the files."""
    paths = sorted(folder.iterdir())
    files = {path.name: path.stat().st_size for path in paths}
    about = asdict(About(**facts, files=files, digests={path.name: digest(path) for path in paths}))
    signed = {"digest": _digest_of(about), **about}
    (folder / ABOUT).write_text(json.dumps(signed, indent=1), encoding="utf-8")


def _digest_of(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
