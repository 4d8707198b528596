"""What `zsclip sort` did, and what `--undo` took back, as rows for people and for programs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from zsclip import console, tables
from zsclip.cli.output_options import Output
from zsclip.cli.rows import ALL_FAILED, PARTLY_FAILED, open_output
from zsclip.results import ScoreKind
from zsclip.sorting.sort_records import path_fields
from zsclip.sorting.sort_undo import Undone
from zsclip.sorting.sort_undo import undo as take_back
from zsclip.writers import DECIMALS, beginning_of_row, dumps

if TYPE_CHECKING:
    from zsclip.sorting.sorter import Sorted

_NARROWEST, _WIDEST = 12, 48
_WIDTH_OFF_A_TERMINAL = 120


class SortedRows:
    """One JSON object a line for each picture, flushed at once."""

    def __init__(self, stream: BinaryIO, *, dry_run: bool) -> None:
        self._stream = stream
        self._dry_run = dry_run

    def write(self, answer: Sorted, /) -> None:
        """Write one line."""
        row = beginning_of_row(answer)
        row["label"] = answer.label
        row["score"] = None if answer.score is None else round(answer.score, DECIMALS)
        row["score_kind"] = answer.score_kind
        row["action"] = answer.action
        row |= {"target": None} if answer.target is None else path_fields("target", answer.target)
        if self._dry_run:
            row["dry_run"] = True
        self._stream.write(dumps(row).encode() + b"\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing ends JSON Lines."""


class SortedTable:
    """A line for each picture that is put somewhere: from, to, label, score.

    On a terminal the columns fit its width; else no path is shortened.
    """

    def __init__(self, stream: BinaryIO, score_kind: ScoreKind) -> None:
        self._stream = stream
        self._shortened = stream.isatty()
        width = shutil.get_terminal_size().columns if self._shortened else _WIDTH_OFF_A_TERMINAL
        self._path = max(_NARROWEST, min(_WIDEST, width * 35 // 100))
        self._label = max(8, min(20, width * 16 // 100))
        self._line("picture", "to", "label", score_kind)

    def write(self, answer: Sorted, /) -> None:
        """Write one line; of what stays where it is only stderr tells."""
        if answer.target is None:
            return
        score = "" if answer.score is None else f"{answer.score:.3f}"
        label = "" if answer.error is not None else answer.label or "(none)"
        self._line(answer.path or "", answer.target, label, score)

    def close(self) -> None:
        """Nothing ends the table."""

    def _line(self, path: str, target: str, label: str, score: str) -> None:
        cells = [self._cell(path, self._path), self._cell(target, self._path)]
        line = "  ".join([*cells, self._cell(label, self._label), score]).rstrip()
        self._stream.write(line.encode("utf-8", "backslashreplace") + b"\n")
        self._stream.flush()

    def _cell(self, text: str, width: int) -> str:
        text = console.printable(text)
        return tables.fit(text, width) if self._shortened else text.ljust(width)


def undo(log: Path, form: str, *, quiet: bool) -> int:
    """Take back what a log says was done; return the exit code."""
    done = failed = 0
    with open_output(Output(form)) as stream:
        for undone in take_back(log):
            if undone.error is None:
                done += 1
            else:
                failed += 1
                code, message = undone.error
                console.say(f"zsclip: {console.printable(undone.target)}: {message} [{code}]")
            if form == "jsonl":
                stream.write(dumps(_as_row(undone)).encode() + b"\n")
                stream.flush()
    if not quiet:
        console.say(f"{done:,} taken back" + (f", {failed:,} not" if failed else ""))
    if not failed:
        return 0
    return PARTLY_FAILED if done else ALL_FAILED


def _as_row(undone: Undone) -> dict[str, object]:
    row = path_fields("path", undone.path)
    row["status"] = "ok" if undone.error is None else "error"
    if undone.error is not None:
        row["error"] = dict(zip(("code", "message"), undone.error, strict=True))
    return row | {"action": undone.action} | path_fields("target", undone.target)
