"""Known data sets on disk -> labelled pictures: which split, which folder, which class.

Labels are matched by name, never by position: published orders differ from those on disk. What is
published about a data set comes from its YAML file. Knows nothing about the forms of files.
"""

from __future__ import annotations

import csv
import importlib.util
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from zsclip.datasets import DataSet, load_dataset
from zsclip.errors import PictureError, UnknownNameError, UsageError
from zsclip.readers import torchvision_sets
from zsclip.readers.base import LabelledPictures, Sample
from zsclip.readers.class_names import Classes
from zsclip.readers.entries import Entry, Pixels
from zsclip.readers.layouts import LAYOUTS, Layout
from zsclip.results import Failure

_BROKEN = (OSError, ValueError, LookupError, TypeError, csv.Error)
"""What reading raises where files are missing, damaged or of another form."""


def known_splits(name: str) -> tuple[str, ...]:
    """The splits of a data set that can be read; the first one is read unless told.

    Raises:
        UnknownNameError: no data set has this name.
    """
    return _layout(load_dataset(name)).splits


def read_known(
    name: str, root: Path, *, split: str | None = None, download: bool = False
) -> LabelledPictures:
    """Read a known data set.

    Args:
        root: the folder that the data set's own folder lies in.
        split: one of `known_splits`; the first of them unless given.
        download: fetch it into `root` first, where torchvision can.

    Raises:
        UsageError: no such data set or split, files that are missing or damaged, a label that
            belongs to none of the classes, or an optional dependency that is not installed.
    """
    dataset = load_dataset(name)
    layout = _layout(dataset)
    split = split or layout.splits[0]
    _check(dataset, layout, split)
    if download:
        _fetch(dataset, layout, root, split)
    entries = _entries(dataset, layout, root, split)
    numbers = _numbers(dataset, entries)
    if layout.has_others:
        entries = [entry for entry in entries if numbers.keys() >= set(entry.labels)]
    if not entries:
        raise UsageError(
            f"{root}: no pictures of {name}, split {split}", tip=_by_hand(dataset, layout, root)
        )
    _refuse_unknown(dataset, entries, numbers)
    shown = {numbers[label] for entry in entries for label in entry.labels}
    return LabelledPictures(
        name=name,
        class_names=dataset.class_names,
        read=partial(_read, entries, numbers),
        size=len(entries),
        metric=dataset.facts["metric"],
        multi_label=dataset.facts["task"] == "multi_label",
        notes=(
            *_notes_of_split(dataset, layout, split, len(entries)),
            *Classes(dataset.class_names, numbers).note_of_unused(shown),
        ),
    )


def _read(entries: Sequence[Entry], numbers: Mapping[str, int]) -> Iterator[Sample]:
    for entry in entries:
        yield Sample(
            entry.path,
            _source(entry),
            labels=tuple(numbers[label] for label in entry.labels),
            ignored=tuple(numbers[label] for label in entry.ignored),
        )


def _source(entry: Entry) -> str | Pixels | Failure:
    if not callable(entry.source):
        return entry.source
    try:
        return entry.source()
    except PictureError as error:
        return Failure(error.code, error.message)


def _layout(dataset: DataSet) -> Layout:
    return LAYOUTS[dataset.name]


def _check(dataset: DataSet, layout: Layout, split: str) -> None:
    """Refuse what can be seen to fail before any file is opened."""
    if split not in layout.splits:
        raise UnknownNameError(
            f"split of {dataset.name}",
            split,
            layout.splits,
            tip=f"--split takes {', '.join(layout.splits)}",
        )
    if layout.extra and importlib.util.find_spec(layout.extra[1]) is None:
        extra, module = layout.extra
        raise UsageError(
            f"reading {dataset.name} needs {module}, which is not installed",
            tip=f"pip install 'zsclip[{extra}]'",
        )


def _fetch(dataset: DataSet, layout: Layout, root: Path, split: str) -> None:
    if layout.fetch is None:
        raise UsageError(
            f"--download cannot fetch {dataset.name}", tip=_by_hand(dataset, layout, root)
        )
    try:
        torchvision_sets.fetch(layout.fetch, root, split)
    except _BROKEN as error:
        raise UsageError(
            f"--download cannot fetch {dataset.name} into {root}: {_reason(error)}",
            tip=_by_hand(dataset, layout, root),
        ) from error


def _entries(dataset: DataSet, layout: Layout, root: Path, split: str) -> Sequence[Entry]:
    """What the data set's files say.

    Raises:
        UsageError: they are missing or damaged.
    """
    tip = f"{_by_hand(dataset, layout, root)}{', or use --download' if layout.fetch else ''}"
    places = [root / folder for folder in layout.folders]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        place = layout.folders[0]
        raise UsageError(
            f"{root / place}: no such folder",
            tip=f"--root names the folder that {place} of {dataset.name} lies in; {tip}",
        )
    try:
        return layout.read(folder, split)
    except _BROKEN as error:
        raise UsageError(
            f"{folder}: {dataset.name} cannot be read: {_reason(error)}", tip=tip
        ) from error


def _by_hand(dataset: DataSet, layout: Layout, root: Path) -> str:
    archives = [archive["url"] for archive in dataset.facts.get("archive", ())]
    sources = " and ".join(archives) or dataset.facts["homepage"]
    return f"get it from {sources} and unpack it as {root / layout.folders[0]}"


def _reason(error: Exception) -> str:
    """The error in one line; where a file is the trouble, which one."""
    if isinstance(error, OSError) and error.strerror:
        file = f": '{error.filename}'" if error.filename else ""
        return f"{error.strerror.lower()}{file}"
    text = " ".join(str(error).split())
    return text if type(error) is ValueError and text else f"{type(error).__name__} {text}".strip()


def _numbers(dataset: DataSet, entries: Sequence[Entry]) -> dict[str, int]:
    """Which class each label is; labels of none are left out.

    Where no class has just this label, case, blanks, hyphens and the like are passed over: folders
    of some copies have underscores where lists have blanks.
    """
    exact = {label: number for number, label in enumerate(dataset.labels)}
    times = Counter(map(_folded, exact))
    loose = {_folded(label): exact[label] for label in exact if times[_folded(label)] == 1}
    found = {
        label: exact.get(label, loose.get(_folded(label)))
        for entry in entries
        for label in (*entry.labels, *entry.ignored)
    }
    return {label: number for label, number in found.items() if number is not None}


def _folded(label: str) -> str:
    return "".join(filter(str.isalnum, label.casefold()))


def _refuse_unknown(dataset: DataSet, entries: Sequence[Entry], numbers: Mapping[str, int]) -> None:
    for entry in entries:
        for label in (*entry.labels, *entry.ignored):
            if label not in numbers:
                raise UnknownNameError(
                    f"{dataset.name} label",
                    label,
                    dataset.labels,
                    tip=f"{entry.path} has it; these files may be of another data set",
                )


def _notes_of_split(dataset: DataSet, layout: Layout, split: str, count: int) -> list[str]:
    """What people must know where the pictures may not be those that figures are for."""
    notes = [layout.note] if layout.note and split == layout.splits[0] else []
    published, size = dataset.facts["split"]["name"], int(dataset.facts["split"]["size"])
    if split == published and count != size:
        notes.append(f"{count:,} pictures were found, and the {split} split has {size:,}")
    return notes
