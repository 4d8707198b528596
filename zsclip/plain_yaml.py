"""Read YAML from people: plain text scalars, lists and mappings, nothing else.

Refuses aliases, anchors, tags, duplicate keys, deep nesting and large files, each where it stands,
before what comes after it is read; `no` and `1e3` stay the text that was typed. Pure Python: the C
loader dies of a signal on deep nesting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from zsclip import plain_text
from zsclip.errors import UsageError

MAX_SIZE_BYTES = 1 << 20
MAX_DEPTH = 12

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Located:
    """A part of a file and the line where it begins; with a key, where that does.

    Attributes:
        value: text, a list of parts, or a mapping of text to parts.
    """

    value: str | list[Located] | dict[str, Located]
    line: int


class _PlainLoader(yaml.BaseLoader):
    """PyYAML's loader that resolves no tags, restricted further."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._keys: set[str] = set()  # of the innermost mapping

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(None, None, "aliases are not allowed", event.start_mark)
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(None, None, "tags are not allowed", event.start_mark)
        if self._depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, "nested too deeply", event.start_mark)
        if isinstance(parent, yaml.MappingNode) and index is None:
            self._check_key(event)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        outer, self._keys = self._keys, set()
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        self._keys = outer
        return node

    def _check_key(self, event: Any) -> None:
        key = event.value if isinstance(event, yaml.ScalarEvent) else None
        if key is None:
            raise yaml.MarkedYAMLError(None, None, "a key must be text", event.start_mark)
        if key in self._keys:
            problem = f"duplicate key {plain_text.quoted(key)}"
            raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)
        self._keys.add(key)


def loads(text: str, *, name: str) -> Any:
    """Parse YAML text; every scalar is a str.

    Raises:
        UsageError: names `name` and the line where the text is not plain YAML.
    """
    return _parsed(text, name, lambda stream: yaml.load(stream, Loader=_PlainLoader))


def located(text: str, *, name: str) -> Located | None:
    """Parse YAML text into parts that know their lines; None of a text that is empty.

    Raises:
        UsageError: as `loads`.
    """
    node = _parsed(text, name, lambda stream: yaml.compose(stream, Loader=_PlainLoader))
    return None if node is None else _located(node, node.start_mark.line)


def _located(node: Any, line: int) -> Located:
    if isinstance(node, yaml.MappingNode):
        pairs = ((key.value, value, key.start_mark.line) for key, value in node.value)
        return Located({key: _located(value, at) for key, value, at in pairs}, line + 1)
    if isinstance(node, yaml.SequenceNode):
        return Located([_located(item, item.start_mark.line) for item in node.value], line + 1)
    return Located(node.value, line + 1)


def _parsed(text: str, name: str, parse: Callable[[str], Parsed]) -> Parsed:
    if len(text) > MAX_SIZE_BYTES:
        raise UsageError(f"{name}: larger than {MAX_SIZE_BYTES:,} bytes")
    try:
        return parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise UsageError(f"{name}: {where}{error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = chr(error.character)
        raise UsageError(f"{name}: line {line}: {character!r} is not allowed in YAML") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{name}: not readable as YAML: {reason}") from error


def load(path: Path) -> Any:
    """Parse a YAML file; see `loads`."""
    return loads(_read(path), name=str(path))


def line_of(path: Path, *keys: str | int) -> int:
    """The line of a part of a file that can be loaded: `line_of(path, "templates", 3)`."""
    node: Any = yaml.compose(_read(path), Loader=_PlainLoader)
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            node = next(value for name, value in node.value if name.value == key)
        else:
            node = node.value[key]
    return int(node.start_mark.line) + 1


def _read(path: Path) -> str:
    return plain_text.read(path, max_size_bytes=MAX_SIZE_BYTES)
