"""Where rows go and how they look: the options, and what they mean together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer

from zsclip import console
from zsclip.cli.options import choices, one_of
from zsclip.errors import UsageError
from zsclip.results import SCORE_KINDS

FORMATS = ("table", "jsonl", "json", "csv", "tsv")
_OUTPUT = "Output"

Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="NAME",
        help="table, jsonl, json, csv or tsv; a table on a terminal, else JSON Lines.",
        rich_help_panel=_OUTPUT,
        autocompletion=choices(*FORMATS),
    ),
]
JsonLines = Annotated[
    bool,
    typer.Option("--json", help="The same as --format jsonl.", rich_help_panel=_OUTPUT),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to a file; its ending chooses the format.",
        rich_help_panel=_OUTPUT,
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="Write to a file of JSON Lines, and go on behind the rows that it has.",
        rich_help_panel=_OUTPUT,
    ),
]
RetryErrors = Annotated[
    bool,
    typer.Option(
        "--retry-errors",
        help="With --resume: try the inputs again whose rows are errors.",
        rich_help_panel=_OUTPUT,
    ),
]
Errors = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        metavar="FILE",
        help="Write the paths that failed, NUL behind each, as --files0-from reads them.",
        rich_help_panel=_OUTPUT,
    ),
]
CsvSafe = Annotated[
    bool,
    typer.Option(
        "--csv-safe",
        help="In CSV and TSV, put ' before text that a spreadsheet would take for a formula.",
        rich_help_panel=_OUTPUT,
    ),
]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Write a page to look at, too: one HTML file with small copies of the pictures.",
        rich_help_panel=_OUTPUT,
    ),
]
Scores = Annotated[
    str | None,
    typer.Option(
        "--scores",
        metavar="KIND",
        help="softmax, sigmoid or cosine; what the model was trained with unless given.",
        rich_help_panel=_OUTPUT,
        autocompletion=choices(*SCORE_KINDS),
    ),
]
TopK = Annotated[
    int,
    typer.Option(
        "--top-k",
        "-k",
        min=0,
        metavar="N",
        help="Labels in each row; 0 is all.",
        rich_help_panel=_OUTPUT,
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score", metavar="X", help="No label below this score.", rich_help_panel=_OUTPUT
    ),
]
MinCosine = Annotated[
    float | None,
    typer.Option(
        "--min-cosine", metavar="X", help="No label below this cosine.", rich_help_panel=_OUTPUT
    ),
]

Other = Annotated[
    bool,
    typer.Option(
        "--other",
        help="Answer 'other' where names of other things fit better than the labels; "
        "no threshold needed.",
        rich_help_panel=_OUTPUT,
    ),
]
OtherName = Annotated[
    str | None,
    typer.Option(
        "--other-name", metavar="TEXT", help="Another word for it.", rich_help_panel=_OUTPUT
    ),
]
OtherBelow = Annotated[
    float | None,
    typer.Option(
        "--other-below",
        metavar="X",
        help="Answer so where the labels' share is under this; 0.5 unless given.",
        rich_help_panel=_OUTPUT,
    ),
]
MultiLabel = Annotated[
    bool,
    typer.Option(
        "--multi-label",
        help="Answer with every label that fits by itself, from --min-score (0.5) on.",
        rich_help_panel=_OUTPUT,
    ),
]


@dataclass(frozen=True, slots=True)
class OtherOptions:
    """What is answered where no label fits, as it is typed."""

    other: Other = False
    other_name: OtherName = None
    other_below: OtherBelow = None

    def name(self) -> bool | str:
        """Whether other things are answered with, or by which name.

        Raises:
            UsageError: a name or limit for what was not asked for.
        """
        for option, value in (
            ("--other-name", self.other_name),
            ("--other-below", self.other_below),
        ):
            if value is not None and not self.other:
                raise UsageError(f"{option} goes with --other")
        if self.other_name is None:
            return self.other
        from zsclip import labels

        return labels.verbatim(self.other_name)[0].label

    def below(self) -> float:
        """The labels' share under which that is answered."""
        from zsclip.background import OTHER_BELOW

        return OTHER_BELOW if self.other_below is None else self.other_below


@dataclass(frozen=True, slots=True)
class Output:
    """What was asked for.

    Attributes:
        kind: one of FORMATS.
        path: a file; stdout where it is None.
        resume: go on behind the rows that the file has, which are JSON Lines.
    """

    kind: str
    path: Path | None = None
    resume: bool = False
    retry_errors: bool = False
    errors: Path | None = None
    csv_safe: bool = False
    report: Path | None = None


def choose(
    name: str | None,
    *,
    as_json: bool,
    output: Path | None,
    resume: Path | None,
    retry_errors: bool,
    errors: Path | None,
    csv_safe: bool,
    report: Path | None,
) -> Output:
    """The output that the options ask for together.

    Raises:
        UsageError: they contradict each other.
    """
    if resume is not None and output is not None:
        raise UsageError("--resume FILE is --output FILE, too; leave out --output")
    if retry_errors and resume is None:
        raise UsageError("--retry-errors goes with --resume FILE")
    if report is not None and resume is not None:
        raise UsageError("--report shows a whole run; leave out --resume")
    path = output if resume is None else resume
    chosen = choose_format(name, as_json=as_json, output=path)
    if resume is not None and chosen != "jsonl":
        raise UsageError(f"--resume goes on with JSON Lines only, not with {chosen}")
    if csv_safe and chosen not in ("csv", "tsv"):
        raise UsageError(f"--csv-safe is for csv and tsv, not for {chosen}")
    return Output(chosen, path, resume is not None, retry_errors, errors, csv_safe, report)


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


def check_apart(output: Output, read: Iterable[str | Path | None]) -> None:
    """Refuse to write over what this run reads, or to one file twice.

    Raises:
        UsageError: a file that is written is one of these, or both that are written are one.
    """
    written = {
        "--resume" if output.resume else "--output": (output.path, "the rows"),
        "--errors": (output.errors, "--errors"),
        "--report": (output.report, "the report"),
    }
    inputs = [path for path in read if path is not None and path != "-"]
    for option, (path, _) in written.items():
        if path is not None and any(_is_same(path, other) for other in inputs):
            raise UsageError(f"{option} {path} would write over what is read from there")
    for (path, what), (other, second) in combinations(written.values(), 2):
        if path and other and _is_same(path, other):
            raise UsageError(f"{path} cannot take both {what} and {second}")


def _is_same(one: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(one, other) and os.path.isfile(one)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)
