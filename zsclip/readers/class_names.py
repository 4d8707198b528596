"""Labels as people's own files spell them -> the classes that they stand for.

A label is the name of a folder, a cell of a manifest, a line of a list. It is also the name of its
class, unless a file (`--class-names`) gives others. Knows nothing about pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from zsclip import labels, plain_text
from zsclip.errors import UsageError
from zsclip.plain_text import BLANKS, quoted

ClassNames: TypeAlias = Mapping[str, Sequence[str]]
"""Label -> the names of its class; in the order of the classes."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Classes:
    """Classes in order, and which of them each label stands for.

    Attributes:
        names: per class; several are averaged.
        numbers: label -> index of its class.
    """

    names: tuple[tuple[str, ...], ...]
    numbers: Mapping[str, int]

    def note_of_unused(self, used: Collection[int]) -> tuple[str, ...]:
        """A note that names classes without pictures, where there are any."""
        unused = [names[0] for number, names in enumerate(self.names) if number not in used]
        if not unused:
            return ()
        more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
        shown = ", ".join(quoted(name) for name in unused[:_SHOWN])
        return (f"no pictures of {len(unused)} of {len(self.names)} classes: {shown}{more}",)


def classes_of(class_names: ClassNames) -> Classes:
    """The classes of labels; labels whose first name is the same are one class with all names."""
    merged: dict[str, dict[str, None]] = {}
    for names in class_names.values():
        merged.setdefault(names[0], {}).update(dict.fromkeys(names))
    places = {first: number for number, first in enumerate(merged)}
    return Classes(
        names=tuple(tuple(names) for names in merged.values()),
        numbers={label: places[names[0]] for label, names in class_names.items()},
    )


def without_underscores(label: str) -> str:
    """The class name that the name of a folder stands for: `golden_retriever` has a blank."""
    return label.replace("_", " ").strip(BLANKS)


def read_class_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Read lines of a label, a tab and a class name, with more names behind more tabs.

    Raises:
        UsageError: the file cannot be read, or a line is not as it should be.
    """
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(plain_text.read(path).split("\n"), 1):
        if not line.strip(BLANKS):
            continue
        where = f"{path}: line {number}"
        label, *cells = (cell.strip(BLANKS) for cell in line.split("\t"))
        names = tuple(cell for cell in cells if cell)  # spreadsheets fill rows up with tabs
        if not label or not names:
            raise UsageError(
                f"{where}: needs a label, a tab and a class name: {quoted(line)}",
                tip="write it like 'n02085620<TAB>chihuahua'",
            )
        if label in found:
            raise UsageError(
                f"{where}: label {quoted(label)} has a line already",
                tip="put all names of a class into one line, with tabs between them",
            )
        for name in names:
            labels.check(labels.Label(name, where))
        found[label] = names
    if not found:
        raise UsageError(f"{path}: no class names", tip="one line a class: label<TAB>class name")
    return found
