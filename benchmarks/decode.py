"""`--decode fast` beside `exact` on photos of 12 megapixels: `python benchmarks/decode.py`.

One thread; each kind of JPEG in turn, exact and fast in the same round. CPU time of decoding and
preparing one photo (medians), and the PSNR of the prepared pixels. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from photos import JPEGS, as_jpeg, synthetic_photo

from zsclip import images, pixels
from zsclip.decoding import Decoding
from zsclip.models import Preprocess

DECODINGS = {name: Decoding(name) for name in ("exact", "fast")}


def prepare(content: bytes, decoding: Decoding, preprocess: Preprocess) -> tuple[np.ndarray, float]:
    """The prepared pixels (3, S, S), and the CPU seconds they took."""
    start = time.process_time()
    picture = images.load(content, decoding, size=preprocess.size)
    prepared = pixels.prepare(picture.image, preprocess, box=picture.box)
    return prepared, time.process_time() - start


def decibels(exact: np.ndarray, fast: np.ndarray, preprocess: Preprocess) -> float:
    """PSNR in dB of pixels in [0, 1]."""
    apart = (exact - fast) * np.float32(preprocess.std)[:, None, None]
    return float(10 * np.log10(1 / np.mean(np.square(apart))))


def measure(content: bytes, preprocess: Preprocess, rounds: int) -> dict[str, float]:
    """Medians of one kind of JPEG, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in DECODINGS}
    prepared = {}
    for number in range(rounds + 1):
        for name, decoding in DECODINGS.items():
            prepared[name], took = prepare(content, decoding, preprocess)
            if number:
                seconds[name].append(took)
    pairs = zip(seconds["exact"], seconds["fast"], strict=True)
    return {
        "exact_ms": round(1e3 * statistics.median(seconds["exact"])),
        "fast_ms": round(1e3 * statistics.median(seconds["fast"])),
        "times_as_fast": round(statistics.median(exact / fast for exact, fast in pairs), 1),
        "decibels": round(decibels(prepared["exact"], prepared["fast"], preprocess), 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a Markdown table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=9, help="rounds (default: 9)")
    parser.add_argument("--size", type=int, default=256, help="of the prepared picture")
    arguments = parser.parse_args(argv)
    preprocess = Preprocess(arguments.size)
    photo = synthetic_photo()
    measured = {kind: measure(as_jpeg(photo, kind), preprocess, arguments.n) for kind in JPEGS}
    print("| JPEG | exact | fast | times as fast | PSNR |\n|---|---|---|---|---|")
    for kind, m in measured.items():
        print(
            f"| {kind} | {m['exact_ms']} ms | {m['fast_ms']} ms | {m['times_as_fast']} "
            f"| {m['decibels']} dB |"
        )
    print(json.dumps({"size": arguments.size, "rounds": arguments.n, "kinds": measured}))


if __name__ == "__main__":
    main()
