"""A folder of class folders -> labelled pictures: `root/class name/**/*.jpg`.

The same walk as for all folders: by extension, in byte order, past hidden and linked ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zsclip import labels
from zsclip.errors import UsageError
from zsclip.formats import EXTENSIONS
from zsclip.inputs import Skipped, is_folder, walk
from zsclip.plain_text import quoted
from zsclip.readers.base import LabelledPictures, Sample
from zsclip.readers.class_names import Classes, ClassNames, classes_of, without_underscores

_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))


@dataclass(slots=True)
class _Found:
    """What is in the root: names of class folders, and of links to folders."""

    folders: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)


def read_folder(root: Path, *, class_names: ClassNames | None = None) -> LabelledPictures:
    """Pictures in folders that are named like their class.

    Args:
        class_names: the name of a folder -> the names of its class; unless given, the name of the
            folder with underscores as blanks.

    Raises:
        UsageError: there is no such folder, it has pictures outside of class folders, a class
            folder is empty, or has no class.
    """
    found = _look(root)
    if class_names is None:
        _refuse_splits(root, found.folders)
        classes = _named_like_folders(root, found.folders)
    else:
        _refuse_unnamed(root, found.folders, class_names)
        classes = classes_of(class_names)
    for name in found.folders:
        _refuse_empty(root / name)
    numbers = [classes.numbers[name] for name in found.folders]
    linked = ", ".join(quoted(name) for name in found.linked)
    return LabelledPictures(
        name=str(root),
        class_names=classes.names,
        read=partial(_read, root, list(zip(found.folders, numbers, strict=True))),
        notes=(
            *classes.note_of_unused(set(numbers)),
            *((f"linked folders were passed over: {linked}",) if linked else ()),
        ),
    )


def _read(root: Path, folders: Sequence[tuple[str, int]]) -> Iterator[Sample]:
    for name, number in folders:
        for item in walk(str(root / name), Skipped()):
            yield Sample(item.path, item.source, (number,))


def _look(root: Path) -> _Found:
    found = _Found()
    for entry in _entries(root):
        if entry.name.startswith("."):
            continue
        if is_folder(entry, linked=False):
            found.folders.append(entry.name)
        elif is_folder(entry):
            found.linked.append(entry.name)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            raise UsageError(
                f"{entry.path}: a picture outside of the class folders",
                tip="put it into a folder that is named like its class, or use --manifest",
            )
    if not found.folders:
        raise UsageError(
            f"{root}: no class folders in it",
            tip="--folder takes a folder of folders: DIR/cat/1.jpg, DIR/dog/2.jpg",
        )
    return found


def _entries(root: Path) -> list[os.DirEntry[str]]:
    """What is in the root, in byte order."""
    try:
        with os.scandir(root) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError as error:
        raise UsageError(
            f"{root}: no such folder", tip="--folder takes a folder of class folders"
        ) from error
    except NotADirectoryError as error:
        raise UsageError(
            f"{root}: is not a folder", tip="a list of pictures goes with --manifest"
        ) from error
    except (OSError, ValueError) as error:  # the latter: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{root}: cannot be read: {reason.lower()}") from error


def _named_like_folders(root: Path, folders: Sequence[str]) -> Classes:
    names = {folder: without_underscores(folder) for folder in folders}
    for folder, name in names.items():
        labels.check(labels.Label(name, str(root / folder)))
    return classes_of({folder: (name,) for folder, name in names.items()})


def _refuse_splits(root: Path, folders: Sequence[str]) -> None:
    """Refuse to take the parts of a data set for its classes."""
    if _SPLITS.issuperset(name.casefold() for name in folders):
        raise UsageError(
            f"{root}: its folders are parts of a data set, not classes: {', '.join(folders)}",
            tip=f"name one: --folder {root / folders[-1]}; or name classes with --class-names",
        )


def _refuse_unnamed(root: Path, folders: Sequence[str], class_names: ClassNames) -> None:
    missing = next((name for name in folders if name not in class_names), None)
    if missing is not None:
        raise UsageError(
            f"{root / missing}: --class-names has no line for this folder",
            tip="add one: folder<TAB>class name",
        )


def _refuse_empty(folder: Path) -> None:
    if next(walk(str(folder), Skipped()), None) is None:
        raise UsageError(
            f"{folder}: no pictures in this class folder",
            tip="remove it, or put pictures of this class into it",
        )
