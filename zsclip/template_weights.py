"""Templates weighed for pictures at hand, without labels: zero-shot prompt ensembling, ZPE.

Allingham and others, "A simple zero-shot prompt weighting technique to improve prompt ensembling in
text-image models", ICML 2023 (arXiv 2302.06235): a template counts for more the higher the best
logit of a picture under it is, once what is high for every picture is taken off. The authors also
take off the mean over pictures of the pre-training; zsclip has none, so this is their variant with
the pictures at hand alone. Knows nothing about files.

Shapes: T templates, N pictures, C classes, D feature size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from zsclip import scoring
from zsclip.encoders import Model
from zsclip.errors import UsageError
from zsclip.head_builder import build
from zsclip.heads import Head, Provenance
from zsclip.labels import ClassLabel
from zsclip.prompts import TemplateSet

Floats = npt.NDArray[np.float32]

FEWEST_PICTURES = 10
"""Of fewer the mean, which is taken off, says little."""
_ROUNDING = 1e-5
"""Of cosines in float32; a score that pictures make is hundreds of times larger."""


def weigh(image_features: Floats, class_features: Floats) -> Floats:
    """The weight of each template, (T,) float32, which sum to 1.

    A template's score is the mean over pictures of the largest over classes of (cosine - mean of
    that class's cosines over pictures): the function `get_weights` of the authors' notebook with
    `debias_mode="test"`. No score is negative, since the mean of a maximum is not below the maximum
    of means.

    Args:
        image_features: (N, D), unit length.
        class_features: (T, C, D), unit length.
    """
    scores = np.zeros(len(class_features))
    for number, weight in enumerate(class_features):
        similarity = scoring.cosines(image_features, weight)  # (N, C)
        scores[number] = (similarity - similarity.mean(axis=0)).max(axis=1).mean()
    if scores.max() < _ROUNDING:  # the pictures are all the same
        scores = np.ones(len(scores))
    shares: Floats = (scores / scores.sum()).astype(np.float32)
    return shares


def build_weighed(
    class_names: Sequence[Sequence[str] | ClassLabel],
    image_features: Floats,
    *,
    model: Model,
    templates: TemplateSet,
    truncate: bool = False,
    places: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Head, Floats]:
    """A head whose templates are weighed for these pictures, and their weights (T,).

    Each template's class embeddings go into the text cache by themselves, beside the averages.

    Args:
        image_features: (N, D), unit length.
        on_progress: called with (templates done, templates).

    Raises:
        LabelError: as for `build`.
        UsageError: too few pictures.
    """
    if len(image_features) < FEWEST_PICTURES:
        raise UsageError(
            f"{len(image_features)} pictures are too few to weigh templates for",
            tip=f"name at least {FEWEST_PICTURES}, of the kind that is to be classified",
        )
    plain = build(
        class_names, model=model, templates=templates, truncate=truncate, places=places
    ).head
    alone = []
    for number, text in enumerate(templates.templates, 1):
        with warnings.catch_warnings():  # all has been said of the templates together
            warnings.simplefilter("ignore")
            one = TemplateSet(text, (text,))
            alone.append(build(class_names, model=model, templates=one, truncate=truncate).head)
        if on_progress is not None:
            on_progress(number, len(templates.templates))
    class_features = np.stack([head.weight for head in alone])  # (T, C, D)
    weights = weigh(image_features, class_features)
    weight = scoring.normalize(np.einsum("t,tcd->cd", weights, class_features))
    name = f"{templates.name}, weighed for {len(image_features):,} pictures"
    provenance = Provenance.of(model, templates_name=name, templates=templates.templates)
    return replace(plain, weight=weight, provenance=provenance), weights
