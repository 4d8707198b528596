"""Results -> rows on stdout or in a file, failures on stderr, and the exit code."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from zsclip import console
from zsclip.cli.options import one_of
from zsclip.data_files import replacing
from zsclip.errors import OutputError
from zsclip.results import Result, ScoreKind
from zsclip.writers import DelimitedWriter, JsonLinesWriter, JsonWriter, Writer

if TYPE_CHECKING:
    from zsclip.inputs import Skipped

FORMATS = ("table", "jsonl", "json", "csv", "tsv")
ALL_FAILED = 1
PARTLY_FAILED = 3


def choose_format(name: str | None, *, as_json: bool, output: Path | None) -> str:
    """The format that was named, or that of the file's ending, or a table for people."""
    if name is not None:
        return one_of("--format", name, FORMATS)
    if as_json:
        return "jsonl"
    if output is not None:
        ending = output.suffix.lower().removeprefix(".")
        return ending if ending in FORMATS else "jsonl"
    return "table" if console.stdout_is_terminal() else "jsonl"


def write_all(
    results: Iterator[Result],
    writer: Writer,
    *,
    skipped: Skipped,
    strict: bool,
    quiet: bool,
) -> int:
    """Write every result; return the exit code."""
    ok, failed = 0, Counter[str]()
    table_is_watched = (
        isinstance(writer, console.TableWriter)
        and console.stderr_is_terminal()
        and console.stdout_is_terminal()
    )
    shown = not quiet and console.stderr_is_terminal() and not console.stdout_is_terminal()
    with console.progress("classifying", shown=shown) as show:
        for result in results:
            writer.write(result)
            if result.error is None:
                ok += 1
            else:
                failed[result.error.code] += 1
                if not table_is_watched:  # the table says it already
                    console.failure(result)
                if strict:
                    break
            show(ok + failed.total(), None)
        writer.close()
    if not quiet and (failed or skipped.files):
        console.summary(ok, failed, skipped.files)
    if not failed:
        return 0
    return ALL_FAILED if not ok and not strict else PARTLY_FAILED


def make_writer(stream: BinaryIO, name: str, *, one_picture: bool, score_kind: ScoreKind) -> Writer:
    """The writer of a format."""
    if name == "table":
        return console.TableWriter(stream, one_picture=one_picture, score_kind=score_kind)
    if name == "json":
        return JsonWriter(stream)
    if name == "jsonl":
        return JsonLinesWriter(stream)
    return DelimitedWriter(stream, delimiter="," if name == "csv" else "\t")


@contextlib.contextmanager
def open_output(path: Path | None, name: str) -> Iterator[BinaryIO]:
    """stdout, or a file: JSON Lines grow in place, all else appears whole at the end.

    Raises:
        OutputError: what is written cannot be.
    """
    try:
        if path is None:
            yield console.stdout_bytes()
        elif name == "jsonl":
            with path.open("wb") as stream:
                yield stream
        else:
            with replacing(path) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        target = "output" if path is None else str(path)
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
