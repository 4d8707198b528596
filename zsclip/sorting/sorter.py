"""Results -> pictures in folders by label: `INTO/cat/a.jpg`.

Each step is noted in a log: the next run ends and continues one that was stopped, and
`zsclip.sorting.sort_undo` takes all of it back. Knows nothing about models or terminals.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zsclip.errors import OutputError, PictureError
from zsclip.inputs import Input
from zsclip.results import Failure, Result, ScoreKind
from zsclip.sorting import placement, sort_log, sort_target, source_files
from zsclip.sorting.placement import Action
from zsclip.sorting.sort_history import Earlier
from zsclip.sorting.sort_log import SortLog
from zsclip.sorting.sort_target import OTHER, UNREADABLE, FreeNames
from zsclip.sorting.source_files import Stamp

_STAY = ("not_found", "permission", "is_directory", "not_regular", "fetch_error")
"""Errors of what cannot be put anywhere."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Sorted:
    """What became of one picture.

    Attributes:
        action: what was done; None where the picture stays as it is.
        target: its new path.
        error: why it stays, or why it is among the unreadable ones.
    """

    path: str | None
    label: str | None
    score: float | None
    score_kind: ScoreKind | None
    action: Action | None = None
    target: str | None = None
    error: Failure | None = None


@dataclass(slots=True)
class Passed:
    """Pictures that were not looked at.

    Attributes:
        before: sorted by an earlier run.
        otherwise: of those, by other labels or options.
        absent: of those, not where they were put any more.
        twice: named more than once.
    """

    before: int = 0
    otherwise: int = 0
    absent: int = 0
    twice: int = 0


class Sorter:
    """Puts pictures into folders, one by one; close it.

    Args:
        into: the target, made when the first picture is put there.
        folders: label -> name of its folder.
        run: digest of all that decides where a picture goes, and the action.
        dry_run: tell what would be done, and do nothing.

    Attributes:
        log: None as long as nothing was done.
    """

    def __init__(
        self,
        into: Path,
        folders: Mapping[str, str],
        action: Action,
        *,
        earlier: Earlier,
        run: str,
        dry_run: bool = False,
    ) -> None:
        self.passed = Passed()
        self.log: SortLog | None = earlier.go_on(run)
        self._into, self._folders, self._action = into, folders, action
        self.dry_run = dry_run
        self._earlier, self._run = earlier, run
        self._ready: set[str] = set()
        self._names = FreeNames(into)

    def waiting(self, inputs: Iterable[Input]) -> Iterator[Input]:
        """The inputs that are to be classified: each picture once, and none that was sorted.

        Raises:
            UsageError: a picture lies in the target.
        """
        named: set[str] = set()
        searched: set[str] = set()
        for item in inputs:
            if item.path is None or isinstance(item.source, Failure) or "\0" in item.path:
                yield item
                continue
            source = sort_target.absolute(item.path)
            folder = os.path.dirname(source)
            if folder not in searched:
                sort_target.refuse_within(folder, self._into)
                searched.add(folder)
            if source in named:
                self.passed.twice += 1
            elif not self._was_sorted(source):
                yield item
            named.add(source)

    def place(self, result: Result) -> Sorted:
        """Put the picture of a result where it belongs.

        Raises:
            OutputError: nothing can be put there; what was, stays, and the log knows it.
        """
        folder = self._folder_of(result)
        if folder is None or result.path is None:
            return self._sorted(result)
        try:
            source = sort_target.absolute(result.path)
            stamp = source_files.stamp_of(source, moves=self._action == "move")
            if self.dry_run:
                name = self._names.next(folder, os.path.basename(source))
            else:
                name = self._put(source, stamp, folder, result)
        except PictureError as error:
            return self._sorted(result, error=Failure(error.code, error.message))
        return self._sorted(result, target=os.path.join(self._into, folder, name))

    def finish(self) -> None:
        """Note that all inputs were seen.

        Raises:
            OutputError: the log cannot be written.
        """
        if self.log is not None:
            self.log.end()

    def close(self) -> None:
        """Let go of the log."""
        if self.log is not None:
            self.log.close()

    def _was_sorted(self, source: str) -> bool:
        known = self._earlier.find(source)
        if known is None:
            return False
        self.passed.before += 1
        self.passed.otherwise += known.run != self._run
        self.passed.absent += not os.path.lexists(known.target)
        return True

    def _folder_of(self, result: Result) -> str | None:
        if result.error is not None:
            return None if result.error.code in _STAY else UNREADABLE
        return self._folders.get(result.label or "", OTHER)

    def _sorted(
        self, result: Result, *, target: str | None = None, error: Failure | None = None
    ) -> Sorted:
        return Sorted(
            path=result.path,
            label=result.label,
            score=result.score,
            score_kind=result.score_kind,
            action=None if target is None else self._action,
            target=target,
            error=result.error or error,
        )

    def _put(self, source: str, stamp: Stamp, folder: str, result: Result) -> str:
        """Put a file into a folder; the name it got there."""
        log = self._log_for(folder)
        while True:
            name = self._names.next(folder, os.path.basename(source))
            entry = log.begin(
                self._action,
                source,
                folder=folder,
                name=name,
                label=result.label,
                score=result.score,
                stamp=stamp,
            )
            begun = log.placement(entry)
            try:
                placement.place(begun)
            except FileExistsError:  # somebody was faster
                log.dropped(entry.number)
            except PictureError:
                log.dropped(entry.number)
                raise
            except OSError as error:  # the next run settles it
                raise _cannot_write(begun.target, error, tip=self._tip(error, log)) from error
            else:
                log.done(entry.number)
                return name

    def _tip(self, error: OSError, log: SortLog) -> str:
        if self._action == "link" and error.errno in _NO_LINKS:
            return "this file system has no links; use --copy"
        undo = shlex.join(["zsclip", "sort", "--undo", str(log.path)])
        return f"the same command goes on from here; '{undo}' takes back what was done"

    def _log_for(self, folder: str) -> SortLog:
        """The log, once there is a folder of this name."""
        if self.log is None:
            self.log = self._new_log()
        path = self._into / folder
        if folder not in self._ready:
            if not path.is_dir():
                self.log.will_make_folder(folder)
                _make_folder(path)
            self._ready.add(folder)
        return self.log

    def _new_log(self) -> SortLog:
        made_folder = not self._into.is_dir()
        if made_folder:
            _make_folder(self._into)
        try:
            return sort_log.create(self._into, run=self._run, made_folder=made_folder)
        except OutputError:
            if made_folder:
                with contextlib.suppress(OSError):
                    os.rmdir(self._into)
            raise


def _make_folder(path: Path) -> None:
    try:
        os.mkdir(path)
        placement.sync_folder(path.parent)
    except FileExistsError:  # another run was faster; a file that has the name is found out later
        pass
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str | Path, error: OSError, *, tip: str | None = None) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}", tip=tip)
