"""Score every `--fit` on drawings in wide, tall and empty pictures: `score_fit.py --work WORK`.

Each drawing of the 100 nouns is put on canvases of several shapes, and named among the 100 by the
packaged `tiny`. Choices are made with `--artist twemoji fxemoji`, which were trained on; OpenMoji,
the default, was not.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import artists
import numpy as np
from concepts import read_nouns
from PIL import Image

import zsclip
from zsclip.decoding import FITS
from zsclip.intervals import Interval, bootstrap, paired

SIDE = 192
"""Pixels of a canvas's shorter side."""
GROUNDS = ("white", "coloured")


@dataclass(frozen=True)
class Canvas:
    """A kind of picture: its shape as (width, height), where the drawing is, and how large.

    Attributes:
        place: 0 is the left or upper end, 1 the other one; None is anywhere.
        share: part of the shorter side that the drawing fills.
    """

    name: str
    shape: tuple[float, float]
    place: float | None
    share: float = 0.85


CANVASES = (
    Canvas("square", (1, 1), 0),
    Canvas("3:2, anywhere", (3 / 2, 1), None),
    Canvas("16:9, anywhere", (16 / 9, 1), None),
    Canvas("3:1, at the left", (3, 1), 0),
    Canvas("3:1, at the right", (3, 1), 1),
    Canvas("3:1, anywhere", (3, 1), None),
    Canvas("1:3, at the top", (1, 3), 0),
    Canvas("1:3, anywhere", (1, 3), None),
    Canvas("1:1, small, anywhere", (1, 1), None, 0.4),
    Canvas("2:1, small, anywhere", (2, 1), None, 0.4),
)


def paint(
    drawing: np.ndarray, canvas: Canvas, ground: str, generator: np.random.Generator
) -> Image.Image:
    """Return one picture: the drawing (96, 96, 4), premultiplied, on a canvas of one colour."""
    width, height = (round(part * SIDE) for part in canvas.shape)
    side = round(canvas.share * SIDE)
    pale = tuple(generator.integers(102, 256, 3).tolist())
    picture = Image.new("RGBA", (width, height), "white" if ground == "white" else (*pale, 255))
    margin = (SIDE - side) // 2
    if canvas.place is None:
        x, y = (int(generator.integers(0, room + 1)) for room in (width - side, height - side))
        if canvas.share > 0.5:  # not off the middle line
            x, y = (x, margin) if width > height else (margin, y)
    else:
        x, y = (margin + round(canvas.place * (room - SIDE)) for room in (width, height))
    small = Image.fromarray(drawing, "RGBa").convert("RGBA")
    picture.alpha_composite(small.resize((side, side), Image.Resampling.LANCZOS), (x, y))
    return picture.convert("RGB")


def read_drawings(names: Sequence[str], work: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return (B,) nouns and their drawings, of several artists."""
    place = {code: noun for noun, codes in enumerate(read_nouns().values()) for code in codes}
    truth, drawings = [], []
    for keys, pictures in artists.load(names, work).values():
        for key, picture in zip(keys.tolist(), pictures, strict=True):
            if key in place:
                truth.append(place[key])
                drawings.append(picture)
    return np.array(truth), drawings


class Scorer:
    """The packaged model, and the features of the 100 nouns."""

    def __init__(self) -> None:
        self.model = zsclip.load_model("tiny", engine="torch", device="cpu", use_cache=False)
        self.weight = zsclip.build_head(list(read_nouns()), model=self.model).weight  # (100, D)

    def is_right(self, pictures: Sequence[Image.Image], truth: np.ndarray, fit: str) -> np.ndarray:
        """Return (B,) 1 where the best of the nouns is the true one."""
        self.model.decoding = self.model.decoding.but(fit=fit)
        cosines = self.model.encode_image(pictures) @ self.weight.T
        return (cosines.argmax(axis=1) == truth).astype(float)


def mean(right: np.ndarray, weights: np.ndarray) -> float:
    """Return the accuracy in percent."""
    return 100 * float(np.average(right, weights=weights))


def shown(figure: Interval, *, sign: bool = False) -> str:
    """Return a figure with its interval."""
    first = f"{figure.value:+.1f}" if sign else f"{figure.value:.1f}"
    return f"{first} ({figure.low:.1f} to {figure.high:.1f})"


def row(
    scorer: Scorer,
    canvas: Canvas,
    drawings: Sequence[np.ndarray],
    truth: np.ndarray,
    *,
    ground: str,
) -> str:
    """Return a line of the table: the accuracy of the crop, and what each other fit adds to it."""
    generator = np.random.default_rng(0)
    pictures = [paint(drawing, canvas, ground, generator) for drawing in drawings]
    right = {fit: scorer.is_right(pictures, truth, fit) for fit in FITS}
    count = len(truth)
    cells = [canvas.name, shown(bootstrap(partial(mean, right["crop"]), count))]
    for fit in FITS[1:]:
        gain = paired(partial(mean, right["crop"]), partial(mean, right[fit]), count)
        cells.append(f"{mean(right[fit], np.ones(count)):.1f}: {shown(gain, sign=True)}")
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for each ground."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--artist", nargs="+", default=[artists.UNSEEN_ARTIST])
    arguments = parser.parse_args(argv)
    scorer = Scorer()
    truth, drawings = read_drawings(arguments.artist, arguments.work)
    for ground in GROUNDS:
        print(f"\n{ground}, {len(truth)} drawings of {', '.join(arguments.artist)}\n")
        print(f"| picture | {' | '.join(FITS)} |", "|---|---|---|---|---|", sep="\n")
        for canvas in CANVASES:
            print(row(scorer, canvas, drawings, truth, ground=ground), flush=True)


if __name__ == "__main__":
    main()
