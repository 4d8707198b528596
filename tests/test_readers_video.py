"""The middle frame of a video: which one it is, and what a file that has none is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from zsclip.errors import PictureError
from zsclip.readers.video import middle_frame

av = pytest.importorskip("av")

SHADE = 10  # per frame, so that frames differ by more than what compression loses


def write_clip(path: Path, count: int, *, codec: str = "mpeg4") -> None:
    """A clip whose frame number n is grey of shade 10 * n."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            pixels = np.full((48, 64, 3), SHADE * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    "name, codec",
    [("clip.avi", "mpeg4"), ("clip.mp4", "libx264"), ("clip.webm", "libvpx-vp9")],
)
@pytest.mark.parametrize("count, middle", [(1, 0), (2, 1), (15, 7), (16, 8)])
def test_the_frame_in_the_middle_is_taken(tmp_path, name, codec, count, middle):
    write_clip(tmp_path / name, count, codec=codec)

    frame = middle_frame(tmp_path / name)

    assert frame.shape == (48, 64, 3)
    assert frame.dtype == np.uint8
    assert frame.mean() == pytest.approx(SHADE * middle, abs=4)


def test_colours_are_red_green_and_blue(tmp_path):
    path = tmp_path / "red.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.full((48, 64, 3), (255, 0, 0), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())

    red, green, blue = middle_frame(path).mean(axis=(0, 1))

    assert red > 240
    assert max(green, blue) < 15


def test_a_clip_that_was_cut_gives_the_middle_of_what_there_is(tmp_path):
    whole = tmp_path / "clip.avi"
    write_clip(whole, 20)
    content = whole.read_bytes()
    movie = content.index(b"movi")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(content[: movie + (content.index(b"idx1") - movie) // 2])

    frame = middle_frame(cut)

    assert frame.mean() < SHADE * 8


@pytest.mark.parametrize("content", [b"", b"not a video", b"RIFF\0\0\0\0AVI LIST"])
def test_what_is_no_video_is_corrupt(tmp_path, content):
    path = tmp_path / "clip.avi"
    path.write_bytes(content)

    with pytest.raises(PictureError) as caught:
        middle_frame(path)

    assert caught.value.code == "corrupt"


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 80), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))

    with pytest.raises(PictureError) as caught:
        middle_frame(path)

    assert caught.value.code == "unsupported_format"


def test_a_file_that_is_missing_is_said_to_be(tmp_path):
    with pytest.raises(PictureError) as caught:
        middle_frame(tmp_path / "none.avi")

    assert caught.value.code == "not_found"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "clip.avi")

    with pytest.raises(PictureError) as caught:
        middle_frame(tmp_path / "clip.avi")

    assert caught.value.code == "not_found"
