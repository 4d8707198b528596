"""Data sets of the Hugging Face hub, or local folders in its forms -> labelled pictures.

By the package `datasets` (extra `hf-datasets`), streamed: nothing is fetched before it is needed.
Pictures are handed on undecoded.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from zsclip import labels
from zsclip.errors import UsageError, ZsclipError
from zsclip.plain_text import quoted
from zsclip.readers.base import LabelledPictures, Sample
from zsclip.readers.class_names import Classes, ClassNames, classes_of, without_underscores
from zsclip.results import Failure

SPLIT = "test"
_MAX_PICTURE_BYTES = 1 << 30
_MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class _Columns:
    """What is read of each row, and what its label means.

    Attributes:
        where: name and split, for messages and paths.
        names: of the labels, by their number; None where a label is its own name.
    """

    where: str
    image: str
    label: str
    names: Sequence[str] | None


def read_huggingface(
    name: str,
    *,
    split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    class_names: ClassNames | None = None,
    offline: bool = False,
) -> LabelledPictures:
    """Pictures of a data set of the hub, a local folder in one of its forms, or a Parquet file.

    Args:
        offline: pictures that a row refers to on the hub are not fetched: they fail.
        split: `test` unless given, or the only one that there is.
        image_column: the only one with pictures unless given.
        label_column: the only one with named labels unless given.
        class_names: a label -> the names of its class; unless given, the label with underscores
            as blanks.

    Raises:
        UsageError: `datasets` is not installed, there is no such data set or split, or it is not
            clear which columns are meant; while pictures are read: a row has no label.
    """
    with _as_one_line(name):
        stream, where = _open(name, split)
        features: Mapping[str, Any] = stream.features or {}
        image, label = _choose(where, features, image_column, label_column)
        feature = features[label]
        names = list(feature.names) if hasattr(feature, "names") else None
        stream = _undecoded(stream, image).select_columns([image, label])
    columns = _Columns(where, image, label, names)
    classes = _classes(columns, class_names)
    return LabelledPictures(
        name=where,
        class_names=classes.names,
        read=partial(_read, stream, columns, classes, offline),
    )


def _library() -> Any:
    """The package `datasets`, silent."""
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            "--hf needs the package datasets", tip="pip install 'zsclip[hf-datasets]'"
        ) from error
    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(logging.CRITICAL)
    return datasets


@contextlib.contextmanager
def _as_one_line(name: str) -> Iterator[None]:
    """What the library raises for a data set that it cannot read, as one of ours."""
    try:
        yield
    except ZsclipError:
        raise
    except Exception as error:  # of the library and of those under it, which have changed before
        reason = " ".join(str(error).split())[:_MAX_REASON] or type(error).__name__
        raise UsageError(
            f"--hf {name}: {reason[0].lower()}{reason[1:]}",
            tip="--hf takes ORG/NAME of the hub, a local folder, or a .parquet file",
        ) from error


def _open(name: str, split: str | None) -> tuple[Any, str]:
    """The stream of a split, and what to call it."""
    library = _library()
    if os.path.isfile(name):
        if split is not None:
            raise UsageError("--split goes with a data set, not with a file", tip="leave it out")
        files = {SPLIT: name}
        return library.load_dataset("parquet", data_files=files, streaming=True)[SPLIT], name
    splits = library.load_dataset(name, streaming=True)
    chosen = split or (SPLIT if SPLIT in splits or len(splits) > 1 else next(iter(splits)))
    if chosen not in splits:
        raise UsageError(
            f"--hf {name}: no split {chosen!r}", tip=f"--split {' or '.join(map(str, splits))}"
        )
    return splits[chosen], f"{name}/{chosen}"


# columns


def _choose(
    where: str, features: Mapping[str, Any], image: str | None, label: str | None
) -> tuple[str, str]:
    library = _library()
    return (
        _column(where, features, library.Image, image, option="--image-column", what="pictures"),
        _column(
            where, features, library.ClassLabel, label, option="--label-column", what="named labels"
        ),
    )


def _column(
    where: str,
    features: Mapping[str, Any],
    kind: type,
    wanted: str | None,
    *,
    option: str,
    what: str,
) -> str:
    """The column that is named, or the only one of its kind."""
    there = f"{option} takes one of {', '.join(map(quoted, features)) or 'no columns at all'}"
    if wanted is not None:
        if wanted not in features:
            raise UsageError(f"{where}: no column {wanted!r}", tip=there)
        return wanted
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if not found:
        raise UsageError(f"{where}: no column of {what}", tip=there)
    if len(found) > 1:
        several = ", ".join(map(quoted, found))
        raise UsageError(f"{where}: several columns of {what}: {several}", tip=there)
    return found[0]


def _undecoded(stream: Any, column: str) -> Any:
    return stream.cast_column(column, _library().Image(decode=False))


def _classes(columns: _Columns, class_names: ClassNames | None) -> Classes:
    if class_names is not None:
        return classes_of(class_names)
    if columns.names is None:
        raise UsageError(
            f"{columns.where}: column {columns.label!r} has no class names",
            tip="--class-names gives them: one line a class, label<TAB>class name",
        )
    names = {label: without_underscores(label) for label in columns.names}
    for name in names.values():
        labels.check(labels.Label(name, columns.where))
    return classes_of({label: (name,) for label, name in names.items()})


# rows


def _read(stream: Any, columns: _Columns, classes: Classes, offline: bool) -> Iterator[Sample]:
    for number, row in enumerate(_rows(stream, columns.where)):
        path = f"{columns.where}#{number}"
        label = _label(row[columns.label], columns, path)
        if label not in classes.numbers:
            raise UsageError(
                f"{path}: unknown class {quoted(label)}",
                tip="--class-names has no line for it; add one: label<TAB>class name",
            )
        yield Sample(path, _picture(row[columns.image], offline=offline), (classes.numbers[label],))


def _rows(stream: Any, where: str) -> Iterator[Mapping[str, Any]]:
    rows = iter(stream)
    while True:
        with _as_one_line(where):
            row = next(rows, None)
        if row is None:
            return
        yield row


def _label(value: object, columns: _Columns, path: str) -> str:
    if columns.names is None and value is not None:
        return str(value)
    if isinstance(value, int) and columns.names and 0 <= value < len(columns.names):
        return columns.names[value]
    raise UsageError(
        f"{path}: no label in column {columns.label!r}: {value}",
        tip="some data sets keep the labels of a split to themselves; name another with --split",
    )


def _picture(cell: Mapping[str, Any] | None, *, offline: bool = False) -> str | bytes | Failure:
    """What is in a cell of pictures: a file itself, or where it is."""
    if cell is not None and cell["bytes"] is not None:
        return bytes(cell["bytes"])
    path = None if cell is None else cell["path"]
    if not path:
        return Failure("empty", "no picture in this row")
    if "://" not in path:
        return str(path)
    if offline:
        return Failure("fetch_error", "the picture is not here, and --offline fetches none")
    return _fetched(path)


def _fetched(address: str) -> bytes | Failure:
    """A file of the hub, which may be in an archive there; rows may name no other machine."""
    import fsspec

    if not address.rpartition("::")[2].startswith("hf://"):
        return Failure("fetch_error", "the picture is not on the hub")
    try:
        with fsspec.open(address, "rb") as file:
            content: bytes = file.read(_MAX_PICTURE_BYTES + 1)
    except Exception as error:  # of the library under the hub's, which has changed before
        return Failure("fetch_error", " ".join(str(error).split())[:_MAX_REASON])
    if len(content) > _MAX_PICTURE_BYTES:
        return Failure("too_large_file", f"more than {_MAX_PICTURE_BYTES:,} bytes")
    return content
