"""Published figures of a data set beside a measured one.

What is comparable is said by the data set's file (prompts/README.md). Knows nothing about pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from zsclip.datasets import DataSet
from zsclip.figures import Published, Verdict
from zsclip.prompts import load_templates, template_names

OWN_TEMPLATES = "dataset"
"""What a data set's own templates are called, in its file and on the command line."""
_ROUNDING = 5e-5
"""Figures are published with two decimals of a per cent at most."""


def beside(
    known: DataSet,
    *,
    model: str,
    measured: Mapping[tuple[str, ...], float],
    split: str | None,
) -> Iterator[Published]:
    """Each published figure of this model, beside the one measured with the same templates.

    Args:
        model: as `--model` takes it, `ViT-B/32`.
        measured: templates -> figure of the data set's metric in [0, 1].
        split: the part of the data set that was measured; None where it was not all of it.
    """
    for table in known.facts.get("published", ()):
        value = table["values"].get(model)
        if value is None:
            continue
        same = measured.get(_templates_of(table, known))
        is_like = same is not None and split == table["split"]
        tolerance = _tolerance(table)
        yield Published(
            source=str(table["source"]),
            templates=str(table["templates"]),
            value=float(value) / 100,
            measured=next(iter(measured.values())) if same is None else same,
            tolerance=tolerance,
            verdict=_verdict(float(value) / 100, same if is_like else None, tolerance),
        )


def _templates_of(table: Mapping[str, Any], known: DataSet) -> tuple[str, ...]:
    """The templates that a table is for; none where its source does not say."""
    name = str(table["templates"])
    if name == OWN_TEMPLATES:
        return known.templates.templates
    return load_templates(name).templates if name in template_names() else ()


def _tolerance(table: Mapping[str, Any]) -> float | None:
    """In [0, 1]; None where the source's figures are for orientation only."""
    if table["comparable"] == "no":
        return None
    return float(table.get("tolerance", 0)) / 100


def _verdict(value: float, measured: float | None, tolerance: float | None) -> Verdict:
    if measured is None or tolerance is None:
        return "not comparable"
    return "agrees" if abs(measured - value) <= tolerance + _ROUNDING else "differs"
