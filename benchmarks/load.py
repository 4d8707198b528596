"""Loading a model with torch, beside open_clip's own factory.

The weights are a safetensors file in the page cache; both load in one process in turn, and imports
do not count.
"""

from __future__ import annotations

import functools

import measuring
import plain_open_clip
import torch
from report import Section
from subject import Options, main

from zsclip.engines.torch_engine import TorchEngine
from zsclip.models import resolve
from zsclip.weights import locate

OPEN_CLIP, ZSCLIP = "open_clip", "zsclip"


def measure(options: Options) -> Section:
    """Both loaders once in each round, after one round that is not counted."""
    folder = options.workload.model
    plain = functools.partial(plain_open_clip.load, folder)
    ours = functools.partial(TorchEngine, locate(resolve(str(folder))), device="cpu")
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    features = ours().encode_images(pixels.numpy())[0]
    with torch.inference_mode():
        theirs = plain()[0].encode_image(pixels, normalize=True)[0]
    measuring.check_close(features, theirs, tolerance=1e-6, what="features")
    rounds = options.rounds(full=5, quick=3)
    works = {
        OPEN_CLIP: lambda _: measuring.call(plain),
        ZSCLIP: lambda _: measuring.call(ours),
    }
    measured = measuring.in_turn(works, rounds)
    return Section(
        title="Loading a model",
        notes=("ViT-B/32, fp32, 605 MB, without imports", f"medians of {rounds} rounds"),
        figures=measuring.medians(
            measured, {"wall s": lambda m: m.wall_s, "CPU s": lambda m: m.cpu_s}
        ),
        ratios=measuring.ratios(measured, [(OPEN_CLIP, ZSCLIP)]),
    )


if __name__ == "__main__":
    main(measure, __doc__)
