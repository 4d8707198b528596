"""Every error that zsclip raises on purpose, with its exit code and a tip.

    ZsclipError
    ├── UsageError        2   the command line cannot be understood
    │   ├── LabelError        class names
    │   ├── TemplateError     prompt templates
    │   ├── UnknownNameError  a model, template set or data set that does not exist
    │   ├── InputError        no input, or an input list that cannot be read
    │   └── TextError         a text that the model cannot read whole (from Python)
    ├── ModelError        4   a model, its weights or a head is understood but not loadable
    │   ├── NotFetchedError   the weights are not on this machine
    │   └── HeadError
    ├── OutputError       5   output could not be written
    └── PictureError          one picture failed; it becomes a row, never an exit of its own

`cli.main` is the only place that turns them into messages and exit codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal, get_args

PictureErrorCode = Literal[
    "not_found",
    "permission",
    "is_directory",
    "not_regular",
    "empty",
    "unrecognized",
    "unsupported_format",
    "truncated",
    "corrupt",
    "too_many_pixels",
    "too_large_file",
    "zero_size",
    "unsupported_pixels",
    "timeout",
    "out_of_memory",
    "read_error",
    "fetch_error",
    "non_finite",
]
PICTURE_ERROR_CODES: tuple[str, ...] = get_args(PictureErrorCode)


class ZsclipWarning(UserWarning):
    """Something the user should know that does not stop the run."""


class ZsclipError(Exception):
    """Base of all expected errors: one line for people, and what to do about it."""

    exit_code = 70

    def __init__(self, message: str, *, tip: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.tip = tip


class UsageError(ZsclipError):
    """The command line, the labels or the templates cannot be understood."""

    exit_code = 2


class LabelError(UsageError):
    """Class names that cannot be used."""


class TemplateError(UsageError):
    """A prompt template that cannot be used."""


class InputError(UsageError):
    """There is nothing to classify, or a list of paths cannot be read."""


class TextError(UsageError, ValueError):
    """A text that the model cannot read whole; `index` is its place in the list."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class UnknownNameError(UsageError):
    """A name that is not in a list; the message brings the nearest ones."""

    def __init__(self, kind: str, name: str, choices: Iterable[str], *, tip: str) -> None:
        by_fold = {choice.casefold(): choice for choice in choices}
        near = difflib.get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.6)
        meant = f"; did you mean {' or '.join(repr(by_fold[n]) for n in near)}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}{meant}", tip=tip)


class ModelError(ZsclipError):
    """A model, its weights or a head is understood but cannot be loaded."""

    exit_code = 4


class NotFetchedError(ModelError):
    """A file is not on this machine and could not be fetched; `reason` says why, in short."""

    def __init__(self, message: str, *, tip: str | None = None, reason: str = "") -> None:
        super().__init__(message, tip=tip)
        self.reason = reason


class HeadError(ModelError):
    """A head file is damaged, or was made for another model."""


class OutputError(ZsclipError):
    """Output could not be written."""

    exit_code = 5


class PictureError(ZsclipError):
    """One picture that cannot be classified; `code` is one of PICTURE_ERROR_CODES."""

    exit_code = 3

    def __init__(self, code: PictureErrorCode, message: str, *, tip: str | None = None) -> None:
        super().__init__(message, tip=tip)
        self.code: PictureErrorCode = code
