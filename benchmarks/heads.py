"""Building a head from class names, beside open_clip's builder and the machine's matrix speed.

From texts to a head, in fp32 on the CPU, 80 templates a label, no cache. Both programs are loaded,
each in a process of its own.
open_clip's builder encodes PART labels only, and its time is scaled to all of them. Each round also
multiplies matrices, which says how fast any program could be on this machine if it computed the
same nodes of the token tree; norms, activations and attention are left out there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import measuring
import numpy as np
import open_clip
import plain_open_clip
import torch
from measuring import Measured
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from report import Section
from subject import Options, main

from zsclip import load_model, token_tree
from zsclip.cache import TextCache
from zsclip.datasets import load_dataset
from zsclip.encoders import Model
from zsclip.head_builder import build
from zsclip.prompts import expand, load_templates

TEMPLATES = load_templates("imagenet80")
CIFAR100 = [names[0] for names in load_dataset("cifar100").class_names]
LABELS: Mapping[int, Sequence[str]] = {
    10: CIFAR100[:10],
    100: CIFAR100,
    1000: IMAGENET_CLASSNAMES,
}
PART = 2
MATRIX = (384, 512, 2048)  # a pack through the widest layer
N_PRODUCTS = 200
ZSCLIP, OPEN_CLIP, FLOOR = "zsclip", "open_clip's builder", "matrix speed"


def build_with_zsclip(model: Model, names: Sequence[str]) -> np.ndarray:
    """(C, D), without any text embedding that is known already."""
    model.cache = TextCache(None)
    return build([(name,) for name in names], model=model, templates=TEMPLATES).head.weight


@functools.cache
def open_plainly(folder: Path) -> torch.nn.Module:
    """open_clip's model, loaded once in a process."""
    return plain_open_clip.load(folder)[0]


def build_plainly(folder: Path, names: Sequence[str]) -> Measured:
    """Answers with (D, C)."""
    work = functools.partial(plain_open_clip.build_weight, open_plainly(folder), folder, names)
    return measuring.call(lambda: work().numpy())


def multiply() -> None:
    """Matrix products of the size of a pack."""
    rows, inner, columns = MATRIX
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    for _ in range(N_PRODUCTS):
        torch.mm(left, right)


def operations(model: Model, names: Sequence[str]) -> float:
    """Of the weights alone, for the nodes that zsclip computes if the labels are one chunk.

    In the last block all nodes are keys and values, but only the ends go through the rest of it.
    """
    tokens = model.tokenize(expand([names], TEMPLATES)[0])
    tree = token_tree.grow(tokens, token_tree.lengths(tokens, {}))
    nodes = sum(len(pack.tokens) for pack in tree.packs)
    ends = sum(len(pack.ends) for pack in tree.packs)
    text = model.local.config.model_cfg["text_cfg"]
    return text["width"] ** 2 * (24.0 * nodes * (text["layers"] - 1) + 4.0 * nodes + 20.0 * ends)


def measure_labels(
    counts: Sequence[int],
    rounds: int,
    *,
    model: Model,
    plain: Callable[[Sequence[str]], Measured],
) -> dict[str, list[Measured]]:
    """Heads of some numbers of labels; the two alternatives are measured once in each round."""
    works = {
        FLOOR: lambda _: measuring.call(multiply),
        OPEN_CLIP: lambda _: plain(CIFAR100[:PART]),
    }
    for count in counts:
        ours = functools.partial(build_with_zsclip, model, LABELS[count])
        works[row(ZSCLIP, count)] = lambda _, ours=ours: measuring.call(ours)
    measured = measuring.in_turn(works, rounds, warm_up=False)
    per_operation = 1 / (2.0 * math.prod(MATRIX) * N_PRODUCTS)
    found = {}
    for count in counts:
        floor = per_operation * operations(model, LABELS[count])
        found |= {
            row(ZSCLIP, count): measured[row(ZSCLIP, count)],
            row(OPEN_CLIP, count): [m.times(count / PART) for m in measured[OPEN_CLIP]],
            row(FLOOR, count): [m.times(floor) for m in measured[FLOOR]],
        }
    return found


def row(name: str, count: int) -> str:
    """The name of a row."""
    return f"{name}, {count} labels"


def measure(options: Options) -> Section:
    """10 and 100 labels in every round, and 1,000 once."""
    folder = options.workload.model
    model = load_model(str(folder), engine="onnx", cache_dir=options.cache)
    plain = functools.partial(measuring.OwnProcess(), build_plainly, folder)
    ours = build_with_zsclip(model, CIFAR100[:1])  # and warms up
    theirs = plain(CIFAR100[:1]).answer
    measuring.check_close(ours[0], theirs[:, 0], tolerance=1e-5, what="features of a class")
    rounds = options.rounds(full=3, quick=1)
    measured = measure_labels((10, 100), rounds, model=model, plain=plain)
    if not options.quick:
        measured |= measure_labels((1000,), 1, model=model, plain=plain)
    pairs = [
        pair
        for count in LABELS
        for pair in (
            (row(OPEN_CLIP, count), row(ZSCLIP, count)),
            (row(ZSCLIP, count), row(FLOOR, count)),
        )
        if pair[0] in measured
    ]
    return Section(
        title="Building a head",
        notes=(
            f"open_clip {open_clip.__version__}'s builder is measured on {PART} labels, and its "
            "time is scaled to all of them",
            "matrix speed: what plain matrix products of the same size would take for the nodes "
            "that zsclip computes",
            f"medians of {rounds} rounds{'' if options.quick else '; 1,000 labels: one round'}",
        ),
        figures=measuring.medians(
            measured, {"wall s": lambda m: m.wall_s, "CPU s": lambda m: m.cpu_s}
        ),
        ratios=measuring.ratios(measured, pairs),
    )


if __name__ == "__main__":
    main(measure, __doc__)
