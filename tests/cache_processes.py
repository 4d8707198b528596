"""Processes of their own that build heads in a cache, forked from a server in some 10 ms each.

They run the command line as it is; only the engine is a fake one, which makes 1,000 classes in a
tenth of a second. A fault is a function that changes the process before it starts.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import itertools
import json
import multiprocessing
import os
import resource
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess as Process
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from safetensors.numpy import save_file

from zsclip import encoders
from zsclip.cache import TextCache
from zsclip.cli import main
from zsclip.engines import compiled
from zsclip.engines.fake import FakeEngine

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["cache_server"])
NOBODY = 65534
NO_ONE = 54321
"""A user without a line in /etc/passwd."""
DIMENSION = 64
CONFIG = {
    "model_cfg": {
        "embed_dim": DIMENSION,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16},
        "text_cfg": {
            "context_length": 24,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}
_numbers = itertools.count()

Fault = Callable[[], object]


class WeightedEngine(FakeEngine):
    """Features depend on the weights, too: a vector of other weights is a wrong one."""

    def __init__(self, digest: str) -> None:
        super().__init__(dimension=DIMENSION)
        self._weights = int(digest[:8], 16)

    def encode_texts(self, tokens: Any) -> Any:
        return super().encode_texts(np.c_[tokens, np.full(len(tokens), self._weights)])


@contextlib.contextmanager
def fake_engines() -> Iterator[None]:
    """Models open the fake engine in place of their own."""
    with mock.patch.object(
        encoders, "open_engine", lambda model, choice, facts: WeightedEngine(model.digest)
    ):
        yield


def write_model(folder: Path, *, seed: int = 0) -> Path:
    """A model's folder: a configuration, and weights of one random number."""
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    weights = {"logit_scale": np.full(1, seed, np.float32)}
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").chmod(0o644)
    return folder


@dataclass(frozen=True)
class Ended:
    """What a process left."""

    code: int | None
    stdout: str
    stderr: str

    @property
    def head(self) -> str:
        """The digest of the head that it built."""
        assert self.stdout, self.stderr
        return str(json.loads(self.stdout)["head"])

    @property
    def from_cache(self) -> int:
        """Classes that it took from the cache."""
        assert self.stdout, self.stderr
        return int(json.loads(self.stdout)["from_cache"])

    @property
    def warnings(self) -> list[str]:
        """Lines on stderr that warn."""
        return [line for line in self.stderr.splitlines() if line.startswith("warning: ")]


def process(target: Callable[..., object], *arguments: Any, **options: Any) -> Process:
    """A process that is forked from the server, and not yet started."""
    # the server that multiprocessing starts does not know the path to the tests' own modules
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths))):
        forkserver.ensure_running()
    call = functools.partial(target, *arguments, **options)
    return SERVER.Process(target=_in_environment, args=(dict(os.environ), call))


def _in_environment(environment: Mapping[str, str], call: Callable[[], object]) -> None:
    """In that of the test, not of the one that started the server."""
    os.environ.clear()
    os.environ.update(environment)
    call()


class Command:
    """`zsclip ...` in a process of its own, which has started.

    Args:
        folder: for what it prints.
        faults: called in the process, in this order, before the command.
    """

    def __init__(self, folder: Path, *arguments: object, faults: Sequence[Fault] = ()) -> None:
        self._paths = [folder / f"{next(_numbers)}.{name}" for name in ("stdout", "stderr")]
        self.saved, theirs = SERVER.Pipe(duplex=False)
        """Gets the number of rows of each chunk that has been saved."""
        self.process = process(_run, list(map(str, arguments)), self._paths, faults, theirs)
        self.process.start()
        theirs.close()

    def wait(self) -> Ended:
        """Wait for its end."""
        self.process.join(60)
        stdout, stderr = (path.read_text() for path in self._paths)
        return Ended(self.process.exitcode, stdout, stderr)

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.process.join(60)

    def saved_rows(self) -> int:
        """Rows of all chunks that it said it has saved; it has ended."""
        rows = 0
        while self.saved.poll():
            try:
                rows += self.saved.recv()
            except EOFError:
                break
        return rows


def _run(
    arguments: list[str], paths: Sequence[Path], faults: Sequence[Fault], saved: Connection
) -> None:
    for descriptor, path in enumerate(paths, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    save = TextCache.save

    def save_and_say(cache: TextCache, rows: Any) -> None:
        save(cache, rows)
        saved.send(len(rows))

    with fake_engines(), mock.patch.object(TextCache, "save", save_and_say):
        for fault in faults:
            fault()
        code = main(arguments)
    sys.stdout.flush()
    os._exit(code)


COMPILED = {
    "model": "small@0123ab",
    "weights": "0" * 64,
    "architecture": "small",
    "logit_scale": 100.0,
    "logit_bias": None,
    "text_cfg": {},
    "pad_token": None,
    "convolves": False,
    "made_with": {},
    "notes": [],
}
COMPILED_FILES = 10


class Compiler:
    """A process that makes a compiled model of some files, and sends one thing for each."""

    def __init__(self, target: Path) -> None:
        self.written, theirs = SERVER.Pipe(duplex=False)
        self.process = process(_compile, target, theirs)
        self.process.start()
        theirs.close()

    def wait(self) -> int:
        """Wait for its end; how many files it has written."""
        self.process.join(60)
        files = 0
        with contextlib.suppress(EOFError):
            while self.written.poll():
                files += self.written.recv()
        return files


def _compile(target: Path, written: Connection) -> None:
    def write(folder: Path) -> None:
        for number in range(COMPILED_FILES):
            (folder / f"{number}.onnx").write_bytes(bytes(100_000))
            written.send(1)
        compiled.write_about(folder, **COMPILED)

    compiled.make(target, write)


# faults


def chunks_of(prompts: int) -> Fault:
    """Classes go into the cache in small chunks."""
    return functools.partial(_set, "zsclip.head_builder", "CHUNK_PROMPTS", prompts)


def busy_timeout(seconds: float) -> Fault:
    """A locked cache is not waited for so long."""
    return functools.partial(_set, "zsclip.cache_file", "BUSY_TIMEOUT_S", seconds)


def _set(module: str, name: str, value: object) -> None:
    setattr(importlib.import_module(module), name, value)


def files_of_at_most(size_bytes: int) -> Fault:
    """The kernel refuses to make a file larger."""
    limits = (size_bytes, size_bytes)
    return functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, limits)


def as_user(number: int) -> Fault:
    """Root may do anything: be somebody else."""
    return functools.partial(_become, number)


def _become(number: int) -> None:
    os.setgroups([])
    os.setgid(number)
    os.setuid(number)


def environment(values: Mapping[str, str | None]) -> Fault:
    """Set variables; None deletes."""
    return functools.partial(_set_environment, values)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def flock_fails() -> None:
    """`flock` as on a file system without locks."""
    mock.patch("fcntl.flock", side_effect=OSError(errno.ENOLCK, "No locks available")).start()


def sqlite_without_locks() -> None:
    """SQLite as on a file system where locks hold nobody off: by its VFS that takes none."""
    connect = sqlite3.connect

    def without_locks(path: Path, timeout: float, **options: Any) -> sqlite3.Connection:
        name = f"{Path(path).absolute().as_uri()}?vfs=unix-none"
        return connect(name, timeout, uri=True, **options)

    mock.patch.object(sqlite3, "connect", without_locks).start()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
