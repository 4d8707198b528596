"""Loading a model beside open_clip's own factory: `python benchmarks/load.py`.

Random weights in the real architecture, as a safetensors file in the page cache; both load in the
same process in turn, after all imports. Medians; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from zsclip.engines import torch_model
from zsclip.models import resolve
from zsclip.weights import locate


def seconds(load: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of one call, and what it returned."""
    start = time.perf_counter()
    loaded = load()
    return time.perf_counter() - start, loaded


def check_same_answer(ours: Any, theirs: Any) -> None:
    """Both must have loaded the same model, or their times say nothing."""
    size = theirs.visual.preprocess_cfg["size"]
    picture = torch.rand(1, 3, *(size if isinstance(size, Sequence) else (size, size)))
    with torch.inference_mode():
        features = [model.eval().encode_image(picture, normalize=True) for model in (ours, theirs)]
    if not torch.allclose(*features, atol=1e-6):
        raise SystemExit("the two models differ")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a Markdown table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--architecture", default="ViT-B-32")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(open_clip.create_model(arguments.architecture).state_dict(), str(path))
        local = locate(resolve(arguments.architecture, weights_file=path))
        measured: dict[str, list[float]] = {"open_clip": [], "zsclip": []}
        for number in range(arguments.n + 1):
            plain, theirs = seconds(
                lambda: open_clip.create_model(arguments.architecture, pretrained=str(path))
            )
            mapped, ours = seconds(lambda: torch_model.load(local))
            if number == 0:
                check_same_answer(ours, theirs)
                continue
            measured["open_clip"].append(plain)
            measured["zsclip"].append(mapped)
            print(f"round {number} of {arguments.n}", file=sys.stderr)
    medians = {name: round(statistics.median(times), 3) for name, times in measured.items()}
    ratio = statistics.median(
        a / b for a, b in zip(measured["open_clip"], measured["zsclip"], strict=True)
    )
    print("| loader | s |\n|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.3f} |")
    print(json.dumps({"architecture": arguments.architecture, "s": medians, "times": round(ratio)}))


if __name__ == "__main__":
    main()
