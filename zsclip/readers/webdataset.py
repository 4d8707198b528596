"""Shards of WebDataset -> labelled pictures: tar archives in the layout of CLIP_benchmark.

`ROOT/test/0.tar`, `1.tar`, ... hold the files of a picture one after the other, with one name up
to the first dot: `0001.jpg` and `0001.cls`, which has the number of its class. `nshards.txt` beside
them says how many shards there are, `ROOT/classnames.txt` names the classes. A single archive and
a folder of archives will do, too. Shards are read from front to back, and nothing is unpacked.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NoReturn, TypeAlias

from zsclip import labels, plain_text
from zsclip.errors import UsageError
from zsclip.formats import EXTENSIONS
from zsclip.plain_text import BLANKS, quoted
from zsclip.readers.base import LabelledPictures, Sample
from zsclip.readers.class_names import ClassNames, classes_of
from zsclip.results import Failure

SPLIT = "test"
_MAX_MEMBER_BYTES = 1 << 30
_MAX_LABEL_BYTES = 64
_LABEL = ".cls"
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_MOST_DIGITS = 9

Part: TypeAlias = "tuple[str, bytes | Failure]"
"""The name of a file in a shard, and what is in it."""


def read_webdataset(
    path: Path, *, split: str | None = None, class_names: ClassNames | None = None
) -> LabelledPictures:
    """Pictures in tar archives.

    Args:
        path: the root of a data set, a folder of archives, or an archive.
        split: a folder of the root; `test` unless given, or unless the archives are in the root.
        class_names: a line of classnames.txt -> the names of its class; where there is no such
            file, a number of a class -> its names.

    Raises:
        UsageError: there are no shards, or no class names; while pictures are read: a shard is
            damaged, or a picture in it has no label.
    """
    shards = _shards(path, split)
    names, numbers = _classes(shards[0].parent, class_names)
    return LabelledPictures(name=str(path), class_names=names, read=partial(_read, shards, numbers))


# shards


def _shards(path: Path, split: str | None) -> list[Path]:
    if os.path.isfile(path):
        if split is not None:
            raise UsageError("--split goes with the root of a data set", tip="leave out --split")
        return [path]
    if not os.path.isdir(path):
        raise UsageError(
            f"{path}: no such folder or archive",
            tip="--webdataset takes a folder of shards, or one .tar",
        )
    if split is None and (shards := _shards_in(path)):
        return shards
    shards = _shards_in(path / (split or SPLIT))
    if not shards:
        splits = [name for name in _names_in(path) if _has_archives(path / name)]
        there = f"--split {' or '.join(splits)}" if splits else "shards are called *.tar"
        raise UsageError(f"{path}: no shards of split {(split or SPLIT)!r} in it", tip=there)
    return shards


def _shards_in(folder: Path) -> list[Path]:
    """Shards in the order of their numbers, as nshards.txt counts them; else all, by name."""
    count = folder / "nshards.txt"
    if not os.path.isfile(count):
        return [folder / name for name in _names_in(folder) if _is_archive(name)]
    text = plain_text.read(count).strip()
    total = _number(text)
    if total is None:
        raise UsageError(f"{count}: not a number: {quoted(text)}", tip="it counts the shards")
    shards = []
    for number in range(total):
        shard = folder / f"{number}.tar"
        if not os.path.isfile(shard):
            raise UsageError(f"{shard}: missing, one of {total} shards", tip="fetch all of them")
        shards.append(shard)
    return shards


def _has_archives(folder: Path) -> bool:
    return any(_is_archive(name) for name in _names_in(folder))


def _is_archive(name: str) -> bool:
    return name.lower().endswith(_ARCHIVES)


def _names_in(folder: Path) -> list[str]:
    """What is in a folder, in byte order, hidden files left out; nothing where there is none."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{folder}: cannot be read: {reason}") from error
    return sorted(names, key=os.fsencode)


# classes


def _classes(
    folder: Path, class_names: ClassNames | None
) -> tuple[tuple[tuple[str, ...], ...], Mapping[int, int]]:
    """The names of the classes, and the number in a .cls file -> index of its class."""
    listed = _listed_classes(folder)
    if class_names is None:
        if listed is None:
            raise UsageError(
                f"{folder}: no classnames.txt there or above",
                tip="write one with a class name a line, or name the classes with --class-names",
            )
        # no merging of equal names: ImageNet has two classes of one name
        return tuple((name,) for name in listed), {number: number for number in range(len(listed))}
    classes = classes_of(class_names)
    if listed is None:
        return classes.names, {_class_number(text): at for text, at in classes.numbers.items()}
    for name in listed:
        if name not in classes.numbers:
            raise UsageError(
                f"{folder}: --class-names has no line for class {quoted(name)}",
                tip="add one: label<TAB>class name",
            )
    return classes.names, {number: classes.numbers[name] for number, name in enumerate(listed)}


def _listed_classes(folder: Path) -> list[str] | None:
    """The lines of classnames.txt beside the shards or one folder above; their number counts."""
    for place in (folder, folder.absolute().parent):
        path = place / "classnames.txt"
        if os.path.isfile(path):
            lines = plain_text.read(path).rstrip().split("\n")
            names = [line.strip(BLANKS) for line in lines]
            for number, name in enumerate(names, 1):
                labels.check(labels.Label(name, f"{path}: line {number}"))
            return names
    return None


def _class_number(label: str) -> int:
    number = _number(label)
    if number is None:
        raise UsageError(
            f"--class-names: {quoted(label)} is not the number of a class",
            tip="there is no classnames.txt, so a line is like '0<TAB>class name'",
        )
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


# pictures


def _read(shards: Sequence[Path], numbers: Mapping[int, int]) -> Iterator[Sample]:
    for shard in shards:
        for key, parts in groupby(_parts(shard), key=lambda part: _key(part[0])):
            yield _sample(f"{shard}/{key}", list(parts), numbers)


def _sample(where: str, parts: Sequence[Part], numbers: Mapping[int, int]) -> Sample:
    """One picture of its parts: a .cls file, and one file that is a picture by its ending."""
    pictures = [part for part in parts if _ending(part[0]) != _LABEL]
    if len(pictures) > 1:
        found = " and ".join(os.path.basename(name) for name, _ in pictures[:2])
        raise UsageError(f"{where}: two pictures of one name: {found}", tip="keep one of them")
    label = _label(where, parts, numbers)
    if not pictures:
        failure = Failure("not_found", "no picture of this name in the shard")
        return Sample(where, failure, (label,))
    name, content = pictures[0]
    return Sample(f"{where}{_ending(name)}", content, (label,))


def _label(where: str, parts: Sequence[Part], numbers: Mapping[int, int]) -> int:
    found = [content for name, content in parts if _ending(name) == _LABEL]
    if not found:
        raise UsageError(
            f"{where}: no {_LABEL} file with its label",
            tip="the files of a picture lie one after the other: 0001.jpg, 0001.cls",
        )
    content = found[0]
    text = "" if isinstance(content, Failure) else content.decode("ascii", "replace").strip()
    number = _number(text)
    if number is None or number not in numbers:
        raise UsageError(
            f"{where}: label {quoted(text)} is none of the {len(numbers)} classes",
            tip=f"a {_LABEL} file has the number of a class, from 0",
        )
    return numbers[number]


def _key(name: str) -> str:
    """The path up to the first dot of the last part."""
    folder, _, file = name.rpartition("/")
    stem = file.partition(".")[0]
    return f"{folder}/{stem}" if folder else stem


def _ending(name: str) -> str:
    """All from the first dot on, in lower case: `.jpg`; that of `a.thumb.jpg` is `.thumb.jpg`."""
    _, dot, ending = name.rpartition("/")[2].partition(".")
    return (dot + ending).lower()


# archives


class _Header(tarfile.TarInfo):
    """A header of a tar archive; one that is damaged is an error.

    tarfile itself takes all but the first for the end of the archive, and the rest would be lost.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Read a block of 512 bytes; a block of zeros is the end of the archive."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise
            raise tarfile.ReadError(str(error)) from error


def _parts(shard: Path) -> Iterator[Part]:
    """Labels and pictures of an archive, in its order; other files are passed over."""
    try:
        with (
            shard.open("rb") as file,
            tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive,
        ):
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined] # it keeps every header
                name = member.name.removeprefix("./")
                if member.isreg() and (_ending(name) == _LABEL or _ending(name) in EXTENSIONS):
                    yield name, _content(archive, member)
    except (tarfile.TarError, TypeError) as error:  # the latter: the header of gzip is cut
        _refuse_damaged(shard, error)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{shard}: cannot be read: {reason}") from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | Failure:
    limit = _MAX_LABEL_BYTES if _ending(member.name) == _LABEL else _MAX_MEMBER_BYTES
    if member.size > limit:
        return Failure("too_large_file", f"{member.size:,} bytes are more than {limit:,}")
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _refuse_damaged(shard: Path, error: Exception) -> NoReturn:
    raise UsageError(
        f"{shard}: a damaged tar archive: {error}", tip="fetch or write this shard anew"
    ) from error
