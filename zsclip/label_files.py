"""Labels files: one name a line, or YAML, CSV and TSV with names, prompts, context and groups.

The file's ending says which. Whatever is wrong is told with its line. Knows nothing about models.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from zsclip import labels, plain_yaml
from zsclip.errors import LabelError, UsageError
from zsclip.labels import ClassLabel, read_text
from zsclip.plain_text import BLANKS, quoted
from zsclip.plain_yaml import Located

KEYS = ("label", "names", "prompts", "context", "group", "threshold")
_LISTS = ("names", "prompts")
_BETWEEN = "|"
"""Stands between the names, or the prompts, in a cell of CSV."""
_YAML = (".yaml", ".yml")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


def read(path: Path, *, encoding: str = "UTF-8") -> list[ClassLabel]:
    """The classes of a labels file.

    Raises:
        UsageError: the file cannot be read, has no labels, or has something that is none.
    """
    ending = path.suffix.lower()
    if ending in _YAML:
        found = _of_yaml(path, read_text(path, encoding=encoding))
    elif ending in _SEPARATORS:
        text = read_text(path, encoding=encoding)
        found = _of_cells(path, text, separator=_SEPARATORS[ending])
    else:
        return labels.from_file(path, encoding=encoding)
    classes = list(found)
    if not classes:
        raise LabelError(f"{path}: no labels")
    return classes


# YAML


def _of_yaml(path: Path, text: str) -> Iterator[ClassLabel]:
    content = plain_yaml.located(text, name=str(path))
    if content is None:
        return
    if isinstance(content.value, list):
        for entry in content.value:
            yield _of_entry(entry, f"{path}: line {entry.line}", path)
    elif isinstance(content.value, dict):
        for label, entry in content.value.items():
            yield _of_named(label, entry, f"{path}: line {entry.line}", path)
    else:
        raise LabelError(
            f"{path}: line {content.line}: needs a list of labels, or a mapping of them",
            tip="write '- cat' lines, or name the file .txt if it has a label a line",
        )


def _of_entry(entry: Located, where: str, path: Path) -> ClassLabel:
    """An entry of a list: a text, or a mapping."""
    if isinstance(entry.value, str):
        return ClassLabel(_stripped(entry.value), where=where)
    if isinstance(entry.value, list):
        raise LabelError(
            f"{where}: a label is text or a mapping, not a list",
            tip="names of one class: {label: cat, names: [cat, kitten]}",
        )
    return _of_mapping(entry.value, where, path)


def _of_named(label: str, entry: Located, where: str, path: Path) -> ClassLabel:
    """An entry of a mapping: the label's names, or a mapping of all but itself."""
    label = _there(_stripped(label), "label", where)
    if isinstance(entry.value, dict):
        if "label" in entry.value:
            line = entry.value["label"].line
            raise LabelError(f"{path}: line {line}: {quoted(label)} is the label already")
        given = {"label": Located(label, entry.line), **entry.value}
        return _of_mapping(given, where, path)
    if isinstance(entry.value, list):
        return _of_mapping({"label": Located(label, entry.line), "names": entry}, where, path)
    if _stripped(entry.value):
        raise LabelError(
            f"{where}: {quoted(label)} needs a list of names, or a mapping",
            tip=f"such as {label}: [{entry.value}], or {label}: {{context: {entry.value}}}",
        )
    return ClassLabel(label, where=where)


def _of_mapping(entry: Mapping[str, Located], where: str, path: Path) -> ClassLabel:
    for key, part in entry.items():
        if key not in KEYS:
            raise _unknown("key", key, f"{path}: line {part.line}")
    lists = {k: _texts(entry[k], k, path) for k in _LISTS if k in entry and entry[k].value != ""}
    single = {key: _text(part, key, path) for key, part in entry.items() if key not in _LISTS}
    line = entry["threshold"].line if "threshold" in entry else 0
    return _class(single, lists, where, threshold_at=f"{path}: line {line}")


def _text(part: Located, key: str, path: Path) -> str:
    if not isinstance(part.value, str):
        raise LabelError(f"{path}: line {part.line}: {key!r} must be one text")
    return _stripped(part.value)


def _texts(part: Located, key: str, path: Path) -> list[str]:
    """A list of texts; a text is a list with one a line."""
    if isinstance(part.value, str):
        lines = map(_stripped, part.value.split("\n"))
        return [line for line in lines if line]
    items = part.value if isinstance(part.value, list) else [part]
    for item in items:
        if not isinstance(item.value, str):
            raise LabelError(
                f"{path}: line {item.line}: {key!r} must be a list of texts",
                tip="put text with ': ' or braces in it into quotation marks",
            )
    return [_there(_stripped(str(i.value)), key, f"{path}: line {i.line}") for i in items]


# CSV and TSV


def _of_cells(path: Path, text: str, *, separator: str) -> Iterator[ClassLabel]:
    rows = _rows(path, text, separator)
    where, header = next(rows, (f"{path}: line 1", []))
    columns = [cell.casefold() for cell in header]
    if len(header) == 1 and ({*_SEPARATORS.values(), ";"} - {separator}) & set(header[0]):
        raise LabelError(
            f"{where}: columns are not separated by {separator!r}: {quoted(header[0])}",
            tip="a .csv file has commas between its columns, a .tsv file tabs",
        )
    for name, column in zip(header, columns, strict=True):
        if column not in KEYS:
            raise _unknown("column", name, where)
        if columns.count(column) > 1:
            raise LabelError(f"{where}: column {column!r} is there twice")
    if header and not {"label", "names"} & set(columns):
        raise LabelError(f"{where}: no column 'label'", tip=f"columns are {', '.join(KEYS)}")
    for where, cells in rows:
        if any(cells[len(columns) :]):
            raise LabelError(
                f"{where}: {len(cells)} cells where the header has {len(columns)}",
                tip="put cells with a separator in them into quotation marks",
            )
        filled = {column: cell for column, cell in zip(columns, cells, strict=False) if cell}
        lists = {key: _parts(filled.pop(key), key, where) for key in _LISTS if key in filled}
        yield _class(filled, lists, where, threshold_at=where)


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[str, list[str]]]:
    """(place, cells) of the rows that are not blank; a row is where it begins."""
    # strict: else an open quotation mark takes the rest of the file for one cell
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begins = 1
    try:
        for row in reader:
            cells = [_stripped(cell) for cell in row]
            if any(cells):
                yield f"{path}: line {begins}", cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise LabelError(
            f"{path}: line {begins}: {error}",
            tip="inside of quotation marks, write a quotation mark twice",
        ) from error


def _parts(cell: str, key: str, where: str) -> list[str]:
    return [_there(_stripped(part), key, where) for part in cell.split(_BETWEEN)]


# both


def _class(
    single: Mapping[str, str], lists: Mapping[str, Sequence[str]], where: str, *, threshold_at: str
) -> ClassLabel:
    names = lists.get("names")
    label = single.get("label") or (names[0] if names else "")
    if not label:
        raise LabelError(f"{where}: neither a label nor a name")
    return ClassLabel(
        label,
        names,
        lists.get("prompts", ()),
        single.get("context") or None,
        single.get("group") or None,
        _threshold(single.get("threshold") or None, label, threshold_at),
        where=where,
    )


def _threshold(text: str | None, label: str, where: str) -> float | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or not 0 <= float(text) <= 1:
        raise LabelError(
            f"{where}: threshold {quoted(text)} of label {quoted(label)} is not a number between "
            "0 and 1",
            tip="it is the least score that this label is given for, such as 0.4",
        )
    return float(text)


def _there(text: str, key: str, where: str) -> str:
    if not text:
        raise LabelError(f"{where}: an empty {key.removesuffix('s')}")
    return text


def _unknown(what: str, name: str, where: str) -> UsageError:
    near = difflib.get_close_matches(name.casefold(), KEYS, n=1, cutoff=0.6)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return LabelError(
        f"{where}: unknown {what} {quoted(name)}{meant}", tip=f"they are {', '.join(KEYS)}"
    )


def _stripped(text: str) -> str:
    return text.strip(BLANKS)
