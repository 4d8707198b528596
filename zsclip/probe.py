"""Labelled features -> a head: a linear probe, or a few-shot head.

A linear probe takes nothing but pictures; a few-shot head begins at the zero-shot head. Both end
as weights and a bias, which every engine runs. Knows nothing about terminals or command lines.

Shapes: N pictures, C classes, D feature size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from zsclip import few_shot, linear_probe
from zsclip.draws import draw, split_off
from zsclip.encoders import Model
from zsclip.errors import UsageError
from zsclip.heads import Fitting, Head, Provenance
from zsclip.labelled_features import LabelledFeatures
from zsclip.linear_probe import Trial

Method = Literal["few-shot", "linear"]

FEATURES = "projected, of unit length"
"""The paper's probes of its ViT models take those before the projection, of any length."""
VALIDATION_SHARE = 0.2
_UNCHOSEN_STRENGTH = 1.0
_NO_TEMPLATES = "labelled pictures"


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted head.

    Attributes:
        validation: the trial of the strength that was chosen; None if none was.
        trials: all that were tried, by strength.
        validation_pictures: which the trials were measured on; they are fitted to afterwards.
        converged: whether fitting came to an end by itself.
        gain: of a few-shot head, what its correction is multiplied by, on average.
        prior_scale: of a few-shot head, what zero-shot cosines are multiplied by.
    """

    head: Head
    validation: Trial | None = None
    trials: tuple[Trial, ...] = ()
    validation_pictures: int = 0
    converged: bool = True
    gain: float | None = None
    prior_scale: float | None = None

    @property
    def fitted(self) -> Fitting:
        """How the head was fitted."""
        assert self.head.fitted is not None
        return self.head.fitted


def check_classes(pictures: LabelledFeatures) -> None:
    """Refuse what no head can be fitted to.

    Raises:
        UsageError: fewer than two classes, or one without pictures.
    """
    if len(pictures.class_names) < 2:
        raise UsageError(f"{pictures.name}: a probe needs two classes, and there is one")
    counts = np.bincount(pictures.labels, minlength=len(pictures.class_names))
    if not counts.all():
        empty = pictures.shown_names[int(np.argmin(counts))]
        raise UsageError(
            f"{pictures.name}: no training pictures of class {empty!r}",
            tip="add some, or leave the class out",
        )


def fit_linear(
    train: LabelledFeatures,
    *,
    model: Model,
    validation: LabelledFeatures | None = None,
    shots: int | None = None,
    seed: int = 0,
) -> Probe:
    """Fit logistic regression to labelled pictures, its strength chosen by validation pictures.

    Args:
        train: pictures of two classes or more, at least one of each.
        model: which the features are of.
        validation: pictures that the strength is chosen by; unless given, a fifth of each class of
            `train` is set aside. All are fitted to in the end.
        shots: fit to so many pictures of each class; to all unless given.
        seed: of what is drawn and set aside.

    Raises:
        UsageError: scikit-learn is not installed, or a class has no pictures.
    """
    linear_probe.require()
    check_classes(train)
    part = train if shots is None else train.take(draw(train.labels, shots, seed=seed))
    rest, whole = part, part
    if validation is None:
        kept, held = split_off(part.labels, VALIDATION_SHARE, seed=seed)
        rest, validation = part.take(kept), part.take(held)
    else:
        whole = _together(part, validation)
    trials = _sweep(rest, validation) if len(validation.labels) else []
    best = max(trials, key=lambda trial: (trial.rank, trial.strength), default=None)
    strength = _UNCHOSEN_STRENGTH if best is None else best.strength
    found = linear_probe.fit(
        whole.features, whole.labels, classes=len(train.class_names), strength=strength
    )
    head = Head(
        weight=found.weight,
        bias=found.bias,
        class_names=train.shown_names,
        scale=1.0,
        score_kind="softmax",
        provenance=Provenance.of(model, templates_name=_NO_TEMPLATES, templates=()),
        kind="pictures",
        fitted=_fitting("linear", whole, shots, seed, strength),
        fit=whole.fit,
    )
    return Probe(head, best, tuple(trials), len(validation.labels), found.converged)


def _sweep(rest: LabelledFeatures, validation: LabelledFeatures) -> list[Trial]:
    return linear_probe.sweep(
        rest.features,
        rest.labels,
        validation_features=validation.features,
        validation_labels=validation.labels,
        classes=len(rest.class_names),
    )


def fit_few_shot(
    train: LabelledFeatures, *, prior: Head, shots: int | None = None, seed: int = 0
) -> Probe:
    """Correct a zero-shot head by a few labelled pictures of each class.

    Args:
        train: pictures of the classes of `prior`, in that order, at least one of each.
        prior: a head from class names.
        shots: fit to so many pictures of each class; to all unless given. 0 gives `prior` back.
        seed: of what is drawn.

    Raises:
        UsageError: a class has no pictures, or `prior` is of other classes.
    """
    if prior.class_names != train.shown_names:
        raise UsageError(f"the zero-shot head has other classes than {train.name}")
    if shots == 0:
        return Probe(prior)
    check_classes(train)
    part = train if shots is None else train.take(draw(train.labels, shots, seed=seed))
    found = few_shot.fit(part.features, part.labels, prior=prior.weight, scale=prior.scale)
    head = replace(
        prior,
        weight=found.weight,
        bias=found.bias,
        scale=1.0,
        score_kind="softmax",
        kind="pictures",
        temperature=None,  # those of the zero-shot scores
        coverage=(),
        fitted=_fitting("few-shot", part, shots, seed, found.strength),
        fit=part.fit,
    )
    return Probe(head, gain=found.gain, prior_scale=found.scale)


def _together(first: LabelledFeatures, second: LabelledFeatures) -> LabelledFeatures:
    return replace(
        first,
        features=np.concatenate([first.features, second.features]),
        labels=np.concatenate([first.labels, second.labels]),
        contents=first.contents + second.contents,
    )


def _fitting(
    method: Method, part: LabelledFeatures, shots: int | None, seed: int, strength: float | None
) -> Fitting:
    name = Path(part.name).name or part.name  # a head may be shared: no one's folders in it
    source = name.encode("utf-8", "backslashreplace").decode()
    return Fitting(method, FEATURES, source, len(part.labels), shots, seed, strength)
