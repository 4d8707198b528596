"""`--resume FILE`: go on behind the rows that a file of JSON Lines has.

A kill at any point leaves a file that can be resumed. With `--retry-errors` a new file grows beside
the old one, `FILE.retry`, and takes its place when it has a row for each of its rows; until then
the old one stays as it is, and a kill leaves both.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from zsclip import console, resuming
from zsclip.classifier import Classifier
from zsclip.cli.rows import PARTLY_FAILED, Report, open_errors, write_all, writing
from zsclip.errors import UsageError
from zsclip.inputs import Input
from zsclip.resuming import Done, Run
from zsclip.writers import JsonLinesWriter


def resume(
    path: Path,
    classifier: Classifier,
    inputs: Iterator[Input],
    *,
    run: Run,
    retry_errors: bool,
    errors: Path | None,
    report: Report,
) -> int:
    """Classify the inputs that the file has no row of; return the exit code of the whole run.

    Raises:
        UsageError: the file is of another run, or of other inputs, or somebody writes to it.
        OutputError: it cannot be written.
    """
    batch_size = classifier.batch_size
    with contextlib.ExitStack() as files, writing(path):
        file = files.enter_context(_locked(path))
        done = resuming.match(path, inputs, run=run, batch_size=batch_size)
        file.truncate(done.size_bytes)
        if done.rows and not report.quiet:
            console.say(f"{console.printable(str(path))}: {done.rows:,} rows are done")
        if retry_errors and done.failed:
            file = files.enter_context(_locked(retry_file(path)))
            if not _retry(path, done, file, classifier, run=run, report=report):
                return PARTLY_FAILED
            done = resuming.match(path, None, run=run, batch_size=batch_size)
        report.errors = files.enter_context(open_errors(errors))  # a refusal leaves the old list
        _count(path, done, report)
        file.seek(done.size_bytes)
        results = resuming.rest(classifier, inputs, path=path, done=done)
        return write_all(results, JsonLinesWriter(file, run=run.digest), report)


def retry_file(path: Path) -> Path:
    """Where the rows of a file are written anew: beside it, also where `path` is a link to it."""
    target = path.resolve()
    return target.with_name(f"{target.name}.retry")


def _retry(
    path: Path, done: Done, file: BinaryIO, classifier: Classifier, *, run: Run, report: Report
) -> bool:
    """Write all rows that are done to a new file, those that failed anew, and put it in place.

    False where a picture failed again and the run is to end with it.
    """
    new = retry_file(path)
    old_inputs = (Input(row.path, row.path) for _, row in resuming.rows(path, done))
    have = resuming.match(new, old_inputs, run=run, batch_size=None)  # of a retry that was stopped
    file.truncate(have.size_bytes)
    file.seek(have.size_bytes)
    writer = JsonLinesWriter(file, run=run.digest)
    results = classifier.classify_inputs(
        Input(row.path, row.path)
        for number, (_, row) in enumerate(resuming.rows(path, done))
        if number >= have.rows and row.failure is not None
    )
    shown = not report.quiet and console.stderr_is_terminal()
    with console.progress("trying again", shown=shown) as show:
        for number, (line, row) in enumerate(resuming.rows(path, done)):
            if number < have.rows:
                continue
            if row.failure is None:
                file.write(line)
                continue
            result = next(results)
            writer.write(result)
            show(number, done.rows)
            if result.error is not None:
                console.failure(result)
                if report.strict:
                    return False
    file.flush()
    os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
    os.fsync(file.fileno())
    os.replace(new, path.resolve())
    return True


def _count(path: Path, done: Done, report: Report) -> None:
    """Count the rows that are done as if this run had written them."""
    report.ok += done.ok
    report.failed += done.failed
    if report.errors is not None:
        for failed in resuming.failed_paths(path, done):
            report.errors.add(failed)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """A file to read and write, made if there is none, and ours alone for as long as it is open."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"--resume {path}: is not a regular file")
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{path}: another process is writing to it") from None
        except OSError:
            pass  # a file system without locks
        yield file
