"""Read YAML from people: plain text scalars, lists and mappings, nothing else.

Refuses aliases, anchors, tags, duplicate keys, deep nesting and large files; `no` and `1e3` stay
the text that was typed. Pure Python: the C loader dies of a signal on deep nesting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from zsclip.errors import UsageError

MAX_SIZE_BYTES = 1 << 20
MAX_DEPTH = 12


class _PlainLoader(yaml.BaseLoader):
    """PyYAML's loader that resolves no tags, restricted further."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(None, None, "aliases are not allowed", event.start_mark)
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(None, None, "tags are not allowed", event.start_mark)
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, "nested too deeply", event.start_mark)
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "a key must be text", key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"duplicate key {key.value!r}", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def loads(text: str, *, name: str) -> Any:
    """Parse YAML text; every scalar is a str.

    Raises:
        UsageError: names `name` and the line where the text is not plain YAML.
    """
    if len(text) > MAX_SIZE_BYTES:
        raise UsageError(f"{name}: larger than {MAX_SIZE_BYTES} bytes")
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise UsageError(f"{name}: {where}{error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{name}: not readable as YAML: {reason}") from error


def load(path: Path) -> Any:
    """Parse a YAML file; see `loads`."""
    try:
        if path.stat().st_size > MAX_SIZE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_SIZE_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02X})") from error
    return loads(text, name=str(path))
