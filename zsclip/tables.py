"""Tables for people: results row by row, and short lists.

Control characters in names and labels are escaped.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from zsclip import console
from zsclip.plain_text import printable
from zsclip.results import Result, ScoreKind

if TYPE_CHECKING:
    from rich.text import Text

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_DECIMALS = 3
_PLAIN_WIDTH = 120


class TableWriter:
    """Results as a table, row by row; columns are fixed by the width of the terminal.

    One picture is shown with a line per label, several with a line each. The column of scores
    is headed by their kind. Off a terminal no path is shortened.
    """

    def __init__(self, stream: BinaryIO, *, one_picture: bool, score_kind: ScoreKind) -> None:
        from rich.console import Console

        self._stream = stream
        self._terminal = stream.isatty()
        width = None if self._terminal else _PLAIN_WIDTH
        # rendered to text first: the stream gets UTF-8 bytes in any locale
        self._console = Console(
            file=sys.stdout if self._terminal else io.StringIO(),
            width=width,
            highlight=False,
            soft_wrap=True,
            no_color=None if self._terminal else True,
            force_terminal=None if self._terminal else False,  # whatever FORCE_COLOR says
        )
        self._one = one_picture
        self._score_kind = score_kind
        self._layout = _Layout.of(self._console.width, score_kind)
        self._started = False

    def write(self, result: Result) -> None:
        """Write one result."""
        if self._one and result.error is None:
            self._one_picture(result)
            return
        if not self._started and not self._one:
            self._print(self._layout.header(self._score_kind))
        self._started = True
        self._print(self._row(result))

    def close(self) -> None:
        """Nothing ends the table."""

    def _print(self, text: Text) -> None:
        with self._console.capture() as captured:
            self._console.print(text, soft_wrap=True)
        self._stream.write(captured.get().encode("utf-8", "backslashreplace"))
        self._stream.flush()

    def _one_picture(self, result: Result) -> None:
        from rich.cells import cell_len
        from rich.text import Text

        title = Text().append(printable(result.path or "-"), style="bold")
        self._print(title.append(f"  {result.score_kind}", style="dim"))
        if result.label is None:
            self._print(Text("  no label reaches the threshold", style="dim"))
        if result.share is not None:
            self._print(Text(f"  {_share_of(result)}"))
        if result.label_set is not None:
            self._print(Text(f"  label set: {_set_of(result.label_set)}"))
        names = [printable(s.label) for s in result.scores]
        width = min(max(map(cell_len, names), default=0), self._layout.label + 12)
        answers = (result.label,) if result.labels is None else result.labels
        for name, score in zip(names, result.scores, strict=True):
            style = "green" if score.label in answers else "dim"
            text = Text("  ")
            text.append(fit(name, width), style="" if style == "dim" else "bold")
            text.append(f"  {score.score:{self._layout.score}.{_DECIMALS}f} ")
            text.append(bar(score.score, self._layout.bar * 2), style=style)
            if score.cosine is not None and result.score_kind != "cosine":
                text.append(f"  cosine {score.cosine:.{_DECIMALS}f}", style="dim")
            self._print(text)

    def _row(self, result: Result) -> Text:
        from rich.text import Text

        layout = self._layout
        path = printable(result.path or "-")
        text = Text(fit(path, layout.path) if self._terminal else path.ljust(layout.path))
        text.append("  ")
        if result.error is not None:
            text.append(f"{result.error.code}: {printable(result.error.message)}", style="red")
            return text
        name = "(none)" if result.label is None else printable(result.label)
        text.append(fit(name, layout.label), style="dim" if result.label is None else "bold")
        score = result.score or 0.0
        text.append(f"  {score:{layout.score}.{_DECIMALS}f} ")
        text.append(bar(score, layout.bar), style="green" if _is_of_label(result) else "dim")
        if result.score_kind != "cosine":
            cosine = "" if result.cosine is None else f"{result.cosine:.{_DECIMALS}f}"
            text.append(f"  {cosine:>6}")
        if layout.others:
            text.append(f"  {_then(result, layout.others)}".rstrip(), style="dim")
        return text


def _set_of(labels: Sequence[str]) -> str:
    return ", ".join(map(printable, labels)) or "(empty)"


def _share_of(result: Result) -> str:
    """`other: the labels' share is 0.012`."""
    share = f"the labels' share is {result.share:.{_DECIMALS}f}"
    is_other = result.label is not None and not _is_of_label(result)
    return f"{printable(result.label or '')}: {share}" if is_other else share


def _is_of_label(result: Result) -> bool:
    """Whether the score is that of the answer, which else is none or the name of others."""
    return any(one.label == result.label for one in result.scores)


def _then(result: Result, width: int) -> str:
    """What else there is to say, in a line of this width."""
    if result.label_set is not None:
        return fit(f"set: {_set_of(result.label_set)}", width)
    if result.labels is not None:
        return fit(f"all: {_set_of(result.labels)}", width) if result.labels[1:] else ""
    if result.share is None:
        return _runners_up(result, width)
    share = f"share {result.share:.{_DECIMALS}f}"
    return f"{share}  {_runners_up(result, width - len(share) - 2)}"


def _runners_up(result: Result, width: int) -> str:
    """As many of the next labels as fit whole."""
    from rich.cells import cell_len

    line = ""
    for score in result.scores[1 if _is_of_label(result) else 0 :]:
        longer = f"{line}  {printable(score.label)} {score.score:.2f}".lstrip()
        if cell_len(longer) > width:
            break
        line = longer
    return line


class _Layout:
    """Widths of the table's columns, in cells."""

    def __init__(self, path: int, label: int, score: int, bar: int, others: int) -> None:
        self.path, self.label, self.score, self.bar, self.others = path, label, score, bar, others

    @classmethod
    def of(cls, width: int, score_kind: ScoreKind) -> _Layout:
        """Columns for a terminal of this width."""
        of_cosines = score_kind == "cosine"
        score = 6 if of_cosines else 5  # only a cosine has a minus
        fixed = 2 + 2 + score + 1 + (0 if of_cosines else 2 + 6)  # gaps, cosine
        path = max(12, min(48, width * 35 // 100))
        label = max(8, min(20, width * 16 // 100))
        bar_width = max(4, min(16, width - fixed - path - label))
        others = width - fixed - path - label - bar_width - 2
        return cls(path, label, score, bar_width, others if others >= 12 else 0)

    def header(self, score_kind: ScoreKind) -> Text:
        """The names of the columns."""
        from rich.text import Text

        text = f"{'picture':{self.path}}  {'label':{self.label}}  "
        text += fit(score_kind, self.score + 1 + self.bar)
        if score_kind != "cosine":
            text += "  cosine"
        return Text(text + ("  then" if self.others else ""), style="dim")


def fit(text: str, width: int) -> str:
    """Text in exactly `width` cells, shortened in the middle where it is too long."""
    from rich.cells import cell_len, chop_cells, set_cell_size

    if cell_len(text) <= width:
        return set_cell_size(text, width)
    tail_width = (width - 1) // 2
    head = set_cell_size(text, width - 1 - tail_width)
    tail = chop_cells(text[::-1], tail_width)[0][::-1] if tail_width else ""
    return set_cell_size(f"{head}…{tail}", width)


def bar(score: float, width: int) -> str:
    """A bar of `width` cells for a score in [0, 1], in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, score)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


def plain_table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> None:
    """A list for people on stdout (models, templates, data sets)."""
    from rich.console import Console
    from rich.table import Table

    width = None if console.stdout_is_terminal() else _PLAIN_WIDTH
    shown = Console(highlight=False, markup=False, width=width)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    with shown.capture() as captured:
        shown.print(table)
    console.line(captured.get().rstrip("\n"))
