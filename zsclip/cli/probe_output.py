"""A probe and a curve as JSON, as sentences, and as a table for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zsclip import console, tables
from zsclip.cli.figures_output import number
from zsclip.encoders import Model
from zsclip.evaluate import KEYS
from zsclip.heads import Head
from zsclip.probe import FEATURES, Probe
from zsclip.shot_curve import Curve

_DIGITS = 6
_TITLES = {"acc1": "accuracy", "mean_per_class": "mean per class"}


@dataclass(frozen=True, slots=True)
class Tested:
    """How good a head is on test pictures, beside zero-shot."""

    metric: str
    pictures: int
    zero_shot: float
    value: float


def sentences(probe: Probe, prior: Head | None, tested: Tested | None) -> Iterator[str]:
    """What was fitted, to what, and how good it is."""
    made = probe.fitted
    classes = len(probe.head.class_names)
    each = "" if made.shots is None else f", {made.shots} each at most, seed {made.seed}"
    yield f"{made.method}: {made.pictures:,} pictures of {classes:,} classes{each}"
    yield f"features: {made.features}"
    if probe.validation is not None:
        yield (
            f"L2 strength {made.strength:.4g}, the best of {len(probe.trials)} on "
            f"{probe.validation_pictures:,} validation pictures "
            f"({100 * probe.validation.accuracy:.1f} % right); fitted to all"
        )
    elif made.method == "linear":
        yield f"L2 strength {made.strength:g}, not chosen: no class has a picture to spare"
    elif prior is not None and probe.prior_scale is not None and probe.gain is not None:
        yield (
            f"zero-shot scale {probe.prior_scale:.1f} (the model's is {prior.scale:.1f}), "
            f"ridge strength {made.strength:.2g}, gain {probe.gain:.2g}"
        )
    if not probe.converged:
        yield "the fit stopped at its 1,000th step"
    if tested is not None:
        yield (
            f"{_TITLES[KEYS[tested.metric]]} on {tested.pictures:,} test pictures: "
            f"{100 * tested.value:.1f} %, zero-shot {100 * tested.zero_shot:.1f} %"
        )


def head_row(probe: Probe, path: Path, model: Model, tested: Tested | None) -> dict[str, object]:
    """The published form of a fitted head (docs/probe.md), ready for JSON."""
    made = probe.fitted
    return {
        "path": str(path),
        "head": probe.head.digest[:12],
        "model": model.id,
        "method": made.method,
        "features": made.features,
        "classes": len(probe.head.class_names),
        "pictures": made.pictures,
        "shots": made.shots,
        "seed": made.seed,
        "strength": _digits(made.strength),
        "validation": None
        if probe.validation is None
        else {
            "pictures": probe.validation_pictures,
            "acc1": number(probe.validation.accuracy),
            "trials": [
                {"strength": _digits(one.strength), "acc1": number(one.accuracy)}
                for one in probe.trials
            ],
        },
        "test": None
        if tested is None
        else {
            "pictures": tested.pictures,
            "metric": KEYS[tested.metric],
            "zero_shot": number(tested.zero_shot),
            "value": number(tested.value),
        },
    }


def curve_row(found: Curve, prior: Head) -> dict[str, object]:
    """The published form of a curve (docs/probe.md), ready for JSON."""
    return {
        "method": found.method,
        "features": FEATURES,
        "metric": found.metric,
        "classes": len(prior.class_names),
        "train_pictures": found.train_pictures,
        "test_pictures": found.test_pictures,
        "templates": prior.provenance.templates_name,
        "zero_shot": number(found.zero_shot),
        "shots": [
            {
                "shots": one.shots,
                "pictures": one.pictures,
                "mean": number(one.mean),
                "deviation": number(one.deviation),
                "low": number(min(one.values)),
                "high": number(max(one.values)),
                "values": [number(value) for value in one.values],
            }
            for one in found.points
        ],
        "full": [
            {
                "method": one.method,
                "pictures": one.pictures,
                "value": number(one.value),
                "strength": _digits(one.strength),
            }
            for one in found.full
        ],
    }


def _digits(value: float | None) -> float | None:
    """Six digits: strengths span twelve decades."""
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def show(found: Curve, prior: Head, *, title: str) -> None:
    """A table on stdout: a row for each number of pictures of a class."""
    console.line(console.printable(title))
    console.line("")
    header = ("per class", "pictures", _TITLES[found.metric], "sd", "lowest, highest", "head")
    templates = prior.provenance.templates_name
    zero = ("0", "0", f"{100 * found.zero_shot:.1f}", "", "", f"zero-shot, {templates}")
    points = [
        (
            str(one.shots),
            f"{one.pictures:,}",
            f"{100 * one.mean:.1f}",
            f"{100 * one.deviation:.1f}",
            f"{100 * min(one.values):.1f}, {100 * max(one.values):.1f}",
            found.method,
        )
        for one in found.points
    ]
    full = [
        ("all", f"{one.pictures:,}", f"{100 * one.value:.1f}", "", "", one.method)
        for one in found.full
    ]
    tables.plain_table([zero, *points, *full], header=header)
    console.line("")
    seeds = len(found.points[0].values)
    console.line(
        f"per cent of {found.test_pictures:,} test pictures; mean, standard deviation and range "
        f"over {seeds} draw{'s' if seeds > 1 else ''}"
    )
    console.line(f"features: {FEATURES}")
