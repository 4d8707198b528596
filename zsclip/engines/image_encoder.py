"""Image features of any number of pictures, in batches that fit into memory.

A batch that an engine has no memory for is halved and tried again, and the smaller size is kept.
A picture whose features are not finite is tried once more, alone and in fp32. What still fails
becomes the `Failure` of that picture; the others never notice. Knows engines by their protocol.
Shapes: B images, V views of one, S image size, D feature size.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from zsclip import scoring
from zsclip.engines.base import Engine, Floats
from zsclip.errors import ZsclipWarning
from zsclip.results import Failure

OUT_OF_MEMORY = Failure("out_of_memory", "not enough memory")
NOT_FINITE = Failure("non_finite", "the image features are not finite")


class ImageEncoder:
    """Encodes pictures with one engine, and remembers how many of them fit at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._most: int | None = None
        self._warned = False

    def encode(self, pixels: Floats) -> list[Floats | Failure]:
        """Unit-length features (D,), or why there are none, for each of pixels (B, 3, S, S)."""
        answers: list[Floats | Failure] = []
        while len(answers) < len(pixels):
            part = pixels[len(answers) :][: self._most]
            try:
                features = self._engine.encode_images(part)  # (B or fewer, D)
            except MemoryError:
                if len(part) == 1:
                    answers.append(OUT_OF_MEMORY)
                else:
                    self._most = len(part) // 2
                continue
            if self._most is not None:
                self._warn_once(len(pixels))
            answers += [
                row if np.isfinite(row).all() else self._encode_again(picture)
                for row, picture in zip(features, part, strict=True)
            ]
        return answers

    def encode_views(self, pictures: Sequence[Floats], *, most: int) -> list[Floats | Failure]:
        """Unit-length features (D,), or why there are none, for each picture's views (V, 3, S, S).

        Args:
            most: views that are encoded together.
        """
        views = [view for picture in pictures for view in picture]
        answers = self._encode_parts(views, most)
        return [average(picture, [next(answers) for _ in picture]) for picture in pictures]

    def _encode_parts(self, views: Sequence[Floats], most: int) -> Iterator[Floats | Failure]:
        for start in range(0, len(views), most):
            yield from self.encode(np.stack(views[start : start + most]))

    def _encode_again(self, picture: Floats) -> Floats | Failure:
        """One picture (3, S, S) alone, in fp32."""
        try:
            (row,) = self._engine.encode_images(picture[None], full_precision=True)
        except MemoryError:
            return OUT_OF_MEMORY
        return row if np.isfinite(row).all() else NOT_FINITE

    def _warn_once(self, asked: int) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"not enough memory for {asked} pictures at once: going on with {self._most}",
                ZsclipWarning,
                stacklevel=2,
            )


def average(views: Floats, answers: Sequence[Floats | Failure]) -> Floats | Failure:
    """The features (D,) of a picture from those of its views (V, 3, S, S), of unit length each.

    Weighed by the variance of the views' pixels: where there is nothing to see, as in the empty
    half of a wide picture, there is little to say.
    """
    features: list[Floats] = []
    for answer in answers:
        if isinstance(answer, Failure):
            return answer
        features.append(answer)
    if len(features) == 1:
        return features[0]
    weights = views.var(axis=(2, 3)).mean(axis=1)  # (V,)
    if not weights.any():
        weights = np.ones_like(weights)
    return scoring.normalize(weights / weights.sum() @ np.stack(features))
