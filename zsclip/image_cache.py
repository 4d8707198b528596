"""Image features on disk: one row for each picture, by the digest of its content.

The same promises as the text cache: it never makes a run fail, what is not as it was stored is a
miss, what cannot be written is one warning. Failed pictures have no rows. Knows nothing about
engines.

Shapes: D feature size.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL

from zsclip import cache_file
from zsclip.cache_file import CacheFile, Floats, packed, storable, unpacked
from zsclip.decoding import Decoding
from zsclip.images import Content
from zsclip.weights import LocalModel

FILE_NAME = "images.sqlite3"
SCHEMA_VERSION = 1
IMAGE_PIPELINE_VERSION = 1
"""Counts up when a change of zsclip changes the features of a picture."""
_TABLES = {
    "pictures": "key BLOB PRIMARY KEY, model TEXT NOT NULL, frames INTEGER, "
    "truncated INTEGER NOT NULL, dimension INTEGER NOT NULL, vector BLOB NOT NULL, "
    "digest BLOB NOT NULL, created REAL NOT NULL",
}
_COLUMNS = "key, frames, truncated, dimension, vector, digest"
_SHOWN_DIGITS = 12
_LAST = 2**63 - 1
"""No row of SQLite's has a higher number."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One picture: image_features (D,) of unit length, and what its result says besides."""

    key: bytes
    features: Floats
    frames: int | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ImageCacheInfo:
    """What is in the cache; `pictures` counts rows per model."""

    path: Path
    size_bytes: int
    pictures: dict[str, int]


class ImageCache:
    """The image cache of a folder. Any thread may use it.

    Args:
        patience_s: how long to wait while another process writes, at most BUSY_TIMEOUT_S.
    """

    def __init__(self, folder: Path, *, patience_s: float = float("inf")) -> None:
        self.path = folder / FILE_NAME
        self._file = CacheFile(
            self.path,
            tables=_TABLES,
            version=SCHEMA_VERSION,
            stays_open=True,
            patience_s=min(patience_s, cache_file.BUSY_TIMEOUT_S),
        )
        self._lock = threading.Lock()

    def newest(self) -> int:
        """The number of the newest row; later ones get higher numbers."""

        def read(db: sqlite3.Connection) -> int:
            return int(db.execute("SELECT coalesce(max(rowid), 0) FROM pictures").fetchone()[0])

        return self._run(read, 0)

    def load(
        self, keys: Sequence[bytes], *, dimension: int, newest: int = _LAST
    ) -> dict[bytes, ImageRow]:
        """The rows of those keys that are there, whole, of this dimension and not too new."""
        found: dict[bytes, ImageRow] = {}
        if not keys:
            return found

        def read(db: sqlite3.Connection) -> None:
            for key in keys:
                asked = f"SELECT {_COLUMNS} FROM pictures WHERE key = ? AND rowid <= ?"
                # all there is: SQLite keeps its lock until the last one is taken
                rows = [_verified(*row) for row in db.execute(asked, (key, newest)).fetchall()]
                found.update((key, r) for r in rows if r and r.features.size == dimension)

        self._run(read, None)
        return found

    def save(self, rows: Sequence[ImageRow], *, model: str) -> None:
        """Store rows in one transaction; a row of the same key is replaced."""
        if not rows:
            return
        now = time.time()
        values = [
            (
                row.key,
                storable(model),
                row.frames,
                row.truncated,
                row.features.size,
                *packed(_bound(row.key, row.frames, row.truncated), row.features),
                now,
            )
            for row in rows
        ]

        def write(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values
            )

        self._run(write, None)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._lock:
            self._file.close()

    def verify(self) -> list[str]:
        """What is not as it was stored: pictures by model and key, or the file."""

        def broken_rows(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(f"SELECT model, {_COLUMNS} FROM pictures")
            return [_named(model, *row) for model, *row in rows if _verified(*row) is None]

        with self._lock:
            return self._file.check(broken_rows) if self.path.exists() else []

    def info(self) -> ImageCacheInfo:
        """Path, size and rows per model."""

        def read(db: sqlite3.Connection) -> dict[str, int]:
            counts = db.execute("SELECT model, count(*) FROM pictures GROUP BY model ORDER BY 1")
            return {str(model): count for model, count in counts}

        empty: dict[str, int] = {}
        pictures = self._run(read, empty) if self.path.exists() else empty
        return ImageCacheInfo(self.path, self._file.size_bytes(), pictures)

    def prune(self, *, older_than_days: float) -> int:
        """Delete rows that are broken or older; return how many."""
        if not self.path.exists():
            return 0
        limit = time.time() - older_than_days * 86400

        def write(db: sqlite3.Connection) -> int:
            rows = db.execute(f"SELECT {_COLUMNS} FROM pictures")
            broken = [(row[0],) for row in rows if _verified(*row) is None]
            db.executemany("DELETE FROM pictures WHERE key IS ?", broken)
            old = db.execute("DELETE FROM pictures WHERE created < ?", (limit,)).rowcount
            return len(broken) + old

        deleted = self._run(write, 0)
        self._run(lambda db: db.executescript("VACUUM"), None)
        return deleted

    def clear(self) -> None:
        """Delete the cache file.

        Raises:
            OutputError: it cannot be deleted.
        """
        with self._lock:
            self._file.delete()

    def _run(self, work: Callable[[sqlite3.Connection], Answer], default: Answer) -> Answer:
        with self._lock:
            return self._file.run(work, default)


class KnownPictures:
    """The rows of one model and one way to decode, for one pass over pictures.

    `find` knows what was there when the pass began: what else it finds would depend on how far
    threads are ahead, and so would what is encoded together. `load` knows all there is by now.
    """

    def __init__(
        self, cache: ImageCache, local: LocalModel, *, decoding: Decoding, precision: str
    ) -> None:
        self._cache = cache
        self._model = local.id
        self._dimension = int(local.config.model_cfg["embed_dim"])
        self._takes_truncated = decoding.allow_truncated
        self._beginning = _canonical(
            {
                **feature_facts(local, decoding=decoding, precision=precision),
                "max_pixels": decoding.max_pixels,  # a larger picture must fail
                "pillow": PIL.__version__,
            }
        )
        self._newest = cache.newest()

    def key(self, content: Content) -> bytes | None:
        """What a picture has its row under; None for Pillow's, which are not cached."""
        if isinstance(content, bytes):
            kind, raw = b"file", content
        elif isinstance(content, np.ndarray) and content.dtype == np.uint8:
            kind, raw = f"array {content.shape}".encode(), content.tobytes()
        else:
            return None
        digest = hashlib.sha256(raw).digest()
        return hashlib.sha256(self._beginning + kind + digest).digest()

    def find(self, key: bytes) -> ImageRow | None:
        """The row of a picture that was there when this pass began."""
        found = self._cache.load([key], dimension=self._dimension, newest=self._newest)
        row = found.get(key)
        if row is not None and row.truncated and not self._takes_truncated:
            return None  # it must fail
        return row

    def load(self, keys: Sequence[bytes]) -> dict[bytes, ImageRow]:
        """All rows of these pictures by now."""
        return self._cache.load(keys, dimension=self._dimension)

    def save(self, rows: Sequence[ImageRow]) -> None:
        """Store rows in one transaction."""
        self._cache.save(rows, model=self._model)


def feature_facts(local: LocalModel, *, decoding: Decoding, precision: str) -> dict[str, object]:
    """All but the picture that changes its features by more than rounding."""
    return {
        "weights": local.digest,
        "architecture": local.config.fingerprint,
        "preprocess": asdict(local.config.preprocess),
        "decode": decoding.decode,
        "exact": decoding.exact,
        "background": decoding.colour,
        "fit": decoding.fit,
        "precision": precision,
        "pipeline": IMAGE_PIPELINE_VERSION,
    }


def fingerprint(local: LocalModel, *, decoding: Decoding, precision: str) -> str:
    """A digest of `feature_facts`: features of equal ones can be compared."""
    return _canonical(feature_facts(local, decoding=decoding, precision=precision)).hex()


def _canonical(facts: dict[str, object]) -> bytes:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()


def _bound(key: bytes, frames: object, truncated: object) -> bytes:
    """What the digest of a row is about, besides its vector."""
    return key + f" {frames} {truncated:d}".encode()


def _verified(
    key: bytes, frames: int | None, truncated: int, dimension: int, vector: bytes, digest: bytes
) -> ImageRow | None:
    """The row, or None where it is not as it was stored."""
    try:
        features = unpacked(_bound(key, frames, truncated), dimension, vector, digest)
    except (TypeError, ValueError):  # a column of another type
        return None
    return None if features is None else ImageRow(key, features, frames, bool(truncated))


def _named(model: str, key: object, *_: object) -> str:
    digits = key.hex()[:_SHOWN_DIGITS] if isinstance(key, bytes) else str(key)
    return f"{model}: picture {digits}"
