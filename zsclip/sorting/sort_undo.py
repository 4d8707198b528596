"""Take back what a log of `zsclip sort` says was done, last things first.

Moved files return to where they were; links and copies are removed. What would lose something
stays, and is reported: where a place is taken, or a copy is the only one. It may be killed at any
point and started again. Knows nothing about terminals.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zsclip.errors import OutputError, PictureError, UsageError
from zsclip.sorting import placement, sort_history, sort_log
from zsclip.sorting.placement import FULL, Placement
from zsclip.sorting.sort_log import SortLog
from zsclip.sorting.sort_records import Entry
from zsclip.sorting.source_files import Stamp

UndoErrorCode = Literal["taken", "gone", "changed", "no_original", "refused"]


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of one picture.

    Attributes:
        path: where it was before it was sorted.
        target: where it was put.
        action: `restore` or `remove`; None where nothing was to be done, or could be.
        error: why it stays there: a code and a sentence.
    """

    path: str
    target: str
    action: Literal["restore", "remove"] | None
    error: tuple[UndoErrorCode, str] | None = None


class _Stays(Exception):
    """A picture cannot be taken back."""

    def __init__(self, code: UndoErrorCode, message: str) -> None:
        super().__init__(message)
        self.error: tuple[UndoErrorCode, str] = code, message


def undo(path: Path) -> Iterator[Undone]:
    """Take back a run, and yield what became of each picture.

    In the end folders that the run made and that are empty are removed, and the log, where nothing
    of it is left to undo.

    Raises:
        UsageError: it is not a log, or its run is not over.
        OutputError: the log cannot be written, or there is no space to put a file back.
    """
    log = sort_log.open_log(path)
    if log is None:
        raise UsageError(f"{path}: another process is writing to it")
    with contextlib.closing(log):
        sort_history.settle(log)
        for number in sorted(log.content.done, reverse=True):
            yield _undo(log, log.content.entries[number])
        _remove_folders(log)


def _undo(log: SortLog, entry: Entry) -> Undone:
    target = log.placement(entry).target
    take_back = {"link": _remove_link, "copy": _remove_copy, "move": _move_back}[entry.action]
    try:
        did = take_back(log, entry, target)
    except _Stays as stays:
        if entry.number in log.content.undoing:
            log.done(entry.number)  # still, and there is nothing to settle
        return Undone(entry.source, target, None, stays.error)
    log.undone(entry.number)
    action: Literal["restore", "remove"] = "restore" if entry.action == "move" else "remove"
    return Undone(entry.source, target, action if did else None)


def _remove_link(_: SortLog, entry: Entry, target: str) -> bool:
    if not os.path.lexists(target):
        return False
    if not placement.is_link_to(target, entry.source):
        raise _Stays("changed", "is not the link that was made")
    return _remove(target)


def _remove_copy(_: SortLog, entry: Entry, target: str) -> bool:
    if not os.path.lexists(target):
        return False
    is_itself = os.path.realpath(entry.source) == os.path.realpath(target)  # by a link
    if is_itself or not os.path.isfile(entry.source):
        raise _Stays("no_original", "the picture that it is a copy of is gone")
    if _stamp(target) is None or not _is_equal(target, entry.source):
        raise _Stays("changed", "is not equal any more to the picture that it is a copy of")
    return _remove(target)


def _move_back(log: SortLog, entry: Entry, target: str) -> bool:
    there, before = _stamp(target), _stamp(entry.source)
    was_killed = entry.number in log.content.undoing
    if there is None:
        if was_killed and before is not None and before.fits(entry.stamp):
            return False
        raise _Stays("gone", "is not where it was put")
    part = os.path.join(os.path.dirname(entry.source), log.part_name(entry))
    back = Placement("move", source=target, target=entry.source, part=part, stamp=there)
    try:
        if was_killed and placement.settle(back):
            return True
        if os.path.lexists(entry.source):
            raise FileExistsError
        log.undoing(entry.number)
        os.makedirs(os.path.dirname(entry.source), exist_ok=True)
        placement.place(back)
    except FileExistsError as error:
        raise _Stays("taken", "its place is taken") from error
    except PictureError as error:
        raise _Stays("refused", error.message) from error
    except OSError as error:
        if error.errno in FULL:
            raise OutputError(f"cannot write {entry.source}: {error.strerror}") from error
        raise _Stays("refused", f"{entry.source}: {error.strerror}") from error
    return True


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError as error:
        raise _Stays("refused", (error.strerror or str(error)).lower()) from error
    return True


def _is_equal(one: str, other: str) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _stamp(path: str) -> Stamp | None:
    """Of a file; None where there is none, or something else."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode):
            return Stamp.of(status)
    return None


def _remove_folders(log: SortLog) -> None:
    """Remove folders that were made and are empty; then the log, if nothing is left to undo."""
    for name in reversed(log.content.folders):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(log.folder, name))
    if log.content.done:
        return
    try:
        os.unlink(log.path)
    except OSError as error:
        raise OutputError(f"cannot remove {log.path}: {error.strerror}") from error
    if log.content.made_folder:
        with contextlib.suppress(OSError):
            os.rmdir(log.folder)
