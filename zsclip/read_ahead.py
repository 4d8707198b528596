"""Decode pictures in threads, in order, ahead of the one who takes them.

At most so many are decoded early. Where the next picture is long in coming the taker is told, who
can use the time for those that came before it; one that takes too long is given up. A picture whose
features are known is not decoded. Knows nothing about models.
Shapes: V views of one picture, S image size, D feature size.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from zsclip import cpus, images, pixels
from zsclip.decoding import Decoding
from zsclip.errors import PictureError
from zsclip.image_cache import KnownPictures
from zsclip.inputs import Input
from zsclip.models import Preprocess
from zsclip.results import Failure
from zsclip.thread_pool import GivenUp, ThreadPool

PAUSE_S = 0.2
"""The inputs pause if the next one is not named for so long."""
SLOW_S = 1.0
"""A picture is slow that takes longer; large photos on busy machines must not seem so, because
then the clock would decide what is encoded together."""
TIMEOUT_S = 20.0
"""A picture is given up that takes longer to read and decode."""
_MOST_WORKERS = 4
_BLOCK_BYTES = 4 << 20
_BLOCKS = 32


@dataclass(frozen=True, slots=True)
class Decoded:
    """One input after decoding: its pixels (V, 3, S, S), what is known of them, or a failure.

    Attributes:
        key: what the image cache has it under, where there is one.
        features: (D,), where it has them; then there are no pixels.
    """

    input: Input
    pixels: npt.NDArray[np.float32] | None
    frames: int | None = None
    truncated: bool = False
    error: Failure | None = None
    key: bytes | None = None
    features: npt.NDArray[np.float32] | None = None


_Waiting: TypeAlias = "tuple[Input, Future[Decoded]] | BaseException | None"
"""An input and what becomes of it; or why the inputs end, None if they just do."""


def decode_ahead(
    inputs: Iterable[Input],
    ahead: int,
    *,
    preprocess: Preprocess,
    decoding: Decoding,
    timeout_s: float = TIMEOUT_S,
    known: KnownPictures | None = None,
) -> Generator[Decoded | None, None, None]:
    """Each input decoded, in order; None when the next one is long in coming.

    Args:
        inputs: read by a thread, at most about `ahead` of them early.
        ahead: a slow picture does not hold up the decoding of so many after it.
        preprocess: what the model wants.
        decoding: how files become pictures.
        timeout_s: a picture that takes longer from when its turn comes fails; 0 is never.
        known: pictures whose features are in the image cache.
    """
    _keep_memory()
    waiting: queue.Queue[_Waiting] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()
    decode = partial(_decode, preprocess=preprocess, decoding=decoding, known=known)
    workers = ThreadPool(decode, threads=_workers(), timeout_s=timeout_s, name="zsclip-decode")

    def feed() -> None:
        end: BaseException | None = None
        try:
            for item in inputs:
                if not _put(waiting, (item, workers.submit(item)), stopped):
                    return
        except BaseException as error:  # handed to the consumer, which raises it
            end = error
        _put(waiting, end, stopped)

    threading.Thread(target=feed, daemon=True, name="zsclip-inputs").start()
    try:
        while True:
            try:
                next_up = waiting.get(timeout=PAUSE_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(next_up, BaseException):
                yield None  # what came before it is classified first
                raise next_up
            if next_up is None:
                return
            item, decoded = next_up
            while not wait([decoded], SLOW_S).done:
                yield None
            yield _in_time(item, decoded)
    finally:
        stopped.set()
        workers.stop()


def _keep_memory() -> None:
    """Let Pillow use its memory again, unless the user has tuned it (PILLOW_BLOCKS_MAX).

    Otherwise every large picture gets new pages from the system: a quarter of the time of 12
    megapixels.
    """
    if Image.core.get_blocks_max() == 0:
        Image.core.set_block_size(_BLOCK_BYTES)
        Image.core.set_blocks_max(_BLOCKS)


def _workers() -> int:
    """Threads that decode: two at least, so that one slow picture leaves one for the others."""
    return max(2, min(_MOST_WORKERS, cpus.usable()))


def _in_time(item: Input, decoded: Future[Decoded]) -> Decoded:
    try:
        return decoded.result()
    except GivenUp as late:
        return Decoded(item, None, error=Failure("timeout", f"{late} (--timeout)"))


def _decode(
    item: Input, *, preprocess: Preprocess, decoding: Decoding, known: KnownPictures | None
) -> Decoded:
    if isinstance(item.source, Failure):
        return Decoded(item, None, error=item.source)
    key = None
    try:
        source = item.source
        if known is not None:
            source = images.read(source, decoding)
            key = known.key(source)
            row = None if key is None else known.find(key)
            if row is not None:
                return Decoded(item, None, row.frames, row.truncated, features=row.features)
        picture = images.load(source, decoding, size=preprocess.size)
        views = pixels.views(picture.image, preprocess, box=picture.box, fit=decoding.fit)
        return Decoded(item, views, picture.frames, picture.truncated, key=key)
    except PictureError as error:
        return Decoded(item, None, error=Failure(error.code, error.message))
    except MemoryError:
        return Decoded(item, None, error=Failure("out_of_memory", "not enough memory"))


def _put(waiting: queue.Queue[_Waiting], item: _Waiting, stopped: threading.Event) -> bool:
    """Put without hanging for ever once the consumer has gone; False if it has."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=PAUSE_S)
            return True
        except queue.Full:
            continue
    return False
