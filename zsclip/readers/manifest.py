"""A list of paths with labels -> labelled pictures: CSV, TSV or JSON Lines.

The list is read once beforehand, so that what is wrong in it is told before the first picture is
decoded, and then once a pass; of its rows nothing is kept but the distinct labels.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from zsclip import labels
from zsclip.errors import UsageError
from zsclip.plain_text import BLANKS, quoted
from zsclip.readers.base import LabelledPictures, Sample
from zsclip.readers.class_names import Classes, ClassNames, classes_of

IMAGE_COLUMNS = ("path", "file", "filename", "file_name")
LABEL_COLUMNS = ("label", "class", "labels")
SEVERAL = "labels"
"""The column of CSV and TSV that has several labels in a cell, with `;` between them."""
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_MAX_LINE_BYTES = 1 << 20
_MOST_SHOWN = 8


@dataclass(frozen=True, slots=True)
class _Form:
    """Where a list is, and which columns of it are read: the first that there are."""

    manifest: Path
    image_columns: tuple[str, ...]
    label_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """One row; `several` where its labels came as a list, which may be empty."""

    where: str
    path: str
    labels: tuple[str, ...]
    several: bool


@dataclass(slots=True)
class _Survey:
    """What a first pass has seen: how many rows, and where each label was first."""

    size: int = 0
    multi_label: bool = False
    labels: dict[str, str] = field(default_factory=dict)


def read_manifest(
    path: Path,
    *,
    class_names: ClassNames | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> LabelledPictures:
    """Pictures that a list names; relative paths in it are relative to the list.

    Args:
        class_names: a label -> the names of its class; unless given, the labels are the names of
            the classes, in byte order.
        image_column: where the paths are; the first of IMAGE_COLUMNS unless given.
        label_column: where the labels are; the first of LABEL_COLUMNS unless given.

    Raises:
        UsageError: the list cannot be read, or a row of it is not as it should be.
    """
    form = _Form(
        path,
        IMAGE_COLUMNS if image_column is None else (image_column,),
        LABEL_COLUMNS if label_column is None else (label_column,),
    )
    survey = _look_through(form)
    classes = _classes(survey.labels, class_names)
    used = {_number(classes, label, where) for label, where in survey.labels.items()}
    return LabelledPictures(
        name=str(path),
        class_names=classes.names,
        read=partial(_read, form, classes),
        size=survey.size,
        metric="map11" if survey.multi_label else "accuracy",
        multi_label=survey.multi_label,
        notes=classes.note_of_unused(used),
    )


def _read(form: _Form, classes: Classes) -> Iterator[Sample]:
    folder = os.path.dirname(form.manifest)
    for row in _rows(form):
        numbers = (_number(classes, label, row.where) for label in row.labels)
        path = os.path.join(folder, row.path)
        yield Sample(path, path, tuple(dict.fromkeys(numbers)))


def _look_through(form: _Form) -> _Survey:
    survey = _Survey()
    for row in _rows(form):
        survey.size += 1
        survey.multi_label = row.several
        for label in row.labels:
            survey.labels.setdefault(label, row.where)
    if not survey.size:
        raise UsageError(f"{form.manifest}: names no pictures", tip="one row for each picture")
    if not survey.labels:
        raise UsageError(f"{form.manifest}: no row has a label", tip="the labels make the classes")
    return survey


def _classes(found: Mapping[str, str], class_names: ClassNames | None) -> Classes:
    if class_names is not None:
        return classes_of(class_names)
    for label, where in found.items():
        labels.check(labels.Label(label, where))
    return classes_of({label: (label,) for label in sorted(found)})


def _number(classes: Classes, label: str, where: str) -> int:
    try:
        return classes.numbers[label]
    except KeyError:
        raise UsageError(
            f"{where}: unknown class {quoted(label)}",
            tip="--class-names has no line for it; add one: label<TAB>class name",
        ) from None


# rows


def _rows(form: _Form) -> Iterator[_Row]:
    """The rows of a list, which all have one label each, or all have a list of them."""
    several: bool | None = None
    for where, record in _records(form):
        row = _row(where, record, form)
        several = row.several if several is None else several
        if row.several != several:
            raise UsageError(
                f"{where}: one label and lists of labels in one manifest",
                tip="write a list in every row, also around one label",
            )
        yield row


def _row(where: str, record: Mapping[str, object], form: _Form) -> _Row:
    path = record[_column(record, form.image_columns, where, option="--image-column")]
    if not isinstance(path, str) or not path.strip():
        raise UsageError(f"{where}: no path of a picture", tip="every row names a picture")
    label = record[_column(record, form.label_columns, where, option="--label-column")]
    several = isinstance(label, list)
    found = [_label(item, where) for item in (label if isinstance(label, list) else [label])]
    return _Row(where, path, tuple(found), several)


def _label(value: object, where: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):  # a class by its number, in JSON
        return str(value)
    if not isinstance(value, str):
        found = quoted(json.dumps(value))
        raise UsageError(f"{where}: no label: {found}", tip="a label is text, or a list of texts")
    if not value.strip(BLANKS):
        raise UsageError(
            f"{where}: an empty label", tip=f"a column {SEVERAL!r} takes none, one or several"
        )
    return value.strip(BLANKS)


def _column(keys: Iterable[str], names: tuple[str, ...], where: str, *, option: str) -> str:
    """The first of some columns that there is, whatever its case."""
    keys = tuple(keys)
    column = _first_of(keys, names)
    if column is not None:
        return column
    there = ", ".join(quoted(key) for key in keys[:_MOST_SHOWN]) or "none"
    raise UsageError(
        f"{where}: no column {' or '.join(repr(name) for name in names)}; there is {there}",
        tip=f"name the column with {option}",
    )


@lru_cache(maxsize=16)  # rows are alike
def _first_of(keys: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    by_fold = {key.strip(BLANKS).casefold(): key for key in keys}
    found = (by_fold.get(name.casefold()) for name in names)
    return next((key for key in found if key is not None), None)


# files


def _records(form: _Form) -> Iterator[tuple[str, Mapping[str, object]]]:
    """(place, columns) of each row, by the file's ending."""
    ending = form.manifest.suffix.lower()
    if ending in _SEPARATORS:
        return _of_csv(form, _SEPARATORS[ending])
    if ending in _JSON_LINES:
        return _of_json_lines(form.manifest)
    raise UsageError(
        f"{form.manifest}: is none of .csv, .tsv and .jsonl",
        tip="rename it, or write it as one of these",
    )


def _of_csv(form: _Form, separator: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    header: list[str] | None = None
    for where, cells in _cells(form.manifest, separator):
        if header is None:
            header = cells
            _column(header, form.image_columns, where, option="--image-column")
            _column(header, form.label_columns, where, option="--label-column")
        elif len(cells) != len(header):
            raise UsageError(
                f"{where}: {len(cells)} cells where the header has {len(header)}",
                tip="put cells with a separator in them into quotation marks",
            )
        else:
            yield where, {k: _cell(k, c) for k, c in zip(header, cells, strict=True)}


def _cells(manifest: Path, separator: str) -> Iterator[tuple[str, list[str]]]:
    """(place, cells) of rows that are not blank."""
    # strict: else an open quotation mark takes the rest of the file for one cell
    reader = csv.reader(_lines(manifest), delimiter=separator, strict=True)
    try:
        for cells in reader:
            if cells:
                yield f"{manifest}: line {reader.line_num}", cells
    except csv.Error as error:
        raise UsageError(
            f"{manifest}: line {reader.line_num}: {error}",
            tip="inside of quotation marks, write a quotation mark twice",
        ) from error


def _cell(column: str, cell: str) -> str | list[str]:
    if column.strip(BLANKS).casefold() != SEVERAL:
        return cell
    return [part for part in cell.split(";") if part.strip(BLANKS)]


def _of_json_lines(manifest: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    for number, line in enumerate(_lines(manifest), 1):
        if not line.strip():
            continue
        where = f"{manifest}: line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).lower().split())
            raise UsageError(f"{where}: not JSON: {reason}", tip="one object a line") from error
        if not isinstance(record, dict):
            raise UsageError(
                f"{where}: not an object", tip='one a line: {"path": "a.jpg", "label": "cat"}'
            )
        yield where, record


def _lines(manifest: Path) -> Iterator[str]:
    """Lines with their ends; a file without an end of lines is not read whole."""
    if not os.path.isfile(manifest):  # a pipe cannot be read twice
        wrong = "is not a file" if os.path.exists(manifest) else "no such file"
        raise UsageError(f"{manifest}: {wrong}", tip="--manifest takes a .csv, .tsv or .jsonl file")
    try:
        with manifest.open("rb") as file:
            read = partial(file.readline, _MAX_LINE_BYTES + 1)
            for number, line in enumerate(iter(read, b""), 1):
                yield _decoded(line, f"{manifest}: line {number}", first=number == 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{manifest}: cannot be read: {reason}") from error


def _decoded(line: bytes, where: str, *, first: bool) -> str:
    if len(line) > _MAX_LINE_BYTES:
        raise UsageError(
            f"{where}: longer than {_MAX_LINE_BYTES:,} bytes", tip="is this a list of pictures?"
        )
    try:
        return (line.removeprefix(b"\xef\xbb\xbf") if first else line).decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]
        raise UsageError(
            f"{where}: not UTF-8 (byte 0x{wrong:02X})", tip="re-save it as UTF-8"
        ) from error
