"""The file that is to be linked, copied or moved: what it is, and what is in it.

Whatever is wrong with it is a PictureError, as opposed to what is wrong with its new place.
Changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from zsclip.errors import PictureError, PictureErrorCode

_BLOCK_BYTES = 1 << 20
_COARSEST_NS = 2_000_000_000
"""Memory cards keep times in steps of two seconds."""


class Stamp(NamedTuple):
    """What tells whether a file is as it was."""

    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """That of a file's status."""
        return cls(status.st_size, status.st_mtime_ns)

    def fits(self, other: Stamp) -> bool:
        """Whether these may be of the same content, on file systems that round times, too."""
        near = abs(self.mtime_ns - other.mtime_ns) <= _COARSEST_NS
        return near and self.size_bytes == other.size_bytes


def stamp_of(path: str, *, moves: bool) -> Stamp:
    """The stamp of a file that is to be placed.

    Raises:
        PictureError: it is gone, or is not a regular file; a link is none that is to be moved.
    """
    try:
        status = os.lstat(path) if moves else os.stat(path)
    except (OSError, ValueError) as error:  # the latter: a NUL in the name
        raise failure(error) from error
    if stat.S_ISREG(status.st_mode):
        return Stamp.of(status)
    if stat.S_ISLNK(status.st_mode):
        raise PictureError("not_regular", "is a link, and those are not moved")
    raise PictureError("not_regular", "is not a regular file")


def is_still(path: str, known: os.stat_result) -> bool:
    """Whether this is the file of that status, and has not changed since."""
    try:
        now = os.stat(path)
    except OSError:
        return False
    return os.path.samestat(now, known) and Stamp.of(now) == Stamp.of(known)


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor to read from.

    Raises:
        PictureError: it cannot be opened, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise failure(error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PictureError("not_regular", "is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """A file that no other process moves in this way meanwhile, where the file system has locks.

    Raises:
        PictureError: another one does, or has just done so; or it cannot be opened.
    """
    with opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PictureError("not_found", "is just being moved by another process") from None
        except OSError:
            pass
        if not is_still(path, os.fstat(descriptor)):
            raise PictureError("not_found", "was just moved by another process")
        yield


def read_block(source: int) -> bytes:
    """The next bytes; none at the end.

    Raises:
        PictureError: they cannot be read.
    """
    try:
        return os.read(source, _BLOCK_BYTES)
    except OSError as error:
        raise failure(error) from error


def failure(error: OSError | ValueError) -> PictureError:
    """What the system says against a file, as an error of the closed list."""
    number = getattr(error, "errno", errno.ENOENT)
    codes: dict[int | None, PictureErrorCode] = {
        errno.ENOENT: "not_found",
        errno.ENOTDIR: "not_found",
        errno.EACCES: "permission",
        errno.EPERM: "permission",
    }
    message = "no such file" if number == errno.ENOENT else str(getattr(error, "strerror", error))
    return PictureError(codes.get(number, "read_error"), message.lower())
