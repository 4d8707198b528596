"""Class names from options and files: split, strip, check, drop exact duplicates.

Knows nothing about templates or models.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zsclip.errors import LabelError, ZsclipWarning


@dataclass(frozen=True, slots=True)
class Label:
    """A class name and where it came from, for messages (`animals.txt: line 3`)."""

    name: str
    where: str


def from_option(text: str) -> list[Label]:
    """Split `--labels cat,dog` at commas and strip blanks; empty parts are skipped."""
    parts = (part.strip() for part in _as_utf8(text).split(","))
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


def from_file(path: Path) -> list[Label]:
    """Read one label a line: a BOM, carriage returns and surrounding blanks are stripped.

    Raises:
        LabelError: the file cannot be read, is not UTF-8, or has no label.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
    labels = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            name = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise LabelError(
                f"{path}: line {number}: not UTF-8 (byte 0x{line[error.start]:02X})",
                tip="re-save the file as UTF-8",
            ) from error
        if name:
            labels.append(Label(name, f"{path}: line {number}"))
    if not labels:
        raise LabelError(f"{path}: no labels")
    return labels


def unique(labels: Iterable[Label]) -> list[str]:
    """Class names in order, exact duplicates dropped with one warning.

    Raises:
        LabelError: a label is empty or has a control character.
    """
    kept: dict[str, Label] = {}
    dropped: list[Label] = []
    for label in labels:
        check(label)
        if kept.setdefault(label.name, label) is not label:
            dropped.append(label)
    if dropped:
        places = ", ".join(f"{d.name!r} ({d.where})" for d in dropped[:5])
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        warnings.warn(f"duplicate labels dropped: {places}{more}", ZsclipWarning, stacklevel=2)
    return list(kept)


def check(label: Label) -> None:
    """Refuse an empty label and control characters.

    Raises:
        LabelError: names the label and where it came from.
    """
    if not label.name.strip():
        raise LabelError(f"{label.where}: an empty label")
    for char in label.name:
        if ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000:
            raise LabelError(f"{label.where}: control character {char!r} in label {label.name!r}")
