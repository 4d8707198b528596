"""Averaged text embeddings on disk: one SQLite row for each class of a model.

A cache never makes a run fail: what cannot be read is a miss, what cannot be written is one
warning. Every row carries a digest, because a flipped bit in a BLOB passes SQLite's own check.
`journal_mode=DELETE`: WAL breaks on read-only folders and network file systems.
Knows nothing about prompts or models; keys come from `heads`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from zsclip.errors import OutputError, ZsclipWarning

FILE_NAME = "text.sqlite3"
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
_BROKEN = {"SQLITE_NOTADB", "SQLITE_CORRUPT"}
_NORM_TOLERANCE = 1e-3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS classes (
    key BLOB PRIMARY KEY, model TEXT NOT NULL, class_name TEXT NOT NULL,
    dimension INTEGER NOT NULL, vector BLOB NOT NULL, digest BLOB NOT NULL, created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL, created REAL NOT NULL);
"""

Floats = npt.NDArray[np.float32]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Row:
    """One class of one model: `vector (D,)` float32 of unit length."""

    key: bytes
    model: str
    class_name: str
    vector: Floats


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What is in the cache; `classes` counts rows per model."""

    path: Path
    size_bytes: int
    classes: dict[str, int]


def default_folder() -> Path:
    """ZSCLIP_CACHE_DIR, else the cache folder of this user on this system."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("ZSCLIP_CACHE_DIR")
    return Path(chosen) if chosen else user_cache_path("zsclip")


class TextCache:
    """The cache of one folder; `folder=None` keeps everything in memory."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / FILE_NAME
        self._memory = (
            sqlite3.connect(":memory:", check_same_thread=False) if folder is None else None
        )
        if self._memory is not None:
            self._memory.executescript(_SCHEMA)
        self._warned = False
        self._locked_by_others = False

    def load(self, keys: Sequence[bytes]) -> dict[bytes, Floats]:
        """The vectors of those keys that are there and whole."""
        found: dict[bytes, Floats] = {}

        def read(db: sqlite3.Connection) -> None:
            for key in dict.fromkeys(keys):
                row = db.execute(
                    "SELECT key, dimension, vector, digest FROM classes WHERE key = ?", (key,)
                ).fetchone()
                vector = None if row is None else _verified(*row)
                if vector is not None:
                    found[key] = vector

        self._run(read, None)
        return found

    def save(self, rows: Sequence[Row]) -> None:
        """Store rows in one transaction; a row of the same key is replaced."""
        now = time.time()
        values = [
            (r.key, r.model, r.class_name, r.vector.size, _packed(r.vector), _digest(r), now)
            for r in rows
        ]

        def write(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO classes VALUES (?, ?, ?, ?, ?, ?, ?)", values)

        self._run(write, None)

    @property
    def facts(self) -> MutableMapping[str, str]:
        """Small facts by key: digests of files, the logit scale of a model."""
        return _Facts(self)

    def verify(self) -> list[str]:
        """Class names (with their model) of rows that are not what was stored."""

        def read(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "SELECT model, class_name, key, dimension, vector, digest FROM classes"
            )
            return [f"{model}: {name}" for model, name, *row in rows if _verified(*row) is None]

        return self._run(read, [])

    def info(self) -> CacheInfo:
        """Path, size and rows per model."""

        def read(db: sqlite3.Connection) -> dict[str, int]:
            return dict(db.execute("SELECT model, count(*) FROM classes GROUP BY model ORDER BY 1"))

        path = self.path or Path(":memory:")
        empty: dict[str, int] = {}
        classes = self._run(read, empty)
        return CacheInfo(path, path.stat().st_size if path.is_file() else 0, classes)

    def prune(self, *, older_than_days: float) -> int:
        """Delete rows that are broken or older; return how many."""
        limit = time.time() - older_than_days * 86400

        def write(db: sqlite3.Connection) -> int:
            rows = db.execute("SELECT key, dimension, vector, digest, created FROM classes")
            gone = [(r[0],) for r in rows if r[4] < limit or _verified(*r[:4]) is None]
            db.executemany("DELETE FROM classes WHERE key = ?", gone)
            db.execute("DELETE FROM facts WHERE created < ?", (limit,))
            return len(gone)

        deleted = self._run(write, 0)
        self._run(lambda db: db.executescript("VACUUM"), None)
        return deleted

    def forget(self, weights_digest: str) -> None:
        """Delete every row of these weights, by whatever name the model was called."""
        suffix = f"%@{weights_digest[:6]}"  # rows carry the model's id, which ends so

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM classes WHERE model LIKE ?", (suffix,))

        self._run(write, None)

    def clear(self) -> None:
        """Delete the cache file, or what is kept in memory.

        Raises:
            OutputError: the file cannot be deleted.
        """
        if self._memory is not None:
            self._memory.executescript("DELETE FROM classes; DELETE FROM facts;")
        if self.path is not None and self.path.exists():
            try:
                with self._lock():
                    self.path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"cannot delete {self.path}: {error.strerror}") from error

    def _lock(self) -> FileLock:
        assert self.path is not None
        return FileLock(self.path.with_suffix(".lock"), timeout=BUSY_TIMEOUT_S)

    def _run(self, work: Callable[[sqlite3.Connection], Answer], default: Answer) -> Answer:
        """Do work in a transaction; where the cache fails, warn once and return the default."""
        if self._locked_by_others:
            return default
        try:
            try:
                with self._open() as db:
                    return work(db)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorname", "") not in _BROKEN:
                    raise
                self._move_aside(str(error))
                with self._open() as db:
                    return work(db)
        except (OSError, sqlite3.Error, _OtherVersion) as error:
            # waiting out the time limit once is enough for a run
            self._locked_by_others = getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY"
            if not self._warned:
                self._warned = True
                self._warn(f"cache not used: {error}")
            return default

    def _warn(self, message: str) -> None:
        warnings.warn(f"{message} ({self.path})", ZsclipWarning, stacklevel=4)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if self._memory is not None:
            with self._memory:
                yield self._memory
            return
        assert self.path is not None
        db = self._connect(self.path)
        try:
            with db:
                yield db
        finally:
            db.close()

    def _connect(self, path: Path) -> sqlite3.Connection:
        if path.is_file() and path.stat().st_size:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", BUSY_TIMEOUT_S, uri=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, BUSY_TIMEOUT_S)
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                db.executescript(
                    f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
                )
            elif version != SCHEMA_VERSION:
                raise _OtherVersion(
                    f"it has schema {version}, this zsclip knows schema {SCHEMA_VERSION}"
                )
        except BaseException:
            db.close()
            raise
        return db

    def _is_whole(self, path: Path) -> bool:
        try:
            with contextlib.closing(self._connect(path)) as db:
                return bool(db.execute("PRAGMA quick_check").fetchone() == ("ok",))
        except (sqlite3.DatabaseError, _OtherVersion):
            return False

    def _move_aside(self, reason: str) -> None:
        assert self.path is not None
        with self._lock():
            if self._is_whole(self.path):  # another process has rebuilt it meanwhile
                return
            aside = self.path.with_name(f"{FILE_NAME}.corrupt-{time.time_ns()}")
            self.path.replace(aside)
        warnings.warn(
            f"cache was broken ({reason}): moved to {aside.name}, starting anew",
            ZsclipWarning,
            stacklevel=4,
        )


class _OtherVersion(Exception):
    """The file has a schema that this version does not know."""


class _Facts(MutableMapping[str, str]):
    """The facts table as a mapping."""

    def __init__(self, cache: TextCache) -> None:
        self._cache = cache

    def __getitem__(self, key: str) -> str:
        def read(db: sqlite3.Connection) -> str | None:
            row = db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
            return None if row is None else str(row[0])

        value = self._cache._run(read, None)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: str) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (key, value, time.time()))

        self._cache._run(write, None)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._cache._run(lambda db: db.execute("DELETE FROM facts WHERE key = ?", (key,)), None)

    def __iter__(self) -> Iterator[str]:
        def read(db: sqlite3.Connection) -> list[str]:
            return [str(row[0]) for row in db.execute("SELECT key FROM facts ORDER BY key")]

        empty: list[str] = []
        return iter(self._cache._run(read, empty))

    def __len__(self) -> int:
        return len(list(iter(self)))


def key_of(parts: dict[str, object]) -> bytes:
    """sha256 of the canonical JSON of all that changes an embedding."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).digest()


def _packed(vector: Floats) -> bytes:
    return np.asarray(vector, dtype="<f4").tobytes()


def _digest(row: Row) -> bytes:
    return hashlib.sha256(row.key + _packed(row.vector)).digest()


def _verified(key: bytes, dimension: int, vector: bytes, digest: bytes) -> Floats | None:
    """The vector, or None where digest, dimension or length are not as they should be."""
    try:
        if hashlib.sha256(key + vector).digest() != digest or len(vector) != 4 * dimension:
            return None
    except TypeError:  # a column of another type
        return None
    values = np.frombuffer(vector, dtype="<f4").astype(np.float32)
    length = float(np.linalg.norm(values))
    return values if abs(length - 1) < _NORM_TOLERANCE else None
