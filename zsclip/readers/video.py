"""The middle frame of a video, which stands for the whole clip as in the CLIP paper.

Frames are counted by their packets and decoded from the first one on: headers are often wrong
about their number, and clips of ten seconds tend to have one key frame, so that seeking gains
nothing. Knows nothing about data sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip.errors import PictureError


def middle_frame(path: Path) -> npt.NDArray[np.uint8]:
    """The frame in the middle, (H, W, 3) RGB; of an even number the later of the two.

    Raises:
        PictureError: the file is missing, is no video, or cannot be decoded up to there.
    """
    with _video(path) as (container, stream):
        count = sum(1 for packet in container.demux(stream) if packet.size)
    with _video(path) as (container, stream):
        frame = next(islice(container.decode(stream), count // 2, None), None)
        if frame is None:
            raise PictureError("truncated", "the video ends before its middle")
        pixels: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return pixels


@contextmanager
def _video(path: Path) -> Iterator[tuple[Any, Any]]:
    """The opened file and its first video stream."""
    import av

    if not path.is_file():  # opening a pipe waits
        raise PictureError("not_found", "no such file")
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise PictureError("unsupported_format", "the file has no video in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except PermissionError as error:
        raise PictureError("permission", "permission denied") from error
    except av.FFmpegError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise PictureError("corrupt", f"the video cannot be decoded: {reason}") from error
