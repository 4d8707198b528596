"""The SQLite file of a cache, which never makes a run fail, and vectors with digests in its rows.

Processes can share it: it is opened for each piece of work, or kept open without a lock. What is
broken is moved aside, never deleted; what cannot be opened, read or written is one warning.
`journal_mode=DELETE`, SQLite's own: WAL breaks on read-only folders and network file systems.
Knows nothing about what its tables are for.

Shapes: D feature size.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from zsclip.errors import OutputError, ZsclipWarning

BUSY_TIMEOUT_S = 5.0
_BROKEN = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
"""The last is a statement that does not fit the tables: they are not those that were made."""
_NO_DATABASE = (IsADirectoryError, UnicodeDecodeError)
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
"""No space; a quota, or a limit on the size of files, which SQLite does not tell from bad disks."""
_REPLACED = "SQLITE_READONLY_DBMOVED"
_NORM_TOLERANCE = 1e-3

Floats = npt.NDArray[np.float32]
Answer = TypeVar("Answer")


class OtherVersionError(Exception):
    """The file has a schema that this version does not know."""


FAULTS = (OSError, sqlite3.Error, UnicodeDecodeError, OtherVersionError)
"""What `CacheFile.opened` raises."""


class CacheFile:
    """Tables in a file; `path=None` keeps them in memory.

    Args:
        tables: name -> columns, as SQL.
        version: of the tables; those of an older one are emptied, those of a newer one not used.
        stays_open: until `close`, which saves time where pieces of work are many and small; any
            thread may do them, one at a time.
        patience_s: how long to wait for another process's lock; BUSY_TIMEOUT_S unless given.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        tables: Mapping[str, str],
        version: int,
        stays_open: bool = False,
        patience_s: float | None = None,
    ) -> None:
        self.path = path
        self._tables, self._version = tables, version
        self._stays_open, self._patience_s = stays_open, patience_s
        self._memory: sqlite3.Connection | None = None
        if path is None:
            self._memory = sqlite3.connect(":memory:", check_same_thread=False)
            self._make_tables(self._memory)
        self._open: sqlite3.Connection | None = None
        self._open_identity: tuple[int, int] | None = None
        self._warned = self._given_up = False

    def run(self, work: Callable[[sqlite3.Connection], Answer], default: Answer) -> Answer:
        """Do work in a transaction; where the file fails, warn once and return the default."""
        if self._given_up:
            return default
        try:
            return self._attempt(work)
        except FAULTS as error:
            # waiting out the time limit once is enough for a run
            self._given_up = _code(error) == sqlite3.SQLITE_BUSY
            if not self._warned:
                self._warned = True
                used = "written" if _hinders_writing_only(error) else "used"
                message = f"cache not {used}: {reason(error)} ({self.path})"
                warnings.warn(message, ZsclipWarning, stacklevel=4)
            return default

    @contextlib.contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """The database in a transaction, with its tables.

        Raises:
            OSError, sqlite3.Error, OtherVersionError: it cannot be opened, or is broken.
            UnicodeDecodeError: so broken that SQLite's message about it cannot be read.
        """
        if self._memory is not None:
            with self._memory:
                yield self._memory
            return
        db, self._open = self._open or self._connect(), None
        try:
            with db:
                self._make_tables(db)
                yield db
            if self._stays_open:  # as long as nothing goes wrong
                self._open_identity = self._open_identity or self._identity()
                self._open = db
        finally:
            if self._open is None:
                self._open_identity = None
                db.close()

    def close(self) -> None:
        """Close a file that stays open; it is opened again when it is needed."""
        if self._open is not None:
            self._open.close()
        self._open = self._open_identity = None

    def check(self, broken_rows: Callable[[sqlite3.Connection], list[str]]) -> list[str]:
        """What SQLite finds broken, then what `broken_rows` does; or why it cannot be opened."""
        try:
            with self.opened() as db:
                checks = [str(row[0]) for row in db.execute("PRAGMA integrity_check")]
                broken = broken_rows(db)
        except FAULTS as error:
            return [f"{self.path}: {reason(error)}"]
        return [f"{self.path}: {line}" for line in checks if line != "ok"] + broken

    def size_bytes(self) -> int:
        """Of the file; 0 where there is none."""
        try:
            return os.stat(self.path or "").st_size
        except OSError:
            return 0

    def delete(self) -> None:
        """Delete the file, or what is kept in memory.

        Raises:
            OutputError: it cannot be deleted.
        """
        if self._memory is not None:
            with self._memory:
                for name in self._tables:
                    self._memory.execute(f"DELETE FROM {name}")
            return
        self.close()
        place = self._place()
        try:
            for path in (place, place.with_name(f"{place.name}-journal")):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot delete {self.path}: {error.strerror}") from error

    def _connect(self) -> sqlite3.Connection:
        assert self.path is not None
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(self.path))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        patience_s = BUSY_TIMEOUT_S if self._patience_s is None else self._patience_s
        db = sqlite3.connect(self.path, patience_s, check_same_thread=not self._stays_open)
        db.text_factory = _text
        return db

    def _attempt(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        before = self._open_identity or self._identity()
        try:
            with self.opened() as db:
                return work(db)
        except FAULTS as error:
            if isinstance(error, _NO_DATABASE) or _code(error) in _BROKEN:
                self._move_aside(before, reason(error))
            elif _name(error) != _REPLACED:
                raise
        with self.opened() as db:
            return work(db)

    def _make_tables(self, db: sqlite3.Connection) -> None:
        if self._version_of(db) == self._version:
            return
        db.execute("BEGIN IMMEDIATE")
        old = self._version_of(db)
        if old == self._version:  # another process was faster
            return
        for name, columns in self._tables.items():
            if old:
                db.execute(f"DROP TABLE IF EXISTS {name}")
            db.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
        db.execute(f"PRAGMA user_version = {self._version}")

    def _version_of(self, db: sqlite3.Connection) -> int:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if not 0 <= version <= self._version:
            raise OtherVersionError(
                f"it has schema {version}, this zsclip knows schema {self._version}"
            )
        return version

    def _identity(self) -> tuple[int, int] | None:
        """What tells the file from another one that takes its place."""
        try:
            found = os.stat(self.path or "")
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _place(self) -> Path:
        """The file itself where its name is a link; the name where it leads to no file."""
        assert self.path is not None
        real = Path(os.path.realpath(self.path))
        return real if real.is_file() else self.path

    def _move_aside(self, identity: tuple[int, int] | None, why: str) -> None:
        """Rename what is in the place of the file, unless another process has done so."""
        place = self._place()
        aside = place.with_name(f"{place.name}.corrupt-{time.time_ns()}")
        with contextlib.ExitStack() as stack:
            # without locks two processes may both do so: then a whole file is moved aside, too
            with contextlib.suppress(OSError, NotImplementedError):
                lock = FileLock(place.with_suffix(".lock"), timeout=BUSY_TIMEOUT_S)
                stack.enter_context(lock)
            if self._identity() != identity:
                return
            place.replace(aside)
        warnings.warn(
            f"cache was broken ({why}): moved to {aside.name}, starting anew",
            ZsclipWarning,
            stacklevel=5,
        )


def storable(text: str) -> str:
    """Text as SQLite takes it: names of files may hold bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def packed(key: bytes, vector: Floats) -> tuple[bytes, bytes]:
    """A vector (D,) as a row stores it, and its digest, which holds under this key only."""
    content = np.asarray(vector, dtype="<f4").tobytes()
    return content, hashlib.sha256(key + content).digest()


def unpacked(key: bytes, dimension: int, vector: bytes, digest: bytes) -> Floats | None:
    """The vector (D,), or None where digest, dimension or length are not as they should be."""
    try:
        if hashlib.sha256(key + vector).digest() != digest or len(vector) != 4 * dimension:
            return None
    except TypeError:  # a column of another type
        return None
    values = np.frombuffer(vector, dtype="<f4").astype(np.float32)
    length = np.linalg.norm(values.astype(np.float64))  # cannot overflow
    return values if abs(length - 1) < _NORM_TOLERANCE else None


def reason(error: Exception) -> str:
    """Why the file cannot be used, in a few words."""
    if isinstance(error, UnicodeDecodeError):
        return "it is damaged"
    if _name(error) in _FULL:
        return "disk full, or a limit reached"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _hinders_writing_only(error: Exception) -> bool:
    return _name(error) in _FULL or _code(error) == sqlite3.SQLITE_READONLY


def _name(error: Exception) -> str:
    """SQLite's name of an error; empty for others."""
    return getattr(error, "sqlite_errorname", "")


def _code(error: Exception) -> int:
    """The general one of SQLite's codes of an error; 0 for others."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _text(content: bytes) -> str:
    """Text that may have been damaged on the disk."""
    return content.decode("utf-8", "replace")
