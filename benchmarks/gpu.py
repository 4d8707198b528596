"""Pictures a second on a GPU at bf16, beside a plain open_clip loop.

From JPEG files, and from pixels that are ready in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import measuring
import numpy as np
import torch
from measuring import Measured, Work
from report import Section
from subject import Options, main
from throughput import (
    BATCH_SIZE,
    PLAIN,
    READY,
    SMALL,
    ZSCLIP,
    classify_plainly,
    encode,
    open_plainly,
    per_picture,
    row,
    scores_of,
)
from workload import LABELS

import zsclip

TITLE = "On a GPU"
DEVICE = "cuda"
PRECISION = "bf16"
TOLERANCE = 0.02  # of scores, between two ways to multiply in bf16
BATCHES = 50


def encode_plainly(folder: Path, pixels: np.ndarray, _: int) -> Measured:
    """Encode a ready batch again and again, and fetch the features, as an engine does."""
    model, _, _ = open_plainly(folder, DEVICE, PRECISION)
    dtype = model.visual.conv1.weight.dtype

    @torch.inference_mode()
    def encode_all() -> None:
        for _ in range(BATCHES):
            batch = torch.from_numpy(pixels).to(DEVICE, dtype)
            model.encode_image(batch, normalize=True).float().cpu()

    return measuring.call(encode_all).times(1 / (BATCHES * len(pixels)))


def works(
    options: Options, paths: Sequence[Path], pixels: np.ndarray, own: measuring.OwnProcess
) -> dict[str, Work]:
    """Every piece of work of a round; the plain loop in a process of its own."""
    folder = options.workload.model
    ours = zsclip.load_model(str(folder), device=DEVICE, precision=PRECISION)
    classifier = zsclip.Classifier(LABELS, model=ours, top_k=0)
    classify = functools.partial(scores_of, classifier, paths)
    ready = functools.partial(encode, ours, pixels, BATCHES)
    return {
        row(PLAIN, SMALL): functools.partial(
            own, classify_plainly, folder, DEVICE, PRECISION, paths
        ),
        row(PLAIN, READY): functools.partial(own, encode_plainly, folder, pixels),
        row(ZSCLIP, SMALL): functools.partial(per_picture, classify, len(paths)),
        row(ZSCLIP, READY): functools.partial(per_picture, ready, BATCHES * len(pixels)),
    }


def measure(options: Options) -> Section:
    """Everything once in each round, after one round that is not counted."""
    if not torch.cuda.is_available():
        return Section(TITLE, notes=("left out: this machine has no GPU that torch can use",))
    paths = options.workload.small[: options.rounds(full=300, quick=100)]
    pixels = np.random.default_rng(0).standard_normal((BATCH_SIZE, 3, 224, 224), dtype=np.float32)
    rounds = options.rounds(full=5, quick=2)
    measured = measuring.in_turn(works(options, paths, pixels, measuring.OwnProcess()), rounds)
    ours, theirs = (measured[row(name, SMALL)][0].answer for name in (ZSCLIP, PLAIN))
    measuring.check_close(ours.ravel(), theirs.ravel(), tolerance=TOLERANCE, what="scores")
    return Section(
        TITLE,
        notes=(
            f"{torch.cuda.get_device_name()}; ViT-B/32 at {PRECISION}",
            "ratios are of the time of one picture",
            f"medians of {rounds} rounds",
        ),
        figures=measuring.medians(measured, {"pictures/s": lambda m: 1 / m.wall_s}),
        ratios=measuring.ratios(
            measured,
            [(row(PLAIN, what), row(ZSCLIP, what)) for what in (SMALL, READY)],
        ),
    )


if __name__ == "__main__":
    main(measure, __doc__)
