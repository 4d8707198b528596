"""What the user named -> one input after another: files, folders, globs, lists, standard input.

An existing path beats a glob, list entries are literal, folders are walked in byte order. Lazy:
the first input comes out while a list is still being read. Opens no pictures.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from zsclip import globs
from zsclip.errors import InputError
from zsclip.formats import EXTENSIONS
from zsclip.images import ImageInput
from zsclip.results import Failure


@dataclass(frozen=True, slots=True)
class Input:
    """One input: what to decode, or why there is nothing to decode.

    Attributes:
        path: as shown in results; None for pictures from memory.
    """

    path: str | None
    source: ImageInput | Failure


@dataclass(slots=True)
class Skipped:
    """Files that a walk through folders passed over; counted while inputs are read."""

    files: int = 0


def expand(paths: Iterable[str], *, stdin: BinaryIO, skipped: Skipped) -> Iterator[Input]:
    """Inputs of the command line: existing paths, `-` for a picture on stdin, quoted globs."""
    for path in paths:
        if path == "-":
            yield Input("-", _read(stdin.read))
        elif os.path.lexists(path):
            yield from _file_or_folder(path, skipped)
        elif globs.is_pattern(path):
            yield from _glob(path, skipped)
        else:
            yield Input(path, path)


def from_list(stream: BinaryIO, *, separator: bytes, skipped: Skipped) -> Iterator[Input]:
    """Inputs of a list of paths, literal; folders in it are walked, blank entries are skipped.

    Args:
        separator: newline (a carriage return before it is dropped) or NUL.
    """
    for entry in _entries(stream, separator):
        name = entry.removesuffix(b"\r") if separator == b"\n" else entry
        if name.strip():
            yield from _file_or_folder(os.fsdecode(name), skipped)


def _entries(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    # read1 hands on what a pipe has now, so that the first entry does not wait for a full buffer
    read = getattr(stream, "read1", stream.read)
    rest = b""
    while block := _read(read, 1 << 16):
        *entries, rest = (rest + block).split(separator)
        yield from entries
    if rest:
        yield rest


def _read(read: Callable[..., bytes], *size: int) -> bytes:
    try:
        return read(*size)
    except OSError as error:
        raise InputError(f"the input cannot be read: {error.strerror}") from error


def _file_or_folder(path: str, skipped: Skipped) -> Iterator[Input]:
    if os.path.isdir(path):
        yield from walk(path, skipped)
    else:
        yield Input(path, path)


def _glob(pattern: str, skipped: Skipped) -> Iterator[Input]:
    matches = globs.find(pattern)
    if not matches:
        yield Input(pattern, Failure("not_found", "nothing matches this pattern"))
    for path in matches:
        yield from _file_or_folder(path, skipped)


def walk(folder: str, skipped: Skipped) -> Iterator[Input]:
    """Pictures of a folder and those below, by extension; hidden and linked folders are skipped."""
    levels = [_entries_of(folder)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
        elif isinstance(entry, Input):
            yield entry
        elif entry.name.startswith("."):
            skipped.files += not is_folder(entry)
        elif is_folder(entry, linked=False):
            levels.append(_entries_of(entry.path))
        elif is_folder(entry):
            continue
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield Input(entry.path, entry.path)
        else:
            skipped.files += 1


def _entries_of(folder: str) -> Iterator[os.DirEntry[str] | Input]:
    """What is in a folder, in byte order, or one failed input."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        yield Input(folder, _folder_failure(error))
    else:
        yield from found


def _folder_failure(error: OSError) -> Failure:
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure("permission", "permission denied")
    if error.errno == errno.ENOENT:  # removed while the walk went on
        return Failure("not_found", "no such folder")
    return Failure("read_error", f"folder cannot be read: {(error.strerror or '').lower()}")


def is_folder(entry: os.DirEntry[str], *, linked: bool = True) -> bool:
    """Whether this is a folder, or a link to one; links in a circle are none."""
    try:
        return entry.is_dir(follow_symlinks=linked)
    except OSError:
        return False


def at_least_one(inputs: Iterator[Input], skipped: Skipped) -> Iterator[Input]:
    """The same inputs, refusing an empty list.

    Raises:
        InputError: there is no input at all.
    """
    first = next(inputs, None)
    if first is None:
        passed = f" (other files: {skipped.files})" if skipped.files else ""
        raise InputError(
            f"no pictures among the inputs{passed}",
            tip="name a picture, a folder, a quoted glob, or a list with --files-from",
        )
    yield first
    yield from inputs
