"""The folder that pictures are sorted into: what it must be, its folders, and free names in them.

Changes nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from zsclip.errors import OutputError, UsageError
from zsclip.sorting import file_names

OTHER = "other"
UNREADABLE = "unreadable"


def folders_of(labels: Iterable[str]) -> dict[str, str]:
    """The folder of each label, by `zsclip.sorting.file_names`."""
    return file_names.of_labels(labels, reserved=(OTHER, UNREADABLE))


def check_folder(into: Path, names: Iterable[str] = ()) -> None:
    """Refuse a target that cannot take folders of these names.

    Raises:
        UsageError: it or one of them is there and no folder, or it would be in none.
        OutputError: it may not be written.
    """
    for folder in (into, *(into / name for name in names)):
        if os.path.lexists(folder) and not folder.is_dir():
            raise UsageError(f"--into {into}: {folder} is not a folder")
    above = into.absolute().parent
    if not above.is_dir():
        raise UsageError(f"--into {into}: there is no folder {above}")
    changed = into if into.is_dir() else above
    if not os.access(changed, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write in {changed}: permission denied")


def check_apart(paths: Sequence[str], into: Path) -> None:
    """Refuse folders in which sorted pictures would be found again.

    Raises:
        UsageError: one has the target in it, or is in the target.
    """
    for path in filter(os.path.isdir, paths):
        if is_within(str(into), path):
            raise UsageError(
                f"--into {into} is in {path}, which is searched for pictures",
                tip="name a folder beside it, like --into ../sorted",
            )
        refuse_within(path, into)


def refuse_within(path: str, into: Path) -> None:
    """Refuse pictures of the target itself.

    Raises:
        UsageError: the path leads there.
    """
    if is_within(path, str(into)):
        raise UsageError(
            f"{path} is in --into {into}, where pictures are put", tip="sort into another folder"
        )


def is_within(path: str, folder: str) -> bool:
    """Whether a path leads to a folder or below it, whatever names and links lead there."""
    try:
        wanted = os.stat(folder)
    except (OSError, ValueError):
        return False
    place = os.path.realpath(path)
    while True:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(place), wanted):
                return True
        place, below = os.path.dirname(place), place
        if place == below:
            return False


def absolute(path: str) -> str:
    """The path of a file from the root on, links on the way resolved; its own name stays."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder or os.curdir), name)


class FreeNames:
    """Names in the folders of a target that nothing has yet, none given twice."""

    def __init__(self, into: Path) -> None:
        self._into = into
        self._numbers: dict[tuple[str, str], int] = {}
        self._given: set[tuple[str, str]] = set()

    def next(self, folder: str, name: str) -> str:
        """The name of a file itself, or with the first number that is free."""
        while True:
            number = self._numbers.get((folder, name), 0) + 1
            self._numbers[folder, name] = number
            free = file_names.numbered_file(name, number)
            is_taken = os.path.lexists(self._into / folder / free)
            if not is_taken and (folder, free) not in self._given:
                self._given.add((folder, free))
                return free
