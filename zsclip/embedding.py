"""Pictures -> image_features, streaming, in input order.

Pictures are decoded ahead of the encoder, never more than a bounded number of them, so memory does
not grow with the number of inputs. Batches grow 1, 2, 4, ... so that the first row is out early; a
batch also goes when the next picture is long in coming (a slow pipe, a slow decoder). Apart from
such pauses batches depend on the inputs (and on what an image cache has of them) alone, so that
equal commands give equal bytes. Knows nothing about classes.

Shapes: B images, V views of one, S image size, D feature size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsclip.decoding import Decoding
from zsclip.encoders import BATCH_SIZE, Model
from zsclip.image_cache import ImageCache, ImageRow, KnownPictures
from zsclip.inputs import Input
from zsclip.read_ahead import TIMEOUT_S, Decoded, decode_ahead
from zsclip.results import Failure

Floats = npt.NDArray[np.float32]

_MOST_FAILURES_HELD = 256
_MOST_KNOWN_HELD = 1024
_PATIENCE = 1 / 8
"""Of a picture's time limit, how much may pass in waiting for the cache's lock."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """One input after encoding: its image_features (D,) of unit length, or a failure.

    Attributes:
        input: the input itself, with its labels where it came from a reader.
    """

    input: Input
    features: Floats | None = None
    frames: int | None = None
    truncated: bool = False
    error: Failure | None = None

    @property
    def path(self) -> str | None:
        """As given; None for pictures from memory."""
        return self.input.path


def open_image_cache(model: Model, *, timeout_s: float = TIMEOUT_S) -> ImageCache | None:
    """The image cache beside the model's text cache; None where that is in memory only.

    Args:
        timeout_s: as for `embed_batches`: waiting for the cache fails no picture.
    """
    if model.cache.path is None:
        return None
    patience_s = timeout_s * _PATIENCE if timeout_s else float("inf")
    return ImageCache(model.cache.path.parent, patience_s=patience_s)


def embed_batches(
    inputs: Iterable[Input],
    *,
    model: Model,
    decoding: Decoding | None = None,
    batch_size: int | None = None,
    timeout_s: float = TIMEOUT_S,
    image_cache: ImageCache | None = None,
) -> Iterator[list[Embedded]]:
    """Yield every input with its features, in order, batch by batch.

    With an image cache they come one by one: what is scored together would else depend on what is
    known, and the last digits of scores depend on what is scored together.

    Args:
        decoding: how files become pictures; the model's own unless given.
        batch_size: pictures encoded together; unless given, batches grow to BATCH_SIZE.
        timeout_s: a picture that takes longer to decode fails; 0 is never.
        image_cache: has features of pictures that were encoded before, and gets those of others.
    """
    known = None
    decoding = decoding or model.decoding
    if image_cache is not None:
        known = KnownPictures(
            image_cache, model.local, decoding=decoding, precision=model.choice.precision
        )
    ahead = decode_ahead(
        inputs,
        _ahead(batch_size, decoding),
        preprocess=model.local.config.preprocess,
        decoding=decoding,
        timeout_s=timeout_s,
        known=known,
    )
    with contextlib.ExitStack() as at_the_end:
        if image_cache is not None:
            at_the_end.callback(image_cache.close)
        at_the_end.callback(ahead.close)
        for batch in _batches(ahead, batch_size):
            embedded = _encode(batch, model, known, most=batch_size or BATCH_SIZE)
            yield from [embedded] if known is None else ([item] for item in embedded)


def _ahead(batch_size: int | None, decoding: Decoding) -> int:
    """How many pictures are decoded early: two batches, counted by views."""
    return max(2, 2 * (batch_size or BATCH_SIZE) // decoding.most_views)


def _batches(decoded: Iterable[Decoded | None], batch_size: int | None) -> Iterator[list[Decoded]]:
    batches = Batches(batch_size)
    batch: list[Decoded] = []
    for item in decoded:
        if item is None:  # the next is long in coming
            batches.cut()
        else:
            batch.append(item)
            is_known = item.features is not None
            if not batches.add(ready=item.pixels is not None, known=is_known):
                continue
        if batch:
            yield batch
        batch = []
    if batch:
        yield batch


def _encode(
    batch: Sequence[Decoded], model: Model, known: KnownPictures | None, *, most: int
) -> list[Embedded]:
    """Encode what is not known by now, each picture once, and have it known from now on.

    Args:
        most: views that are encoded together.
    """
    found: dict[bytes | int, Floats | Failure] = {}
    if known is not None:
        keys = [item.key for item in batch if item.key is not None]
        found.update((key, row.features) for key, row in known.load(keys).items())
    waiting: dict[bytes | int, Decoded] = {}
    for number, item in enumerate(batch):
        if item.pixels is not None and (item.key or number) not in found:
            waiting.setdefault(item.key or number, item)
    views = [item.pixels for item in waiting.values() if item.pixels is not None]
    encoded = model.image_encoder.encode_views(views, most=most) if views else []
    found.update(zip(waiting, encoded, strict=True))
    if known is not None:
        known.save(_rows(waiting, found))
    return [_embedded(item, found.get(item.key or n)) for n, item in enumerate(batch)]


def _rows(
    waiting: Mapping[bytes | int, Decoded], found: Mapping[bytes | int, Floats | Failure]
) -> list[ImageRow]:
    """Of the pictures that can be cached and were encoded."""
    return [
        ImageRow(key, features, item.frames, item.truncated)
        for key, item in waiting.items()
        if isinstance(key, bytes) and not isinstance(features := found[key], Failure)
    ]


def _embedded(item: Decoded, found: Floats | Failure | None) -> Embedded:
    found = item.error or found
    if isinstance(found, Failure):
        return Embedded(item.input, error=found)
    features = found if item.features is None else item.features
    return Embedded(item.input, features, item.frames, item.truncated)


class Batches:
    """Where batches end: when they are full, or too much waits in them for its rows.

    A picture whose features are known takes a place as long as batches grow, so that where they
    end depends on the inputs alone; then only those do that are to be encoded.

    Args:
        size: of each; None has them grow: 1, 2, 4, ... up to BATCH_SIZE.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size or 1
        self._grows = size is None
        self._ready = self._known = self._failed = 0

    def add(self, *, ready: bool, known: bool = False) -> bool:
        """Take an input, which is ready to be encoded, known, or failed; whether a batch ends."""
        takes_place = ready or (known and not self.settled)
        self._ready += takes_place
        self._known += known and not takes_place
        self._failed += not (ready or known)
        is_full = self._ready >= self.size
        if is_full and self._grows:
            self.size = min(2 * self.size, BATCH_SIZE)
        too_many_wait = self._known >= _MOST_KNOWN_HELD or self._failed >= _MOST_FAILURES_HELD
        waits_for_none = known and not self._ready
        if not (is_full or too_many_wait or waits_for_none):
            return False
        self.cut()
        return True

    def cut(self) -> None:
        """End a batch early."""
        self._ready = self._known = self._failed = 0

    @property
    def settled(self) -> bool:
        """Whether all batches from here on have the same size."""
        return not self._grows or self.size == BATCH_SIZE
