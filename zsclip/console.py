"""What is said on the terminal: messages, lines of data, progress.

stdout carries data only; everything else goes to stderr, each message one whole line. What comes
from files (names, labels) is printed with its control characters escaped.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, TextIO

from zsclip.errors import ZsclipError, ZsclipWarning
from zsclip.plain_text import printable as printable
from zsclip.results import Answer


def say(line: str) -> None:
    """Write one whole line to stderr; a closed stderr is nobody's fault."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def error(problem: ZsclipError) -> None:
    """`error: ...` and, where there is one, `tip: ...`."""
    say(f"error: {printable(problem.message)}")
    if problem.tip:
        say(f"tip: {printable(problem.tip)}")


def stdin_is_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def stderr_is_terminal() -> bool:
    """Whether a person reads stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


def stdout_is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def stdout_bytes() -> BinaryIO:
    """stdout for UTF-8 bytes, whatever the locale."""
    return sys.stdout.buffer


def line(text: str) -> None:
    """Write one line of data to stdout."""
    stdout_bytes().write(text.encode("utf-8", "surrogateescape") + b"\n")
    stdout_bytes().flush()


@contextlib.contextmanager
def warnings_as_lines(*, quiet: bool = False) -> Iterator[None]:
    """Show zsclip's own warnings as `warning: ...` lines, and none of other packages'.

    Nor what they log where no handler is set up, which Python would write to stderr.
    """

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, ZsclipWarning) and not quiet:
            say(f"warning: {printable(str(message))}")

    last_resort, logging.lastResort = logging.lastResort, logging.NullHandler()
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", ZsclipWarning)
            warnings.showwarning = show
            yield
    finally:
        logging.lastResort = last_resort


def failure(answer: Answer) -> None:
    """One line for a failed input: `zsclip: PATH: message [code]`."""
    assert answer.error is not None
    path = printable(answer.path or "-")
    say(f"zsclip: {path}: {printable(answer.error.message)} [{answer.error.code}]")


def summary(ok: int, failed: Counter[str], skipped: int) -> None:
    """`9,997 ok, 3 failed (2 truncated, 1 empty), 12 other files skipped`."""
    parts = [f"{ok:,} ok"]
    if failed:
        codes = ", ".join(f"{count:,} {code}" for code, count in failed.most_common())
        parts.append(f"{failed.total():,} failed ({codes})")
    if skipped:
        parts.append(f"{skipped:,} other file{'s' if skipped > 1 else ''} skipped")
    say(", ".join(parts))


@contextlib.contextmanager
def progress(what: str, *, shown: bool) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr for `what`; yields a function of (done, total or None).

    It appears at the first call: another may be shown before.
    """
    if not shown:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
    task = bar.add_task(what, total=None)

    def show(done: int, total: int | None) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
