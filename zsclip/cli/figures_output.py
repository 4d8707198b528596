"""An evaluation as JSON, and as tables for people."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from zsclip import console, tables
from zsclip.calibration import Calibration
from zsclip.figures import Evaluation, TemplateFigures
from zsclip.intervals import Interval
from zsclip.reports import charts

TITLES = {
    "acc1": "acc1",
    "acc5": "acc5",
    "mean_per_class": "mean per class",
    "map11": "11-point mAP",
    "roc_auc": "ROC AUC",
    "top1_top5_mean": "mean of acc1, acc5",
}
_DECIMALS = 6
_CONFUSIONS = 5
_HARDEST = 5


def as_row(found: Evaluation) -> dict[str, object]:
    """The published form of an evaluation (docs/evaluate.md), ready for JSON."""
    return {
        "name": found.name,
        "model": found.model,
        "metric": found.metric,
        "score_kind": found.score_kind,
        "pictures": found.count,
        "failed": dict(found.failed),
        "on_error": found.on_error,
        "classes": len(found.class_names),
        "figures": [_figures_row(one) for one in found.figures],
        "per_class": [
            {"label": one.name, "pictures": one.count, "value": number(one.value)}
            for one in found.per_class
        ],
        "confused": [
            {"truth": truth, "label": label, "pictures": count}
            for truth, label, count in confusions(found)
        ],
        "published": [
            {
                "source": one.source,
                "templates": one.templates,
                "value": number(one.value),
                "measured": number(one.measured),
                "tolerance": number(one.tolerance),
                "verdict": one.verdict,
            }
            for one in found.published
        ],
        "notes": list(found.notes),
    }


def _figures_row(one: TemplateFigures) -> dict[str, object]:
    row: dict[str, object] = {
        "templates": one.templates,
        "n_templates": one.count_templates,
        "head": one.head,
        "values": {key: interval_row(value) for key, value in one.values.items()},
    }
    if one.gain is not None:
        row["gain"] = interval_row(one.gain)
    if one.calibration is not None:
        row["calibration"] = {
            "nll": number(one.calibration.nll),
            "brier": number(one.calibration.brier),
            "error": number(one.calibration.error),
            "bins": bin_rows(one.calibration),
        }
    return row


def bin_rows(one: Calibration) -> list[dict[str, object]]:
    """The bins behind a calibration error."""
    return [
        {
            "pictures": part.count,
            "confidence": number(part.confidence),
            "accuracy": number(part.accuracy),
        }
        for part in one.bins
    ]


def interval_row(one: Interval) -> dict[str, float | None]:
    """A figure and its interval."""
    return {"value": number(one.value), "low": number(one.low), "high": number(one.high)}


def number(value: float | None) -> float | None:
    """Six decimals; None for what is not defined."""
    return None if value is None or not math.isfinite(value) else round(value, _DECIMALS)


def confusions(found: Evaluation) -> Iterator[tuple[str, str, int]]:
    """(truth, answer, pictures) of wrong answers, the most frequent first."""
    if found.confusion is not None:
        for truth, answer, count in charts.confusions(found.confusion):
            yield found.class_names[truth], found.class_names[answer], count


def show(found: Evaluation) -> None:
    """Tables on stdout: figures with intervals, what is published, and what goes wrong."""
    console.line(console.printable(f"{found.name}: {found.count:,} pictures, {found.model}"))
    console.line("")
    keys = list(found.figures[0].values)
    header = ["templates", *(TITLES[key] for key in keys)]
    header += ["gain"] if len(found.figures) > 1 else []
    rows = [
        (
            f"{one.templates} ({one.count_templates})",
            *(percent(one.values[key]) for key in keys),
            *([] if len(found.figures) == 1 else [_gain(one)]),
        )
        for one in found.figures
    ]
    tables.plain_table(rows, header=tuple(header))
    for line in _remarks(found):
        console.line(console.printable(line))


def _gain(one: TemplateFigures) -> str:
    return "" if one.gain is None else percent(one.gain, sign="+")


def percent(value: Interval, *, sign: str = "") -> str:
    """`89.8 [89.2, 90.4]`, in per cent."""
    if math.isnan(value.value):
        return "not defined"
    low, high = (f"{100 * end:{sign}.1f}" for end in (value.low, value.high))
    return f"{100 * value.value:{sign}.1f} [{low}, {high}]"


def _remarks(found: Evaluation) -> Iterator[str]:
    yield ""
    yield "per cent, with 95 % bootstrap intervals over pictures"
    for one in found.published:
        yield (
            f"published: {100 * one.value:.2f} with templates {one.templates}, {one.source}; "
            f"measured {100 * one.measured:.2f}: {one.verdict}"
        )
    calibration = found.figures[0].calibration
    if calibration is not None:
        yield (
            f"calibration error {100 * calibration.error:.1f}, NLL {calibration.nll:.3f}, "
            f"Brier {calibration.brier:.3f}"
        )
    confused = [f"{t} as {p} ({n:,})" for t, p, n in islice(confusions(found), _CONFUSIONS)]
    if confused:
        yield f"most often confused: {', '.join(confused)}"
    known = [one for one in found.per_class if one.count]
    hardest = [one for one in sorted(known, key=lambda one: one.value) if one.value < 1][:_HARDEST]
    if hardest and len(known) > _HARDEST:
        shown = ", ".join(f"{one.name} {100 * one.value:.1f}" for one in hardest)
        yield f"hardest classes: {shown}"
    empty = len(found.per_class) - len(known)
    if empty:
        yield f"{empty:,} of {len(found.per_class):,} classes have no picture"
    yield from (f"note: {note}" for note in found.notes)
