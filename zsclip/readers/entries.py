"""What the files of a known data set say: pictures, and their labels as these files spell them.

Knows neither the order of the classes nor their names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from zsclip.formats import EXTENSIONS

Pixels: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture.

    Attributes:
        path: what a person recognises it by.
        source: a file, pixels, or what fetches the pixels when it is their turn.
        labels: as the data set's files spell them.
        ignored: labels that the picture is not counted for.
    """

    path: str
    source: str | Pixels | Callable[[], Pixels]
    labels: tuple[str, ...]
    ignored: tuple[str, ...] = ()


Read: TypeAlias = Callable[[Path, str], list[Entry]]
"""A reader: the data set's folder and the split -> its pictures, in an order that stays."""


def of_file(path: str | os.PathLike[str], label: str) -> Entry:
    """A picture in a file of its own."""
    return Entry(os.fspath(path), os.fspath(path), (label,))


def of_rows(place: str, pixels: Iterable[Pixels], labels: Iterable[str]) -> list[Entry]:
    """Pictures in one array, (N, H, W[, C]): `place#0`, `place#1`, ..."""
    rows = zip(pixels, labels, strict=True)
    return [Entry(f"{place}#{i}", row, (label,)) for i, (row, label) in enumerate(rows)]


def present(entries: Iterable[Entry]) -> list[Entry]:
    """Those whose files are there: lists name pictures that are gone from the web."""
    return [entry for entry in entries if os.path.exists(entry.path)]


def in_class_folders(folder: Path, extensions: Collection[str] = EXTENSIONS) -> list[Entry]:
    """Pictures in folders that are named after their label, in the order of the names."""
    return [
        of_file(path, classed.name)
        for classed in sorted(folder.iterdir())
        if classed.is_dir() and not classed.name.startswith(".")
        for path in sorted(classed.iterdir())
        if path.suffix.lower() in extensions and not path.name.startswith(".")
    ]


def class_folders(*places: str) -> Read:
    """A reader of class folders.

    Args:
        places: where they are in the data set's folder; `SPLIT` stands for the split, and the
            first one that exists is taken.
    """

    def read(folder: Path, split: str) -> list[Entry]:
        found = [folder / place.replace("SPLIT", split) for place in places]
        return in_class_folders(next((place for place in found if place.is_dir()), found[0]))

    return read
