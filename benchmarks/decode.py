"""`--decode fast` beside `exact` on photos of 12 megapixels, by kind of JPEG.

Decoding and preparing one photo at 256 x 256, in one thread, and the PSNR of the prepared pixels.
"""

from __future__ import annotations

import functools
import sys

import measuring
import numpy as np
from measuring import Measured
from report import Section
from subject import Options, main
from workload import TESTS

from zsclip import images, pixels
from zsclip.decoding import Decoding
from zsclip.models import Preprocess

sys.path.insert(0, str(TESTS))
from photos import JPEGS, as_jpeg, synthetic_photo

DECODINGS = {name: Decoding(name) for name in ("exact", "fast")}
PREPROCESS = Preprocess(256)


def prepare(content: bytes, decoding: Decoding) -> np.ndarray:
    """The prepared pixels (3, S, S)."""
    picture = images.load(content, decoding, size=PREPROCESS.size)
    return pixels.prepare(picture.image, PREPROCESS, box=picture.box)


def decibels(exact: Measured, fast: Measured) -> float:
    """PSNR in dB of pixels in [0, 1]."""
    apart = (exact.answer - fast.answer) * np.float32(PREPROCESS.std)[:, None, None]
    return float(10 * np.log10(1 / np.mean(np.square(apart))))


def measure(options: Options) -> Section:
    """Every kind of JPEG once in each round, after one round that is not counted."""
    photo = synthetic_photo()
    contents = {kind: as_jpeg(photo, kind) for kind in JPEGS}
    works = {
        f"{kind}, {name}": lambda _, work=functools.partial(prepare, content, decoding): (
            measuring.call(work)
        )
        for kind, content in contents.items()
        for name, decoding in DECODINGS.items()
    }
    rounds = options.rounds(full=9, quick=3)
    measured = measuring.in_turn(works, rounds)
    figures = measuring.medians(measured, {"CPU ms": lambda m: 1e3 * m.cpu_s})
    for kind in JPEGS:
        exact, fast = f"{kind}, exact", f"{kind}, fast"
        figures[fast]["PSNR dB"] = decibels(measured[exact][0], measured[fast][0])
    return Section(
        title="Large JPEGs",
        notes=("one thread; synthetic photos of quality 90", f"medians of {rounds} rounds"),
        figures=figures,
        ratios=measuring.ratios(measured, [(f"{kind}, exact", f"{kind}, fast") for kind in JPEGS]),
    )


if __name__ == "__main__":
    main(measure, __doc__)
