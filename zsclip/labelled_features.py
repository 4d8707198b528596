"""Labelled pictures -> features and labels as arrays, all in memory.

Knows nothing about heads.

Shapes: N pictures, D feature size.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from zsclip import images
from zsclip.decoding import DEFAULT
from zsclip.embedding import Embedded, embed_batches
from zsclip.encoders import Model
from zsclip.errors import InputError, PictureError, UsageError
from zsclip.image_cache import ImageCache
from zsclip.read_ahead import TIMEOUT_S
from zsclip.readers.base import LabelledPictures, Sample
from zsclip.results import Failure

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.integer[Any]]
OnError = Literal["fail", "skip"]


@dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """Labelled pictures after encoding.

    Attributes:
        name: of the data set, folder or file.
        class_names: per class its names.
        metric: `accuracy` or `mean_per_class`.
        features: (N, D) image_features of unit length.
        labels: (N,) class of each.
        contents: per picture a digest of its file or pixels; empty where none was asked for.
        failed: how many could not be read, by error code.
        fit: how they were loaded; see `zsclip.decoding`.
    """

    name: str
    class_names: tuple[tuple[str, ...], ...]
    features: Floats
    labels: Ints
    contents: tuple[bytes, ...] = ()
    metric: str = "accuracy"
    failed: Counter[str] = field(default_factory=Counter)
    fit: str = DEFAULT.fit

    def take(self, rows: Ints) -> LabelledFeatures:
        """Some of the pictures."""
        contents = tuple(self.contents[row] for row in rows) if self.contents else ()
        return replace(
            self, features=self.features[rows], labels=self.labels[rows], contents=contents
        )

    @property
    def shown_names(self) -> tuple[str, ...]:
        """The first name of each class."""
        return tuple(names[0] for names in self.class_names)


def embed(
    pictures: LabelledPictures,
    *,
    model: Model,
    on_error: OnError = "fail",
    batch_size: int | None = None,
    timeout_s: float = TIMEOUT_S,
    image_cache: ImageCache | None = None,
    with_contents: bool = False,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> LabelledFeatures:
    """Encode labelled pictures.

    Args:
        on_error: `fail` refuses pictures of which some cannot be read, `skip` leaves those out.
        with_contents: note which pictures are equal, byte by byte.
        on_progress: called with (pictures done, pictures or None).

    Raises:
        PictureError: a picture cannot be read, and `on_error` is `fail`.
        InputError: no picture can be read.
        UsageError: pictures that show several classes.
    """
    if pictures.multi_label:
        raise UsageError(
            f"{pictures.name}: pictures show several classes at once",
            tip="a probe needs pictures with one class each",
        )
    contents: list[bytes] = []
    samples = _noting(pictures.read(), contents, model) if with_contents else pictures.read()
    found: list[Embedded] = []
    for batch in embed_batches(
        samples,
        model=model,
        batch_size=batch_size,
        timeout_s=timeout_s,
        image_cache=image_cache,
    ):
        found += batch
        if on_progress is not None:
            on_progress(len(found), pictures.size)
    failed = [item for item in found if item.error is not None]
    if failed and on_error == "fail":
        raise _of_first(failed, len(found))
    rows = [row for row, item in enumerate(found) if item.error is None]
    if not rows:
        raise InputError(f"{pictures.name}: no picture could be read")
    return LabelledFeatures(
        pictures.name,
        pictures.class_names,
        np.stack([item.features for item in found if item.features is not None]),
        np.array([_label(found[row]) for row in rows]),
        tuple(contents[row] for row in rows) if with_contents else (),
        "mean_per_class" if pictures.metric == "mean_per_class" else "accuracy",
        Counter(item.error.code for item in failed if item.error is not None),
        model.decoding.fit,
    )


def _label(item: Embedded) -> int:
    assert isinstance(item.input, Sample)
    return item.input.labels[0]


def _noting(samples: Iterator[Sample], contents: list[bytes], model: Model) -> Iterator[Sample]:
    """The same samples; a digest of each goes to `contents` when it is read."""
    for sample in samples:
        contents.append(_digest(sample, model))
        yield sample


def _digest(sample: Sample, model: Model) -> bytes:
    """Of what is decoded; of what cannot be read, something that equals no other."""
    if isinstance(sample.source, Failure):
        return b""
    try:
        content = images.read(sample.source, model.decoding)
    except PictureError:
        return b""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    pixels = np.asarray(content)
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()


def _of_first(failed: Sequence[Embedded], count: int) -> PictureError:
    first = failed[0]
    assert first.error is not None
    return PictureError(
        first.error.code,
        f"{len(failed):,} of {count:,} pictures cannot be read, the first is {first.path}: "
        f"{first.error.message} [{first.error.code}]",
        tip="--on-error skip leaves such pictures out",
    )


def with_classes_of(pictures: LabelledFeatures, others: LabelledFeatures) -> LabelledFeatures:
    """The same pictures, their labels as indices of the others' classes, matched by name.

    Raises:
        UsageError: a class that the others do not have.
    """
    places = {name: i for i, name in reversed(list(enumerate(others.shown_names)))}
    missing = next((name for name in pictures.shown_names if name not in places), None)
    if missing is not None:
        raise UsageError(
            f"{pictures.name} has a class {missing!r}, which {others.name} has not",
            tip="both need the same class names",
        )
    place = np.array([places[name] for name in pictures.shown_names])
    return replace(pictures, class_names=others.class_names, labels=place[pictures.labels])


def without_pictures_of(
    pictures: LabelledFeatures, others: LabelledFeatures
) -> tuple[LabelledFeatures, int]:
    """Leave out pictures that are among the others byte by byte, and say how many those are."""
    known = set(others.contents)
    rows = np.array([i for i, content in enumerate(pictures.contents) if content not in known], int)
    return pictures.take(rows), len(pictures.labels) - len(rows)
