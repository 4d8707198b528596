"""Class names from options and files: split, strip, check, drop exact duplicates.

Knows nothing about templates or models.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zsclip import plain_text
from zsclip.errors import LabelError, ZsclipWarning
from zsclip.plain_text import BLANKS, MAX_CHARACTERS, quoted


@dataclass(frozen=True, slots=True)
class Label:
    """A class name and where it came from, for messages (`animals.txt: line 3`)."""

    name: str
    where: str


def from_option(text: str) -> list[Label]:
    """Split `--labels cat,dog` at commas and strip blanks; empty parts are skipped."""
    parts = (part.strip(BLANKS) for part in _as_utf8(text).split(","))
    return [Label(part, "--labels") for part in parts if part]


def verbatim(text: str) -> list[Label]:
    """One label as typed, commas and all (`--label "salt, pepper"`)."""
    return [Label(_as_utf8(text), "--label")]


def _as_utf8(text: str) -> str:
    """What was typed: in the C locale Python decodes arguments as ASCII."""
    try:
        return os.fsencode(text).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text


def from_file(path: Path, *, encoding: str = "UTF-8") -> list[Label]:
    """Read one label a line: a BOM, carriage returns and surrounding blanks are stripped.

    Raises:
        LabelError: the file cannot be read, is not in this encoding, or has no label.
        UsageError: no such encoding.
    """
    text = plain_text.read(
        path,
        encoding=encoding,
        kind=LabelError,
        tip="re-save it as UTF-8, or name its encoding: --encoding latin-1",
    )
    names = ((number, line.strip(BLANKS)) for number, line in enumerate(text.split("\n"), 1))
    labels = [Label(name, f"{path}: line {number}") for number, name in names if name]
    if not labels:
        raise LabelError(f"{path}: no labels")
    return labels


def unique(labels: Iterable[Label]) -> list[str]:
    """Class names in order, exact duplicates dropped with one warning.

    Raises:
        LabelError: a label is empty, far too long, or has a control character.
    """
    kept: dict[str, Label] = {}
    dropped: list[Label] = []
    for label in labels:
        check(label)
        if kept.setdefault(label.name, label) is not label:
            dropped.append(label)
    if dropped:
        places = ", ".join(f"{quoted(d.name)} ({d.where})" for d in dropped[:5])
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        warnings.warn(f"duplicate labels dropped: {places}{more}", ZsclipWarning, stacklevel=2)
    return list(kept)


def check(label: Label) -> None:
    """Refuse a label that is empty or far too long, and control characters.

    Raises:
        LabelError: names the label and where it came from.
    """
    if len(label.name) > MAX_CHARACTERS:
        raise LabelError(
            f"{label.where}: label {quoted(label.name)} has {len(label.name):,} characters, "
            f"more than {MAX_CHARACTERS:,}"
        )
    control = plain_text.control_character(label.name)
    if control is not None:
        raise LabelError(
            f"{label.where}: control character {control!r} in label {quoted(label.name)}"
        )
    if not label.name.strip():
        raise LabelError(f"{label.where}: an empty label")
