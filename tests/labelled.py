"""Labelled pictures of one colour, and a head that knows three colours by the fake engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from zsclip.classifier import Classifier
from zsclip.encoders import Model
from zsclip.head_builder import build_head
from zsclip.heads import Head
from zsclip.readers.base import LabelledPictures, Sample

COLOURS = ("red", "lime", "blue")


def labelled(
    paths: Mapping[str, Sequence[Path]], *, classes: Sequence[str] = COLOURS, **about: object
) -> LabelledPictures:
    """Pictures with the class that each is filed under."""
    samples = [
        Sample(str(path), str(path), (classes.index(label),))
        for label, files in paths.items()
        for path in files
    ]
    return of_samples(samples, classes=classes, **about)


def of_samples(
    samples: Sequence[Sample], *, classes: Sequence[str] = COLOURS, **about: object
) -> LabelledPictures:
    """The same of samples."""

    def read() -> Iterator[Sample]:
        return iter(samples)

    names = tuple((name,) for name in classes)
    return LabelledPictures("pictures", names, read, len(samples), **about)  # type: ignore[arg-type]


def colour_head(model: Model, *, flipped: bool = False) -> Head:
    """A head whose classes look exactly like pictures of these colours (or of others' colours)."""
    made = build_head(list(COLOURS), model=model, templates=["{}"])
    features = model.encode_image([Image.new("RGB", (8, 8), colour) for colour in COLOURS])
    if flipped:
        features = features[::-1] - np.float32(0.1) * features
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    return Head(
        weight=np.ascontiguousarray(features, dtype=np.float32),
        bias=made.bias,
        class_names=COLOURS,
        scale=made.scale,
        score_kind=made.score_kind,
        provenance=made.provenance,
    )


def classifier_of(model: Model, *, flipped: bool = False) -> Classifier:
    """A classifier by such a head."""
    return Classifier(colour_head(model, flipped=flipped), model=model)
