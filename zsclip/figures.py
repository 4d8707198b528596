"""What comes out of an evaluation: frozen dataclasses with plain fields.

Knows nothing about how figures are made or shown.

Shapes: C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from zsclip.calibration import Calibration
from zsclip.intervals import Interval
from zsclip.results import ScoreKind

Verdict = Literal["agrees", "differs", "not comparable"]
OnError = Literal["fail", "skip", "wrong"]
ON_ERROR: tuple[str, ...] = get_args(OnError)


@dataclass(frozen=True, slots=True)
class TemplateFigures:
    """How one head did.

    Attributes:
        templates: name of its template set.
        count_templates: how many there are in it.
        head: first twelve hex digits of its digest.
        values: figures in [0, 1] by their key, the data set's metric first.
        calibration: of softmax scores of pictures with one label; None for others.
        gain: of the data set's metric over the first head, from the same draws of pictures.
    """

    templates: str
    count_templates: int
    head: str
    values: Mapping[str, Interval]
    calibration: Calibration | None
    gain: Interval | None


@dataclass(frozen=True, slots=True)
class ClassFigure:
    """One class: how many pictures show it, and the share of them that is answered right.

    For pictures with several labels `value` is the average precision.
    """

    name: str
    count: int
    value: float


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture whose best class is not among the true ones."""

    path: str | None
    truth: tuple[str, ...]
    predicted: str
    score: float
    truth_score: float


@dataclass(frozen=True, slots=True)
class Published:
    """A figure from elsewhere beside the measured one, both in [0, 1].

    Attributes:
        verdict: `agrees` or `differs`, by the tolerance alone; `not comparable` where the source
            measured something else.
    """

    source: str
    templates: str
    value: float
    measured: float
    tolerance: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model and one or more heads did on labelled pictures.

    Attributes:
        metric: the key of the data set's own metric, as in `TemplateFigures.values`.
        count: pictures that count.
        failed: pictures that could not be read, by error code.
        figures: one for each head; the first is the one that all that follows is about.
        confusion: (C, C), rows are the truth; None where pictures have several labels.
        per_class: in the order of the classes.
        mistakes: the most confident ones, at most MISTAKES.
    """

    name: str
    model: str
    metric: str
    score_kind: ScoreKind
    count: int
    failed: Mapping[str, int]
    on_error: OnError
    class_names: tuple[str, ...]
    figures: tuple[TemplateFigures, ...]
    confusion: npt.NDArray[np.int64] | None
    per_class: tuple[ClassFigure, ...]
    mistakes: tuple[Mistake, ...]
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
