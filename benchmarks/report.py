"""What a subject found, and how it looks as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Table = Mapping[str, Mapping[str, float]]
"""Rows by name, and in each its figures by the name of their column."""


@dataclass(frozen=True, slots=True)
class Section:
    """What one subject found.

    Attributes:
        figures: medians.
        ratios: medians of the ratios within a round; `a / b` of the time of a and of b.
        notes: what must be known to read them.
    """

    title: str
    figures: Table = field(default_factory=dict)
    ratios: Table = field(default_factory=dict)
    notes: Sequence[str] = ()


def markdown(section: Section) -> str:
    """A section with its tables."""
    parts = [f"### {section.title}"]
    parts += ["\n".join(f"- {note}" for note in section.notes)] if section.notes else []
    parts += ["\n".join(_table("", section.figures))] if section.figures else []
    parts += ["\n".join(_table("times", section.ratios))] if section.ratios else []
    return "\n\n".join(parts)


def _table(corner: str, table: Table) -> Iterator[str]:
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    yield f"| {' | '.join([corner, *columns])} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, row in table.items():
        figures = [number(row[column]) if column in row else "" for column in columns]
        yield f"| {' | '.join([name, *figures])} |"


def number(value: float) -> str:
    """Three digits: 0.0123, 1.23, 12.3, 123, 1234."""
    if not math.isfinite(value):
        return ""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(0, digits), 4)}f}"
