"""The log of `zsclip sort`, in the target folder: a run is continued and undone by what it says.

What is about to be done is on the disk first, so at most the last picture of a log is in doubt
after a kill. A log that grows is locked. Places no picture.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from zsclip.errors import OutputError, UsageError
from zsclip.sorting import sort_records
from zsclip.sorting.placement import Action, Placement, sync_folder
from zsclip.sorting.sort_records import Content, Entry, Record
from zsclip.sorting.source_files import Stamp
from zsclip.writers import dumps

PREFIX = ".zsclip-sort-"
_ENDING = ".jsonl"
_NEW = ".new"


class SortLog:
    """A log that is locked, and grows.

    Every method raises OutputError where the log cannot be written: then nothing is to be done.
    """

    def __init__(self, path: Path, descriptor: int, content: Content) -> None:
        self.path = path
        self.content = content
        self._descriptor: int | None = descriptor
        self._last = max(content.entries, default=0)

    @property
    def folder(self) -> str:
        """Where it lies, with the folders that it tells of."""
        return str(self.path.parent)

    def close(self) -> None:
        """Let others have it; it may be closed already."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def begin(
        self,
        action: Action,
        source: str,
        *,
        folder: str,
        name: str,
        label: str | None,
        score: float | None,
        stamp: Stamp,
    ) -> Entry:
        """Note what is about to be done."""
        self._last += 1
        entry = Entry(self._last, action, source, folder, name, label, score, stamp)
        self._write(sort_records.begun_record(entry), sync=True)
        self.content.entries[entry.number] = entry
        self.content.begun.add(entry.number)
        return entry

    def done(self, number: int) -> None:
        """Note that a picture is in its place."""
        self._note({"done": number})

    def dropped(self, number: int) -> None:
        """Note that nothing came of it."""
        self._note({"dropped": number})

    def undoing(self, number: int) -> None:
        """Note that a picture is about to be moved back."""
        self._note({"undoing": number}, sync=True)

    def undone(self, number: int) -> None:
        """Note that it was taken back."""
        self._note({"undone": number})

    def will_make_folder(self, name: str) -> None:
        """Note a folder that is about to be made."""
        self._note({"folder": name}, sync=True)

    def end(self) -> None:
        """Note that the run has come to its end."""
        self._note({"end": True}, sync=True)

    def placement(self, entry: Entry) -> Placement:
        """Where a picture comes from and goes to."""
        folder = os.path.join(self.folder, entry.folder)
        return Placement(
            entry.action,
            source=entry.source,
            target=os.path.join(folder, entry.name),
            part=os.path.join(folder, self.part_name(entry)),
            stamp=entry.stamp,
        )

    def part_name(self, entry: Entry) -> str:
        """What an unfinished copy of a picture is called."""
        return f"{PREFIX}{self.content.log_id}-{entry.number}.part"

    def _note(self, record: Record, *, sync: bool = False) -> None:
        self._write(record, sync=sync)
        self.content.take(record)

    def _write(self, record: Record, *, sync: bool) -> None:
        assert self._descriptor is not None
        with _writing(self.path):
            _write_line(self._descriptor, record)
            if sync:
                os.fsync(self._descriptor)


def create(folder: Path, *, run: str, made_folder: bool) -> SortLog:
    """A new log. It gets its name when it is locked and has its first line.

    Raises:
        OutputError: it cannot be written.
    """
    log = None
    while log is None:  # until nobody takes it for the remains of another process
        content = Content(secrets.token_hex(4), run, made_folder)
        with _writing(folder):
            log = _created(folder, content)
    sync_folder(folder)
    return log


def _created(folder: Path, content: Content) -> SortLog | None:
    """A new log; None where another process has just removed it."""
    name = f"{PREFIX}{time.strftime('%Y%m%d-%H%M%S')}-{content.log_id}{_ENDING}"
    path, new = folder / name, folder / f"{name}{_NEW}"
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(new, flags, 0o666)
    try:
        if _lock(descriptor):
            _write_line(descriptor, sort_records.first_record(content))
            os.fsync(descriptor)
            with contextlib.suppress(FileNotFoundError):
                os.rename(new, path)
                return SortLog(path, descriptor, content)
        os.close(descriptor)
    except BaseException:
        os.close(descriptor)
        new.unlink(missing_ok=True)
        raise
    return None


def open_log(path: Path) -> SortLog | None:
    """A log with its lock; None while another process has it.

    Raises:
        UsageError: there is none, or the file is something else.
        OutputError: it may not be written.
    """
    descriptor = _open(path)
    try:
        if not _lock(descriptor) or not _is_at(path, descriptor):
            os.close(descriptor)
            return None
        content = sort_records.read(path)
        with _writing(path):
            os.ftruncate(descriptor, content.size_bytes)  # a line that was cut
    except BaseException:
        os.close(descriptor)
        raise
    return SortLog(path, descriptor, content)


def paths_in(folder: Path) -> list[Path]:
    """The logs of a folder, oldest first."""
    return sorted(folder.glob(f"{PREFIX}*{_ENDING}"))


def remove_remains(folder: Path) -> None:
    """Remove logs without a name: of processes that were killed when they had done nothing.

    Raises:
        OutputError: they cannot be removed.
    """
    for path in folder.glob(f"{PREFIX}*{_NEW}"):
        with _writing(path), contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _write_line(descriptor: int, record: Record) -> None:
    line = dumps(record).encode() + b"\n"
    if os.write(descriptor, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    except (OSError, ValueError) as error:  # the latter: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path}: cannot be read: {reason.lower()}") from error


def _lock(descriptor: int) -> bool:
    """Whether it is ours now; yes where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
