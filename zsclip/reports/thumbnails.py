"""Small copies of pictures: decoded once more by the guarded way, as WebP without metadata.

Knows nothing about pages.
"""

from __future__ import annotations

import io
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from zsclip import images
from zsclip.decoding import Decoding
from zsclip.errors import PictureError
from zsclip.images import ImageInput
from zsclip.results import Failure
from zsclip.thread_pool import GivenUp, ThreadPool

SIDE = 320
"""Pixels of the longer side: twice what a list shows, for fine screens and for a closer look."""
MAX_COPIES_BYTES = 25_000_000
"""Of all small copies in a report, in base64."""
_QUALITY = 60
_COARSE = 64
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture: WebP, RGB, upright."""

    content: bytes
    width: int
    height: int

    @property
    def is_coarse(self) -> bool:
        """Whether its pixels are to be seen as such when it is enlarged."""
        return max(self.width, self.height) <= _COARSE


def thumbnail(source: ImageInput, decoding: Decoding) -> Thumbnail:
    """A small copy of a picture; a small picture keeps its size.

    Args:
        decoding: limits and background; for people, pictures are upright always.

    Raises:
        PictureError: it cannot be decoded.
    """
    # `fast` keeps 2.75 times this: for a look that is enough of half the side
    loaded = images.load(source, decoding.but(decode="fast", exact=False), size=SIDE // 2)
    small, file = loaded.image, io.BytesIO()
    try:
        small.thumbnail((SIDE, SIDE))
        small.save(file, "WEBP", quality=_QUALITY)
    except MemoryError as error:
        raise PictureError("out_of_memory", "not enough memory for a small copy") from error
    return Thumbnail(file.getvalue(), *small.size)


class Copies:
    """Makes small copies in threads until there is no room for more; a context manager.

    Args:
        room_bytes: for all copies, in base64.
        timeout_s: for each; 0 is for ever.
    """

    def __init__(self, room_bytes: int, decoding: Decoding, timeout_s: float) -> None:
        self._room_bytes = room_bytes
        self._pool = ThreadPool[ImageInput, Thumbnail](
            partial(thumbnail, decoding=decoding),
            threads=_THREADS,
            timeout_s=timeout_s,
            name="zsclip-thumbnails",
        )

    def __enter__(self) -> Copies:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()

    @property
    def is_full(self) -> bool:
        """Whether a copy was left out because there was no room."""
        return self._room_bytes < 0

    def begin(self, source: ImageInput | Failure) -> Future[Thumbnail] | None:
        """Begin to make a copy; None where there is nothing to copy, or no room."""
        if isinstance(source, Failure) or self.is_full:
            return None
        return self._pool.submit(source)

    def end(self, future: Future[Thumbnail] | None) -> Thumbnail | None:
        """The copy once it is made, if it can be and there is room."""
        if future is None:
            return None
        try:
            small = future.result()
        except (PictureError, GivenUp, MemoryError):  # it was another file when it was classified
            return None
        if not self.is_full:
            self._room_bytes -= 4 * len(small.content) // 3
        return None if self.is_full else small
