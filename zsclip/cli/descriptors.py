"""C libraries are kept off stderr.

libtiff writes a line or more to descriptor 2 for each damaged file, from C, where Python cannot
stop it. So that descriptor leads nowhere meanwhile, and Python's stderr has another.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from typing import TextIO

_beside: list[int] = []
"""The descriptor of Python's stderr while 2 is aside. Opened once and never closed: loggers that
other packages make meanwhile keep writing to it."""


def keep_fault_handler() -> None:
    """Let faulthandler (PYTHONFAULTHANDLER) reach stderr, which it writes to from C."""
    if faulthandler.is_enabled():
        faulthandler.enable(os.dup(2))


@contextlib.contextmanager
def c_stderr_aside() -> Iterator[None]:
    """Drop what C libraries write to stderr; what Python writes there goes on."""
    try:
        kept = os.dup(2)
    except OSError:  # closed: nobody is disturbed
        yield
        return
    before, first = sys.stderr, sys.__stderr__
    beside = _stream_beside(before) if _is_on_2(before) else None
    if beside is not None:
        sys.stderr = beside
        # rich asks its terminal for the width
        sys.__stderr__ = beside  # type: ignore[misc]
    _point_2_at_nothing()
    try:
        yield
    finally:
        if beside is not None:
            with contextlib.suppress(OSError, ValueError):
                beside.flush()
            sys.stderr = before
            sys.__stderr__ = first  # type: ignore[misc]
        os.dup2(kept, 2)
        os.close(kept)


def _is_on_2(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == 2
    except (OSError, ValueError, AttributeError):  # closed, or not a file
        return False


def _stream_beside(stream: TextIO) -> TextIOWrapper:
    with contextlib.suppress(OSError):
        stream.flush()
    if _beside:
        os.dup2(2, _beside[0], inheritable=False)
    else:
        _beside.append(os.dup(2))
    return open(
        _beside[0],
        "w",
        buffering=1,
        encoding=stream.encoding,
        errors=stream.errors,
        closefd=False,
    )


def _point_2_at_nothing() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
