"""What earlier runs have sorted into a folder, and what a kill left there unfinished.

Knows nothing about labels or models.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from zsclip.errors import OutputError
from zsclip.sorting import placement, sort_log, sort_records
from zsclip.sorting.sort_log import SortLog
from zsclip.sorting.sort_records import Content, Entry
from zsclip.sorting.source_files import Stamp


@dataclass(frozen=True, slots=True)
class Known:
    """A picture that was linked or copied.

    Attributes:
        target: where it was put.
        run: of the log that says so.
        stamp: of the picture that was copied; a link is to whatever has that name.
    """

    target: str
    run: str
    stamp: Stamp | None


class Earlier:
    """All logs of a folder; close it.

    Args:
        settles: end what was killed, which may remove files; else nothing is changed.

    Raises:
        UsageError: a file is called like a log and is none.
        OutputError: what a kill left cannot be ended.
    """

    def __init__(self, into: Path, *, settles: bool) -> None:
        self.unfinished: list[SortLog] = []
        self._into = into
        self._known: dict[str, Known] = {}
        try:
            if settles:
                sort_log.remove_remains(into)
            for path in sort_log.paths_in(into):
                self._read(path, settles=settles)
        except BaseException:
            self.close()
            raise

    def find(self, source: str) -> Known | None:
        """What became of a picture that has not changed since; moved ones are none of these."""
        known = self._known.get(source)
        if known is None or known.stamp is None:
            return known
        with contextlib.suppress(OSError):
            if known.stamp != Stamp.of(os.stat(source)):
                return None
        return known

    def go_on(self, run: str) -> SortLog | None:
        """The newest log of this very run that was stopped; all others are let go."""
        same = [log for log in self.unfinished if log.content.run == run]
        for log in self.unfinished:
            if log not in same[-1:]:
                log.close()
        return same[-1] if same else None

    def close(self) -> None:
        """Let go of all logs."""
        for log in self.unfinished:
            log.close()

    def _read(self, path: Path, *, settles: bool) -> None:
        content = sort_records.read(path)
        if settles and not content.finished:
            content = self._settled(path) or content
        for number in content.done:
            entry = content.entries[number]
            if entry.action != "move":  # what has the name now is another picture
                self._known[entry.source] = self._known_by(entry, content.run)

    def _settled(self, path: Path) -> Content | None:
        log = sort_log.open_log(path)
        if log is None:  # its process is alive
            return None
        self.unfinished.append(log)
        if log.content.finished:  # it was, a moment ago
            log.close()
            self.unfinished.remove(log)
        else:
            settle(log)
        return log.content

    def _known_by(self, entry: Entry, run: str) -> Known:
        target = os.path.join(self._into, entry.folder, entry.name)
        return Known(target, run, None if entry.action == "link" else entry.stamp)


def settle(log: SortLog) -> None:
    """End what a kill cut off, and note how.

    Raises:
        OutputError: what is left over cannot be removed, or the log not be written.
    """
    for number in sorted(log.content.begun):
        begun = log.placement(log.content.entries[number])
        try:
            is_placed = placement.settle(begun)
        except OSError as error:
            raise OutputError(f"cannot write {begun.target}: {error.strerror}") from error
        if is_placed:
            log.done(number)
        else:
            log.dropped(number)
