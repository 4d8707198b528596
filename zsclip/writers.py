"""Results -> JSON Lines, JSON, CSV and TSV, as UTF-8 bytes.

One row per result, keys and columns in a fixed order, six decimals. Whatever a file is called, its
path survives: what is not UTF-8 is given as base64 beside its escaped text. Rows of JSON name their
run (see `zsclip.resuming`). Knows nothing about terminals.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Protocol, TypeVar

from zsclip.results import Answer, Result

DECIMALS = 6
COLUMNS = (
    "path", "status", "label", "score", "cosine", "error_code", "error_message", "score_kind",
)  # fmt: skip
MORE_COLUMNS = ("share", "labels", "label_set")
BETWEEN_LABELS = ";"

_LINE_ENDS = {0x85: r"\u0085", 0x2028: r"\u2028", 0x2029: r"\u2029"}
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


Written = TypeVar("Written", bound=Answer, contravariant=True)


class Writer(Protocol[Written]):
    """Takes answers one by one; `close` ends the document."""

    def write(self, answer: Written, /) -> None:
        """Write one answer."""

    def close(self) -> None:
        """Write what ends the document; the stream stays open."""


def as_row(result: Result, *, run: str | None = None) -> dict[str, object]:
    """The published form of a result (docs/output.md), ready for JSON."""
    row = beginning_of_row(result)
    if result.error is None:
        row["label"] = result.label
        if result.labels is not None:
            row["labels"] = result.labels
        if result.share is not None:
            row["share"] = _rounded(result.share)
        row["score"] = _rounded(result.score)
        row["cosine"] = _rounded(result.cosine)
        row["scores"] = [
            {"label": s.label, "score": _rounded(s.score), "cosine": _rounded(s.cosine)}
            for s in result.scores
        ]
        row["score_kind"] = result.score_kind
        if result.label_set is not None:
            row["label_set"] = result.label_set
    row["model"] = result.model
    if result.revision is not None:
        row["revision"] = result.revision
    row["head"] = result.head
    if run is not None:
        row["run"] = run
    if result.frames is not None:
        row["frames"] = result.frames
    if result.truncated:
        row["truncated"] = True
    return row


def beginning_of_row(answer: Answer) -> dict[str, object]:
    """What rows of every kind begin with: `path`, `path_b64` where needed, `status`, `error`."""
    row: dict[str, object] = {"path": answer.path}
    if answer.path is not None and not _is_utf8(answer.path):
        row["path"] = escaped(answer.path)  # in the C locale this may be UTF-8 after all
        raw = os.fsencode(answer.path)
        if raw.decode("utf-8", "replace") != row["path"]:
            row["path_b64"] = base64.b64encode(raw).decode("ascii")
    row["status"] = "ok" if answer.error is None else "error"
    if answer.error is not None:
        row["error"] = {"code": answer.error.code, "message": answer.error.message}
    return row


def path_of_row(row: Mapping[str, Any]) -> str:
    """The path that a row begins with, with its own bytes (not UTF-8: as surrogates).

    Raises:
        LookupError, TypeError, ValueError: it is no such row.
    """
    raw = base64.b64decode(row["path_b64"]) if "path_b64" in row else row["path"].encode("utf-8")
    return os.fsdecode(raw)


def dumps(row: object) -> str:
    """One line of JSON, for any reader's notion of a line; refuses NaN."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_LINE_ENDS)


def escaped(path: str) -> str:
    """A path as text, bytes that are not UTF-8 written as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _inert(cell: str) -> str:
    """The cell, behind an apostrophe where a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(_BEGINS_FORMULA) else cell


def _is_utf8(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


class JsonLinesWriter:
    """One JSON object a line, flushed at once."""

    def __init__(self, stream: BinaryIO, *, run: str | None = None) -> None:
        self._stream = stream
        self._run = run

    def write(self, result: Result) -> None:
        """Write one line."""
        self._stream.write(dumps(as_row(result, run=self._run)).encode() + b"\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing ends JSON Lines."""


class JsonWriter:
    """One JSON array, a row a line."""

    def __init__(self, stream: BinaryIO, *, run: str | None = None) -> None:
        self._stream = stream
        self._run = run
        self._before = b"[\n"

    def write(self, result: Result) -> None:
        """Write one element."""
        self._stream.write(self._before + dumps(as_row(result, run=self._run)).encode())
        self._before = b",\n"

    def close(self) -> None:
        """End the array."""
        self._stream.write(b"[]\n" if self._before == b"[\n" else b"\n]\n")
        self._stream.flush()


class DelimitedWriter:
    """CSV or TSV with a header line; the best label only, unless more columns are wanted.

    Lossless, unless it is `safe`: then a spreadsheet takes no path, label or message for a formula.

    Args:
        more: columns behind the usual ones, of MORE_COLUMNS.
    """

    def __init__(
        self, stream: BinaryIO, *, delimiter: str, safe: bool = False, more: Sequence[str] = ()
    ) -> None:
        self._stream = stream
        self._delimiter = delimiter
        self._text = _inert if safe else str
        self._more = more
        self._line((*COLUMNS, *more))

    def write(self, result: Result) -> None:
        """Write one line."""
        error = result.error
        self._line(
            (
                "" if result.path is None else self._text(escaped(result.path)),
                result.status,
                self._text(result.label or ""),
                "" if result.score is None else f"{result.score:.{DECIMALS}f}",
                "" if result.cosine is None else f"{result.cosine:.{DECIMALS}f}",
                "" if error is None else error.code,
                "" if error is None else self._text(error.message),
                result.score_kind or "",
                *(self._cell(result, column) for column in self._more),
            )
        )

    def close(self) -> None:
        """Nothing ends the table."""

    def _cell(self, result: Result, column: str) -> str:
        if column != "share":
            labels = result.labels if column == "labels" else result.label_set
            return self._text(BETWEEN_LABELS.join(labels or ()))
        return "" if result.share is None else f"{result.share:.{DECIMALS}f}"

    def _line(self, cells: tuple[str, ...]) -> None:
        text = io.StringIO()
        # what a line may end with is quoted: a lone carriage return is such a character, too
        csv.writer(text, delimiter=self._delimiter, lineterminator="\r\n").writerow(cells)
        self._stream.write(text.getvalue().removesuffix("\r\n").encode() + b"\n")
        self._stream.flush()
