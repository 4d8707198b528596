"""Pictures a second of a program that runs already, beside a plain open_clip loop.

From files: decoding, preparing, encoding and scoring, in the order of the files. From ready pixels:
the engine alone, in batches of 32. Both programs are loaded, each in a process of its own, and take
turns; start-up does not count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import plain_open_clip
from measuring import Measured, Work
from report import Section
from subject import Options, main
from workload import LABELS

import zsclip
from zsclip import Classifier
from zsclip.encoders import Model

BATCH_SIZE = 32
SMALL, LARGE = "small JPEGs", "12-megapixel JPEGs"
READY = "ready pixels"
ZSCLIP, PLAIN, TORCH = "zsclip", "plain open_clip loop", "zsclip, torch engine"
TOLERANCE = 1e-4
FAST_TOLERANCE = 0.05  # other pixels: 50 dB


def scores_of(classifier: Classifier, paths: Sequence[Path]) -> np.ndarray:
    """(B, C)"""
    names = classifier.head.class_names
    rows = []
    for result in classifier.classify(paths):
        by_label = {score.label: score.score for score in result.scores}
        rows.append([by_label[name] for name in names])
    return np.array(rows)


def open_models(options: Options) -> dict[str, Model]:
    """zsclip's models, by the names of their rows: as it comes, and on torch."""
    folder, cache = str(options.workload.model), options.cache
    return {
        ZSCLIP: zsclip.load_model(folder, engine="onnx", cache_dir=cache),
        TORCH: zsclip.load_model(folder, engine="torch", device="cpu", cache_dir=cache),
    }


@functools.cache
def open_plainly(folder: Path, device: str, precision: str) -> tuple[Any, Any, Any]:
    """open_clip's model, transform and head, loaded once in a process."""
    model, preprocess = plain_open_clip.load(folder, device=device, precision=precision)
    return model, preprocess, plain_open_clip.build_weight(model, folder, LABELS)


def classify_plainly(
    folder: Path, device: str, precision: str, paths: Sequence[Path], _: int
) -> Measured:
    """Per picture; answers with the scores (B, C)."""
    program = open_plainly(folder, device, precision)
    once = measuring.call(lambda: plain_open_clip.classify(paths, *program).numpy())
    return once.times(1 / len(paths))


def per_picture(work: Callable[[], Any], count: int, _: int) -> Measured:
    """Time a call, and share it among pictures."""
    return measuring.call(work).times(1 / count)


def encode(model: Model, pixels: np.ndarray, times: int) -> None:
    """Encode a ready batch again and again."""
    for _ in range(times):
        model.engine.encode_images(pixels)


def row(name: str, what: str) -> str:
    """The name of a row."""
    return f"{name}, {what}"


def works(options: Options, models: dict[str, Model], own: measuring.OwnProcess) -> dict[str, Work]:
    """Every piece of work of a round; the plain loop in a process of its own."""
    small = options.workload.small[: options.rounds(full=300, quick=100)]
    large = options.workload.large[: options.rounds(full=24, quick=8)]
    batches = options.rounds(full=5, quick=3)
    pixels = np.random.default_rng(0).standard_normal((BATCH_SIZE, 3, 224, 224), dtype=np.float32)
    plain = functools.partial(own, classify_plainly, options.workload.model, "cpu", "fp32")
    found: dict[str, Work] = {
        row(PLAIN, SMALL): functools.partial(plain, small),
        row(PLAIN, LARGE): functools.partial(plain, large),
    }
    for name, model in models.items():
        exact = Classifier(LABELS, model=model, top_k=0)
        fast = Classifier(LABELS, model=model, top_k=0, decode="fast")
        ready = functools.partial(encode, model, pixels, batches)
        for what, work, count in (
            (SMALL, functools.partial(scores_of, exact, small), len(small)),
            (LARGE, functools.partial(scores_of, exact, large), len(large)),
            (f"{LARGE}, fast", functools.partial(scores_of, fast, large), len(large)),
            (READY, ready, BATCH_SIZE * batches),
        ):
            found[row(name, what)] = functools.partial(per_picture, work, count)
    return found


def check_same_scores(measured: dict[str, list[Measured]], names: Sequence[str]) -> None:
    """Each program gave every picture the scores that the plain loop gave it."""
    for name in names:
        for what, like, tolerance in (
            (SMALL, SMALL, TOLERANCE),
            (LARGE, LARGE, TOLERANCE),
            (f"{LARGE}, fast", LARGE, FAST_TOLERANCE),
        ):
            ours, theirs = measured[row(name, what)][0], measured[row(PLAIN, like)][0]
            measuring.check_close(
                ours.answer.ravel(), theirs.answer.ravel(), tolerance=tolerance, what="scores"
            )


def measure(options: Options) -> Section:
    """Files and ready pixels once in each round, after one round that is not counted."""
    models = open_models(options)
    rounds = options.rounds(full=3, quick=1)
    measured = measuring.in_turn(works(options, models, measuring.OwnProcess()), rounds)
    check_same_scores(measured, list(models))
    pairs = [
        pair
        for name in models
        for pair in (
            (row(PLAIN, SMALL), row(name, SMALL)),
            (row(PLAIN, LARGE), row(name, LARGE)),
            (row(PLAIN, LARGE), row(name, f"{LARGE}, fast")),
            (row(name, READY), row(name, SMALL)),
        )
    ]
    return Section(
        title="Throughput",
        notes=(
            "small: 500 x 375; 12 megapixels: 4000 x 3000, 3.6 MB; fast: `--decode fast`",
            "ratios are of the time of one picture",
            f"medians of {rounds} rounds",
        ),
        figures=measuring.medians(
            measured,
            {"pictures/s": lambda m: 1 / m.wall_s, "CPU ms a picture": lambda m: 1e3 * m.cpu_s},
        ),
        ratios=measuring.ratios(measured, pairs),
    )


if __name__ == "__main__":
    main(measure, __doc__)
