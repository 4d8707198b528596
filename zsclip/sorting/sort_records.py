"""The lines of a log of `zsclip sort`: what they say, and how paths are written in them.

The first one tells whose log it is. A folder has one before it is made; a picture has `begun`
before it is placed, then `done`, or `dropped` where that could not be, `undoing` before it is moved
back, then `undone`. The last line of a run is `end`. Targets are relative to the log's folder.
Changes no file.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsclip.errors import UsageError
from zsclip.sorting.placement import ACTIONS, Action
from zsclip.sorting.source_files import Stamp
from zsclip.writers import escaped

VERSION = 1

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture that was to be placed.

    Attributes:
        source: absolute path.
        folder: in the log's folder.
        stamp: of the source.
    """

    number: int
    action: Action
    source: str
    folder: str
    name: str
    label: str | None
    score: float | None
    stamp: Stamp


@dataclass(slots=True)
class Content:
    """What a log says.

    Attributes:
        run: what decides where a picture goes, as a digest, and the action.
        made_folder: the log's folder was made for it.
        folders: that were made in it.
        begun: entries of which it does not say how they ended.
        done: entries that were placed, and are not known to be undone.
        undoing: of those, the ones whose undoing has begun.
        size_bytes: where the last whole line ends.
    """

    log_id: str
    run: str
    made_folder: bool
    folders: list[str] = field(default_factory=list)
    entries: dict[int, Entry] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    undoing: set[int] = field(default_factory=set)
    finished: bool = False
    size_bytes: int = 0

    def take(self, record: dict[str, Any]) -> None:
        """Add what a line says.

        Raises:
            ValueError, KeyError, TypeError: it is not a line of a log.
        """
        ((kind, value), *_) = record.items()
        if kind == "folder":
            self.folders.append(_single_name(value))
        elif kind == "end":
            self.finished = True
        elif kind == "begun":
            self.entries[value] = _entry(record)
            self.begun.add(value)
        elif kind == "undoing":
            self.undoing.add(self.entries[value].number)
        elif kind in ("done", "dropped", "undone"):
            self.begun.discard(self.entries[value].number)
            self.undoing.discard(value)
            (self.done.add if kind == "done" else self.done.discard)(value)
        else:
            raise ValueError("another line")


def read(path: Path) -> Content:
    """What a log says; a last line that was cut does not count.

    Raises:
        UsageError: it is not a log, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait
            raise ValueError("not a file")
        with path.open("rb") as file:
            content = _first(next(file, b""))
            content.size_bytes = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                content.take(json.loads(line))
                content.size_bytes += len(line)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{path}: is not a log of 'zsclip sort'") from None
    return content


def first_record(content: Content) -> Record:
    """The first line of a log."""
    return {
        "zsclip_sort": VERSION,
        "id": content.log_id,
        "run": content.run,
        "made_folder": content.made_folder,
    }


def begun_record(entry: Entry) -> Record:
    """The line of a picture that is about to be placed."""
    return {
        "begun": entry.number,
        "action": entry.action,
        **path_fields("source", entry.source),
        **path_fields("target", f"{entry.folder}/{entry.name}"),
        "label": entry.label,
        "score": entry.score,
        **entry.stamp._asdict(),
    }


def path_fields(name: str, path: str) -> Record:
    """`{name: path}` for JSON, and its bytes as base64 where they are not UTF-8."""
    raw = os.fsencode(path)
    try:
        return {name: raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {name: escaped(path), f"{name}_b64": base64.b64encode(raw).decode("ascii")}


def _first(line: bytes) -> Content:
    record = json.loads(line)
    if record["zsclip_sort"] != VERSION:
        raise ValueError("another version")
    log_id, run = _single_name(record["id"]), str(record["run"])
    return Content(log_id, run, record["made_folder"] is True)


def _entry(record: dict[str, Any]) -> Entry:
    folder, _, name = _read_path(record, "target").partition("/")
    if record["action"] not in ACTIONS:
        raise ValueError("another action")
    return Entry(
        number=int(record["begun"]),
        action=record["action"],
        source=_read_path(record, "source"),
        folder=_single_name(folder),
        name=_single_name(name),
        label=record["label"],
        score=record["score"],
        stamp=Stamp(int(record["size_bytes"]), int(record["mtime_ns"])),
    )


def _read_path(record: dict[str, Any], name: str) -> str:
    if f"{name}_b64" in record:
        return os.fsdecode(base64.b64decode(record[f"{name}_b64"]))
    return os.fsdecode(record[name].encode("utf-8"))


def _single_name(name: str) -> str:
    """A name that leads nowhere else, whoever wrote the log."""
    if name in ("", os.curdir, os.pardir) or "/" in name or "\0" in name:
        raise ValueError("not a name")
    return name
