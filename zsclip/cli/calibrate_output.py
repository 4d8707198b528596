"""A calibrated head as JSON, and as tables for people."""

from __future__ import annotations

from pathlib import Path

from zsclip import console, tables
from zsclip.calibrate import Calibrated, LabelSets, Scores
from zsclip.cli.figures_output import bin_rows, interval_row, number, percent
from zsclip.intervals import Interval


def as_row(found: Calibrated, path: Path | None) -> dict[str, object]:
    """The published form of what was found (docs/calibration.md), ready for JSON."""
    fitting, middle, held_out = found.pictures
    return {
        "path": None if path is None else str(path),
        "head": found.head.digest[:12],
        "classes": len(found.head.class_names),
        "pictures": {"fitted": fitting, "thresholds": middle, "held_out": held_out},
        "temperature": number(found.temperature),
        "at_limit": found.at_limit,
        "accuracy": interval_row(found.accuracy),
        "before": _scores(found.before),
        "after": _scores(found.after),
        "change": {
            "nll": interval_row(found.nll_change),
            "brier": interval_row(found.brier_change),
        },
        "label_sets": [
            {
                "coverage": one.coverage,
                "threshold": one.threshold,
                "reached": interval_row(one.reached),
                "size": interval_row(one.size),
                "median_size": number(one.median_size),
                "one": number(one.one),
                "empty": number(one.empty),
            }
            for one in found.label_sets
        ],
        "notes": list(found.notes),
    }


def _scores(one: Scores) -> dict[str, object]:
    return {
        "confidence": interval_row(one.confidence),
        "nll": interval_row(one.nll),
        "brier": interval_row(one.brier),
        "error": number(one.calibration.error),
        "bins": bin_rows(one.calibration),
    }


def show(found: Calibrated, path: Path | None, *, title: str) -> None:
    """Tables on stdout: scores before and after, and label sets."""
    fitting, middle, held_out = found.pictures
    console.line(console.printable(title))
    console.line(
        f"{fitting:,} pictures to fit, {middle:,} for thresholds, {held_out:,} held out: "
        f"{percent(found.accuracy)} % of these are right"
    )
    console.line("")
    console.line(f"temperature {found.temperature:.3g}: softmax(logits / {found.temperature:.3g})")
    before, after = found.before, found.after
    errors = (f"{100 * one.calibration.error:.1f}" for one in (before, after))
    nll, brier = (_plain(one, sign="+") for one in (found.nll_change, found.brier_change))
    rows = [
        ("score, %", percent(before.confidence), percent(after.confidence), ""),
        ("error, %", *errors, ""),
        ("NLL", _plain(before.nll), _plain(after.nll), nll),
        ("Brier", _plain(before.brier), _plain(after.brier), brier),
    ]
    tables.plain_table(rows, header=("mean", "before", "after", "change"))
    console.line("")
    header = ("sets of", "score from", "hold the truth, %", "labels", "median", "one", "none")
    tables.plain_table([_set_cells(one) for one in found.label_sets], header=header)
    console.line("")
    console.line(
        "of the held-out pictures, with 95 % bootstrap intervals; error is calibration error"
    )
    for note in found.notes:
        console.line(console.printable(f"note: {note}"))
    if path is not None:
        console.line(console.printable(f"written: {path}"))


def _set_cells(one: LabelSets) -> tuple[str, ...]:
    return (
        f"{one.coverage:g}",
        f"{one.threshold:.2g}",
        percent(one.reached),
        _plain(one.size, decimals=1),
        f"{one.median_size:g}",
        f"{100 * one.one:.0f} %",
        f"{100 * one.empty:.0f} %",
    )


def _plain(value: Interval, *, sign: str = "", decimals: int = 3) -> str:
    """`0.612 [0.550, 0.674]`."""
    low, high = (f"{end:{sign}.{decimals}f}" for end in (value.low, value.high))
    return f"{value.value:{sign}.{decimals}f} [{low}, {high}]"
