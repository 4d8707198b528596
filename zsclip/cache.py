"""Averaged text embeddings on disk: one row for each class of a model.

A cache never makes a run fail: what is not as it was stored is a miss, what cannot be written is
one warning. Every row carries a digest, because a flipped bit passes SQLite's own check.
Knows nothing about prompts or models; keys come from `head_builder`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsclip.cache_file import CacheFile, Floats, packed, storable, unpacked
from zsclip.errors import UsageError

FILE_NAME = "text.sqlite3"
SCHEMA_VERSION = 2
_TABLES = {
    "classes": "key BLOB PRIMARY KEY, model TEXT NOT NULL, class_name TEXT NOT NULL, "
    "dimension INTEGER NOT NULL, vector BLOB NOT NULL, digest BLOB NOT NULL, created REAL NOT NULL",
    "facts": "key TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB NOT NULL, "
    "created REAL NOT NULL",
}


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
    """ZSCLIP_CACHE_DIR, else the cache folder of this user on this system.

    Raises:
        UsageError: the user has no home folder.
    """
    from platformdirs import user_cache_path

    chosen = os.environ.get("ZSCLIP_CACHE_DIR")
    try:
        folder = Path(chosen) if chosen else user_cache_path("zsclip")
    except RuntimeError:  # of platformdirs; older ones leave the `~` where it is
        folder = Path("~")
    if folder.parts[:1] == ("~",):
        raise UsageError(
            "there is no home folder to keep a cache in",
            tip="name a folder with --cache-dir or ZSCLIP_CACHE_DIR",
        )
    return folder


class TextCache:
    """The cache of one folder; `folder=None` keeps everything in memory."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / FILE_NAME
        self._file = CacheFile(self.path, tables=_TABLES, version=SCHEMA_VERSION)

    def load(self, keys: Sequence[bytes], *, dimension: int) -> dict[bytes, Floats]:
        """The vectors of those keys that are there, whole, and of this dimension."""
        found: dict[bytes, Floats] = {}

        def read(db: sqlite3.Connection) -> None:
            for key in dict.fromkeys(keys):
                row = db.execute(
                    "SELECT key, dimension, vector, digest FROM classes WHERE key = ?", (key,)
                ).fetchone()
                vector = None if row is None else unpacked(*row)
                if vector is not None and vector.size == dimension:
                    found[key] = vector

        self._file.run(read, None)
        return found

    def save(self, rows: Sequence[Row]) -> None:
        """Store rows in one transaction; a row of the same key is replaced."""
        now = time.time()
        values = [
            (
                row.key,
                storable(row.model),
                storable(row.class_name),
                row.vector.size,
                *packed(row.key, row.vector),
                now,
            )
            for row in rows
        ]

        def write(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO classes VALUES (?, ?, ?, ?, ?, ?, ?)", values)

        self._file.run(write, None)

    @property
    def facts(self) -> MutableMapping[str, str]:
        """Small facts by key: digests of files, the logit scale of a model."""
        return _Facts(self._file)

    def verify(self) -> list[str]:
        """What is not as it was stored: rows by model and class name, facts, or the file."""

        def broken_rows(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "SELECT model, class_name, key, dimension, vector, digest FROM classes"
            )
            broken = [f"{m}: {name}" for m, name, *row in rows if unpacked(*row) is None]
            facts = db.execute("SELECT key, value, digest FROM facts")
            return broken + [f"fact: {row[0]}" for row in facts if not _is_fact(*row)]

        return self._file.check(broken_rows)

    def info(self) -> CacheInfo:
        """Path, size and rows per model."""

        def read(db: sqlite3.Connection) -> dict[str, int]:
            counts = db.execute("SELECT model, count(*) FROM classes GROUP BY model ORDER BY 1")
            return {str(model): count for model, count in counts}

        empty: dict[str, int] = {}
        classes = self._file.run(read, empty)
        return CacheInfo(self.path or Path(":memory:"), self._file.size_bytes(), classes)

    def prune(self, *, older_than_days: float) -> int:
        """Delete rows that are broken or older; return how many."""
        limit = time.time() - older_than_days * 86400

        def write(db: sqlite3.Connection) -> int:
            rows = db.execute("SELECT key, dimension, vector, digest FROM classes")
            broken = [(row[0],) for row in rows if unpacked(*row) is None]
            db.executemany("DELETE FROM classes WHERE key IS ?", broken)
            old = db.execute("DELETE FROM classes WHERE created < ?", (limit,)).rowcount
            facts = db.execute("SELECT key, value, digest FROM facts")
            lost = [(row[0],) for row in facts if not _is_fact(*row)]
            db.executemany("DELETE FROM facts WHERE key IS ?", lost)
            db.execute("DELETE FROM facts WHERE created < ?", (limit,))
            return len(broken) + old

        deleted = self._file.run(write, 0)
        self._file.run(lambda db: db.executescript("VACUUM"), None)
        return deleted

    def forget(self, weights_digest: str) -> None:
        """Delete every row of these weights, by whatever name the model was called."""
        suffix = f"%@{weights_digest[:6]}"  # rows carry the model's id, which ends so

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM classes WHERE model LIKE ?", (suffix,))

        self._file.run(write, None)

    def clear(self) -> None:
        """Delete the cache file, or what is kept in memory.

        Raises:
            OutputError: the file cannot be deleted.
        """
        self._file.delete()


class _Facts(MutableMapping[str, str]):
    """The facts table as a mapping; what is not as it was stored is not there.

    Other processes change it, too, so that what is there may be gone at the next question.
    """

    def __init__(self, file: CacheFile) -> None:
        self._file = file

    def __getitem__(self, key: str) -> str:
        key = storable(key)

        def read(db: sqlite3.Connection) -> str | None:
            columns = "SELECT key, value, digest FROM facts WHERE key = ?"
            row = db.execute(columns, (key,)).fetchone()
            return row[1] if row is not None and _is_fact(*row) else None

        value = self._file.run(read, None)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: str) -> None:
        key, value = storable(key), storable(value)
        values = (key, value, _fact_digest(key, value), time.time())

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", values)

        self._file.run(write, None)

    def __delitem__(self, key: str) -> None:
        stored = (storable(key),)
        self._file.run(lambda db: db.execute("DELETE FROM facts WHERE key = ?", stored), None)

    def __iter__(self) -> Iterator[str]:
        def read(db: sqlite3.Connection) -> list[str]:
            rows = db.execute("SELECT key, value, digest FROM facts ORDER BY key")
            return [row[0] for row in rows if _is_fact(*row)]

        empty: list[str] = []
        return iter(self._file.run(read, empty))

    def __len__(self) -> int:
        return len(list(iter(self)))


def key_of(parts: dict[str, object]) -> bytes:
    """sha256 of the canonical JSON of all that changes an embedding."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).digest()


def _fact_digest(key: str, value: str) -> bytes:
    return hashlib.sha256(f"{key}\0{value}".encode()).digest()


def _is_fact(key: object, value: object, digest: object) -> bool:
    """Whether a fact is as it was stored."""
    texts = isinstance(key, str) and isinstance(value, str)
    return texts and _fact_digest(str(key), str(value)) == digest
