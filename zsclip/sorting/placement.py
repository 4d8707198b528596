"""Put a file under another name, by link, copy or move; never over what is there.

Each is made of steps, and the process may be killed after any of them. `settle` looks at what that
left and ends it: the file is at its new name or still at its old one, whole, and nothing else is
left over. A file is removed only where the same bytes have another name, which is on the disk by
then. Knows nothing about pictures, labels or logs.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import stat
from dataclasses import dataclass
from typing import Literal, get_args

from zsclip.errors import PictureError
from zsclip.sorting import source_files
from zsclip.sorting.source_files import Stamp

Action = Literal["link", "copy", "move"]
ACTIONS: tuple[str, ...] = get_args(Action)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Placement:
    """A file and its new name.

    Attributes:
        source: absolute path; a link is made to this very name.
        target: absolute path, in a folder that exists.
        part: what an unfinished copy is called meanwhile: in the target's folder, and a name that
            nobody else uses.
        stamp: of the source.
    """

    action: Action
    source: str
    target: str
    part: str
    stamp: Stamp


def place(wanted: Placement) -> None:
    """Link, copy or move, so that a power cut loses nothing either.

    Raises:
        FileExistsError: the new name is taken.
        PictureError: the source is gone, cannot be read or removed, or changed meanwhile; it stays.
        OSError: the target cannot be written; the source stays.
    """
    if wanted.action == "link":
        os.symlink(wanted.source, wanted.target)
        sync_folder(os.path.dirname(wanted.target))
    elif wanted.action == "copy":
        _copy(wanted)
    else:
        with source_files.locked(wanted.source):  # else two could move it, each to its own place
            _move(wanted)


def settle(begun: Placement) -> bool:
    """End a placement that a kill cut off; whether the file is at its new name.

    Raises:
        OSError: what is left over cannot be removed.
    """
    _unlink_if_there(begun.part)
    if _is_placeholder(begun):
        os.unlink(begun.target)
    if not _is_placed(begun):
        return False
    if begun.action == "move" and _is_as_before(begun.source, begun.stamp):
        try:
            _remove_source(begun, os.lstat(begun.source))
        except PictureError:
            return False
    return True


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Have the names in a folder on the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_link_to(path: str, source: str) -> bool:
    """Whether there is a link at this path that says so."""
    try:
        return os.readlink(path) == source
    except OSError:
        return False


def _move(wanted: Placement) -> None:
    """A second name on the same file system, else a copy; then the first name is removed."""
    try:
        os.link(wanted.source, wanted.target)
        known = os.lstat(wanted.target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise
        if not os.path.lexists(wanted.source):
            raise source_files.failure(error) from error
        if error.errno != errno.EXDEV:  # no file system for second names, or not our file
            _rename(wanted)
            return
        known = _copy(wanted)
    else:
        sync_folder(os.path.dirname(wanted.target))
    _remove_source(wanted, known)


def _rename(wanted: Placement) -> None:
    _take_name(wanted)
    try:
        os.rename(wanted.source, wanted.target)
    except OSError as error:
        os.unlink(wanted.target)
        raise source_files.failure(error) from error
    sync_folder(os.path.dirname(wanted.target))
    sync_folder(os.path.dirname(wanted.source))


def _copy(wanted: Placement) -> os.stat_result:
    """Copy content, mode and times under a name of its own, then name it; what the source was."""
    try:
        with source_files.opened(wanted.source) as source:
            before = os.fstat(source)
            _refuse_too_large(wanted.part, before.st_size)
            _write_part(source, wanted)
        is_whole = os.stat(wanted.part).st_size == before.st_size
        if not is_whole or not source_files.is_still(wanted.source, before):
            raise PictureError("read_error", "changed while it was being copied")
        _publish(wanted)
    finally:
        _unlink_if_there(wanted.part)
    sync_folder(os.path.dirname(wanted.target))
    return before


def _write_part(source: int, wanted: Placement) -> None:
    part = os.open(wanted.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while block := source_files.read_block(source):
            while block:
                block = block[os.write(part, block) :]
        _keep_status(source, part, owner=wanted.action == "move")
        os.fsync(part)
    finally:
        os.close(part)


def _keep_status(source: int, part: int, *, owner: bool) -> None:
    """Mode, times and the like, as far as we may and the file system can."""
    status = os.fstat(source)
    with contextlib.suppress(OSError, AttributeError):  # macOS has others, that Python cannot read
        for name in os.listxattr(source):
            os.setxattr(part, name, os.getxattr(source, name))
    if owner:
        with contextlib.suppress(OSError):
            os.fchown(part, status.st_uid, status.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(part, stat.S_IMODE(status.st_mode))
    with contextlib.suppress(OSError):
        os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))


def _publish(wanted: Placement) -> None:
    """Give a whole copy the name that it is for."""
    try:
        os.link(wanted.part, wanted.target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise
        _take_name(wanted)  # no file system for second names
        os.rename(wanted.part, wanted.target)


def _take_name(wanted: Placement) -> None:
    """A file of our own at the new name, to be renamed over: renaming asks nobody."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    placeholder = os.open(wanted.target, flags, 0o600)
    try:
        os.write(placeholder, _mark(wanted))
    finally:
        os.close(placeholder)


def _mark(wanted: Placement) -> bytes:
    return os.fsencode(os.path.basename(wanted.part))


def _is_placeholder(begun: Placement) -> bool:
    """Whether our own file is at the new name; one that is cut is only beside the old name."""
    mark = _mark(begun)
    try:
        status = os.lstat(begun.target)
        if not stat.S_ISREG(status.st_mode) or status.st_size > len(mark):
            return False
        with open(begun.target, "rb") as file:
            content = file.read()
    except OSError:
        return False
    return content == mark or (mark.startswith(content) and os.path.lexists(begun.source))


def _is_placed(begun: Placement) -> bool:
    """Whether what is at the new name came from the old one."""
    if begun.action == "link":
        return is_link_to(begun.target, begun.source)
    if not _is_as_before(begun.target, begun.stamp):
        return False
    return not _is_as_before(begun.source, begun.stamp) or _is_same(begun.source, begun.target)


def _is_as_before(path: str, stamp: Stamp) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and stamp.fits(Stamp.of(status))


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other) or filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _remove_source(wanted: Placement, known: os.stat_result) -> None:
    """Remove the old name; what has taken that name since is somebody else's, and stays."""
    try:
        if source_files.is_still(wanted.source, known):
            os.unlink(wanted.source)
            sync_folder(os.path.dirname(wanted.source))
    except OSError as error:
        os.unlink(wanted.target)  # all is as it was
        raise source_files.failure(error) from error


def _refuse_too_large(part: str, size_bytes: int) -> None:
    """Know before it is written that there is no space."""
    space = os.statvfs(os.path.dirname(part))
    if space.f_blocks and size_bytes > space.f_bavail * space.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unlink_if_there(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
