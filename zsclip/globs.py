"""Paths that fit a pattern of `*`, `?`, `[...]`, and `**` for folders at any depth.

As Python's own glob finds them, but `**` goes through no links: two links that lead upwards would
give it more paths than can be counted. A pattern that ends in `**` is the folder before it. Hidden
names are found by patterns that begin with a dot only.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Iterator, Sequence

_SPECIAL = frozenset("*?[")


def is_pattern(path: str) -> bool:
    """Whether there is anything to expand."""
    return not _SPECIAL.isdisjoint(path)


def find(pattern: str) -> list[str]:
    """All paths that fit, each once, in byte order; none where a folder cannot be read."""
    parts = [part for part in pattern.split("/") if part]
    if pattern.endswith("/"):
        parts.append("")  # folders only
    return sorted(set(_below("/" if pattern.startswith("/") else "", parts)), key=os.fsencode)


def _below(start: str, parts: Sequence[str]) -> Iterator[str]:
    """What fits all parts, one after another, from a folder on; `""` is the current one."""
    if not parts:
        yield start or os.curdir
        return
    part, *rest = parts
    if part == "**":
        folders = _folders_below(start) if rest else [start]
        for folder in folders:
            yield from _below(folder, rest)
    elif is_pattern(part):
        for entry in _entries_of(start):
            path = os.path.join(start, entry.name)
            if _fits(entry.name, part) and (not rest or os.path.isdir(path)):
                yield from _below(path, rest)
    else:
        path = os.path.join(start, part)
        if os.path.lexists(path):
            yield from _below(path, rest)


def _folders_below(start: str) -> Iterator[str]:
    """A folder and all below it that are neither hidden nor links."""
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        yield folder
        for entry in _entries_of(folder):
            with contextlib.suppress(OSError):
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    waiting.append(os.path.join(folder, entry.name))


def _entries_of(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder or os.curdir) as entries:
            return list(entries)
    except OSError:
        return []


def _fits(name: str, part: str) -> bool:
    if name.startswith(".") and not part.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, part)
