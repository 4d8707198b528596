"""What zsclip should reach, and whether it does.

The aims are for two cores, ViT-B/32 in fp32, and the engine that zsclip chooses by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from report import number


@dataclass(frozen=True, slots=True)
class Aim:
    """What one figure should reach.

    Attributes:
        row: of a table of the subject; `a / b` is a ratio.
    """

    text: str
    subject: str
    row: str
    column: str = "wall"
    at_least: float | None = None
    at_most: float | None = None

    def measured(self, sections: Mapping[str, Mapping[str, Any]]) -> float | None:
        """The figure; None if it was not measured."""
        section = sections.get(self.subject, {})
        table = section.get("ratios" if " / " in self.row else "figures", {})
        return table.get(self.row, {}).get(self.column)

    def reached(self, value: float) -> bool:
        """Whether a figure is good enough."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most

    def bound(self) -> str:
        """In mathematical form."""
        return f"≤ {self.at_most:g}" if self.at_least is None else f"≥ {self.at_least:g}"


_LOOP, _PHOTOS = "plain open_clip loop, 12-megapixel JPEGs", "zsclip, 12-megapixel JPEGs"
AIMS = (
    Aim(
        "CIFAR-100's head, times as fast as open_clip's builder",
        "heads", "open_clip's builder, 100 labels / zsclip, 100 labels", at_least=26,
    ),
    Aim(
        "the same, times what the machine's matrix speed allows",
        "heads", "zsclip, 100 labels / matrix speed, 100 labels", at_most=1.4,
    ),
    Aim(
        "cold, new labels, times as fast as transformers' pipeline",
        "cold", "transformers pipeline / classify, new labels", at_least=4.5,
    ),
    Aim(
        "cold, new labels, times as fast as an open_clip script",
        "cold", "open_clip script / classify, new labels", at_least=12,
    ),
    Aim(
        "cold, cached head, part of `import open_clip`",
        "cold", "classify, cached head / import open_clip", at_most=0.2,
    ),
    Aim("`zsclip --help`, times `import typer`", "cold", "zsclip --help / import typer", at_most=3),
    Aim(
        "12-megapixel photos, times as fast as a plain open_clip loop",
        "throughput", f"{_LOOP} / {_PHOTOS}", at_least=1.8,
    ),
    Aim(
        "the same with `--decode fast`",
        "throughput", f"{_LOOP} / {_PHOTOS}, fast", at_least=3,
    ),
    Aim(
        "small JPEGs, part of the engine's speed on ready pixels",
        "throughput", "zsclip, ready pixels / zsclip, small JPEGs", at_least=0.9,
    ),
    Aim("cold, cached head, peak MB", "cold", "classify, cached head", "peak MB", at_most=600),
)  # fmt: skip


def markdown(sections: Mapping[str, Mapping[str, Any]], aims: Sequence[Aim] = AIMS) -> str:
    """Aim, measured, reached: one row each."""
    lines = ["| aim | | measured | reached |", "|---|---|---|---|"]
    for aim in aims:
        value = aim.measured(sections)
        shown, verdict = "", "not measured"
        if value is not None:
            shown, verdict = number(value), "yes" if aim.reached(value) else "**no**"
        lines.append(f"| {aim.text} | {aim.bound()} | {shown} | {verdict} |")
    return "\n".join(lines)


def as_json(
    sections: Mapping[str, Mapping[str, Any]], aims: Sequence[Aim] = AIMS
) -> list[dict[str, Any]]:
    """The same for programs."""
    rows: list[dict[str, Any]] = []
    for aim in aims:
        value = aim.measured(sections)
        reached = None if value is None else aim.reached(value)
        rows.append({"aim": aim.text, "bound": aim.bound(), "measured": value, "reached": reached})
    return rows
