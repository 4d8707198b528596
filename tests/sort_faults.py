"""Faults of processes that sort: killed at a step, or on file systems that cannot do everything.

A step is what changes a disk: each call of `os` that does, and the middle of each write.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from cache_processes import SERVER

SERVER.set_forkserver_preload(["cache_server", "sort_server"])
MODULES = ("placement", "sort_log", "sorter", "sort_undo")
STEPS = ("fsync", "ftruncate", "link", "makedirs", "mkdir", "rename", "rmdir", "symlink", "unlink")


class FaultyOs:
    """`os`, which counts steps.

    Args:
        kill_at: the step before which this process is killed.
        refused: names of functions that the file system does not have.
        stays: path of a file that may not be removed or renamed.
    """

    def __init__(
        self,
        *,
        kill_at: int | None = None,
        refused: Sequence[str] = (),
        stays: str | None = None,
    ) -> None:
        self.steps = 0
        self._kill_at, self._refused, self._stays = kill_at, refused, stays

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        if name in self._refused:
            return self._refuse
        return self._counted(function) if name in STEPS else function

    def open(self, path: Any, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            self._step()
        return os.open(path, flags, *mode)

    def write(self, descriptor: int, content: bytes) -> int:
        self._step()
        written = os.write(descriptor, content[: len(content) // 2])
        self._step()
        return written + os.write(descriptor, content[len(content) // 2 :])

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._step()
            if arguments[0] == self._stays and function in (os.unlink, os.rename):
                self._refuse()
            return function(*arguments, **options)

        return call

    def _refuse(self, *_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def _step(self) -> None:
        if self.steps == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps += 1


@contextmanager
def faulty(**options: Any) -> Iterator[FaultyOs]:
    """This process has the faults."""
    faults = FaultyOs(**options)
    with ExitStack() as patches:
        for patch in _patches(faults):
            patches.enter_context(patch)
        yield faults


def install(options: dict[str, Any]) -> None:
    """This process has the faults, for good."""
    for patch in _patches(FaultyOs(**options)):
        patch.start()


def _patches(faults: FaultyOs) -> list[Any]:
    return [mock.patch(f"zsclip.sorting.{module}.os", faults) for module in MODULES]


def load_modules() -> None:
    """Import what a sort needs: another user may not read where it lies."""
    for name in ("classifier", "cli.sort_output", "resuming", "sorting.sorter"):
        importlib.import_module(f"zsclip.{name}")
