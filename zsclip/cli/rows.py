"""Results -> rows on stdout or in a file, failures on stderr, and the exit code."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from zsclip import console, tables
from zsclip.cli.output_options import Output
from zsclip.data_files import opened, replacing
from zsclip.errors import OutputError
from zsclip.results import Answer, Result, ScoreKind
from zsclip.writers import DelimitedWriter, JsonLinesWriter, JsonWriter, Writer

if TYPE_CHECKING:
    from zsclip.classifier import Classifier
    from zsclip.inputs import Input, Skipped

ALL_FAILED = 1
PARTLY_FAILED = 3

Given = TypeVar("Given", bound=Answer)


@dataclass(slots=True)
class Report:
    """What becomes of the inputs: counted, said on stderr, and listed where that is wanted."""

    skipped: Skipped
    strict: bool = False
    quiet: bool = False
    errors: ErrorsFile | None = None
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Inputs so far."""
        return self.ok + self.failed.total()

    def count(self, answer: Answer, *, said: bool = True) -> None:
        """Count an answer; say where it failed, unless the output says it."""
        if answer.error is None:
            self.ok += 1
            return
        self.failed[answer.error.code] += 1
        if said:
            console.failure(answer)
        if self.errors is not None and answer.path is not None:
            self.errors.add(answer.path)

    def exit_code(self) -> int:
        """What the run ends with, once its summary is on stderr."""
        if not self.quiet and (self.failed or self.skipped.files):
            console.summary(self.ok, self.failed, self.skipped.files)
        if not self.failed:
            return 0
        return ALL_FAILED if not self.ok and not self.strict else PARTLY_FAILED


class ErrorsFile:
    """The paths that failed, NUL behind each. It grows with the rows: a kill leaves what it has."""

    def __init__(self, path: Path, stream: FileIO) -> None:
        self._path = path
        self._stream = stream

    def add(self, path: str) -> None:
        """Write one path, with its own bytes.

        Raises:
            OutputError: it cannot be written.
        """
        with writing(self._path):
            entry = os.fsencode(path) + b"\0"
            if self._stream.write(entry) != len(entry):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def open_errors(path: Path | None) -> Iterator[ErrorsFile | None]:
    """A file for the paths that fail, empty so far, where one is wanted.

    Raises:
        OutputError: it cannot be written.
    """
    if path is None:
        yield None
        return
    with writing(path):
        stream = path.open("wb", buffering=0)
    with stream:
        yield ErrorsFile(path, stream)


@contextlib.contextmanager
def classifying(
    classifier: Classifier, report: Path | None
) -> Iterator[Callable[[Iterator[Input]], Iterator[Result]]]:
    """What classifies inputs, and where a report is wanted has it written in the end.

    Raises:
        OutputError: the report cannot be written.
    """
    if report is None:
        yield classifier.classify_inputs
        return
    from zsclip.reports.classification import collecting
    from zsclip.reports.pages import open_report

    with open_report(report) as stream, collecting(classifier) as page:
        yield page.classify
        page.write(stream)


def write_all(
    answers: Iterator[Given], writer: Writer[Given], report: Report, *, doing: str = "classifying"
) -> int:
    """Write every answer; return the exit code."""
    table_is_watched = (
        isinstance(writer, tables.TableWriter)
        and console.stderr_is_terminal()
        and console.stdout_is_terminal()
    )
    shown = not report.quiet and console.stderr_is_terminal() and not console.stdout_is_terminal()
    with console.progress(doing, shown=shown) as show:
        for answer in answers:
            writer.write(answer)
            report.count(answer, said=not table_is_watched)
            if report.strict and answer.error is not None:
                break
            show(report.rows, None)
        writer.close()
    return report.exit_code()


def make_writer(
    stream: BinaryIO,
    output: Output,
    *,
    one_picture: bool,
    score_kind: ScoreKind,
    run: str,
    more: Sequence[str] = (),
) -> Writer[Result]:
    """The writer of a format; `more` are the columns that a CSV or TSV has besides."""
    if output.kind == "table":
        return tables.TableWriter(stream, one_picture=one_picture, score_kind=score_kind)
    if output.kind == "json":
        return JsonWriter(stream, run=run)
    if output.kind == "jsonl":
        return JsonLinesWriter(stream, run=run)
    delimiter = "," if output.kind == "csv" else "\t"
    return DelimitedWriter(stream, delimiter=delimiter, safe=output.csv_safe, more=more)


@contextlib.contextmanager
def open_output(output: Output) -> Iterator[BinaryIO]:
    """stdout, or a file: JSON Lines grow in place, all else appears whole at the end.

    Raises:
        OutputError: what is written cannot be.
    """
    try:
        if output.path is None:
            yield console.stdout_bytes()
        elif output.kind == "jsonl":
            with opened(output.path) as stream:
                yield stream
        else:
            with replacing(output.path) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        target = "output" if output.path is None else str(output.path)
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing a file into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
