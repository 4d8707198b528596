"""Head building beside open_clip's builder: `python benchmarks/head_building.py`.

Labels times the 80 templates through a text tower of ViT-B/32's shapes with random weights, on the
CPU, from texts to a head, without any cache and with both programs already loaded. open_clip's
builder encodes PART labels only, and its time is scaled to all of them. Each round also multiplies
matrices, which says how fast any program could be on this machine, if it computed the same nodes.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import open_clip
import torch

from zsclip import load_model, token_tree
from zsclip.datasets import load_dataset
from zsclip.encoders import Model
from zsclip.head_builder import build
from zsclip.prompts import expand, load_templates

ARCHITECTURE = "ViT-B-32"
TEMPLATES = load_templates("imagenet80")
NAMES = [names[0] for names in load_dataset("cifar100").class_names]
MATRIX = (384, 512, 2048)  # a pack through the widest layer


@dataclass(frozen=True, slots=True)
class Seconds:
    """Time of one piece of work: on the clock, and of the processor in all threads."""

    wall: float
    cpu: float

    def times(self, factor: float) -> Seconds:
        """As much work again and again."""
        return Seconds(self.wall * factor, self.cpu * factor)


def measure(work: Callable[[], object]) -> Seconds:
    """Time one piece of work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def write_model(folder: Path) -> None:
    """Random weights in ViT-B/32's shapes; of the image tower one layer is enough here."""
    from safetensors.torch import save_file

    config = copy.deepcopy(open_clip.get_model_config(ARCHITECTURE))
    config["vision_cfg"]["layers"] = 1
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(dict(model.state_dict()), folder / "open_clip_model.safetensors")


def build_with_zsclip(model: Model, names: Sequence[str]) -> np.ndarray:
    """(C, D); the cache is in memory and forgotten first."""
    model.cache.clear()
    return build([(name,) for name in names], model=model, templates=TEMPLATES).head.weight


def build_with_open_clip(model: torch.nn.Module, names: Sequence[str]) -> np.ndarray:
    """(C, D)"""
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    weight = open_clip.build_zero_shot_classifier(model, tokenizer, names, TEMPLATES.templates)
    return weight.T.numpy()


def multiply(times: int) -> int:
    """Multiply matrices; return the number of operations."""
    rows, inner, columns = MATRIX
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    for _ in range(times):
        torch.mm(left, right)
    return 2 * rows * inner * columns * times


def nodes_of(model: Model, names: Sequence[str]) -> int:
    """Nodes that zsclip computes, if the labels are one chunk."""
    tokens = model.tokenize(expand([names], TEMPLATES)[0])
    tree = token_tree.grow(tokens, token_tree.lengths(tokens, {}))
    return sum(len(pack.tokens) for pack in tree.packs)


def operations(model: Model, nodes: int) -> float:
    """Of the weights alone: attention between nodes, norms and activations come on top."""
    text = model.local.config.model_cfg["text_cfg"]
    return nodes * text["layers"] * 24.0 * text["width"] ** 2


def check_same_answer(model: Model, plain: torch.nn.Module) -> None:
    """Both must do the same work, or their times say nothing."""
    cosines = (build_with_zsclip(model, NAMES[:1]) * build_with_open_clip(plain, NAMES[:1])).sum(1)
    if abs(cosines - 1).max() > 1e-5:
        raise SystemExit(f"different answers: cosine {cosines}")


def run(folder: Path, *, rounds: int, part: int, labels: Sequence[int]) -> list[dict[str, float]]:
    """Every piece of work once in each round; ratios within the round."""
    write_model(folder)
    model = load_model(str(folder), device="cpu", use_cache=False)
    plain = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
    check_same_answer(model, plain)  # and warms both up
    n_operations = multiply(10)
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        matrix = measure(functools.partial(multiply, 200)).times(1 / 20 / n_operations)
        theirs = measure(functools.partial(build_with_open_clip, plain, NAMES[:part]))
        row: dict[str, float] = {
            "matrix GFLOP/s": 1e-9 / matrix.wall,
            "open_clip prompts/s": part * len(TEMPLATES.templates) / theirs.wall,
        }
        for count in labels:
            ours = measure(functools.partial(build_with_zsclip, model, NAMES[:count]))
            scaled = theirs.times(count / part)
            floor = matrix.times(operations(model, nodes_of(model, NAMES[:count])))
            row |= {
                f"zsclip prompts/s, {count} labels": count * 80 / ours.wall,
                f"open_clip / zsclip, {count} labels": scaled.wall / ours.wall,
                f"open_clip / zsclip, {count} labels, CPU time": scaled.cpu / ours.cpu,
                f"zsclip / matrix speed, {count} labels": ours.wall / floor.wall,
                f"zsclip / matrix speed, {count} labels, CPU time": ours.cpu / floor.cpu,
            }
        found.append(row)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure; print a Markdown table of medians and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--part", type=int, default=2, help="labels for open_clip (default: 2)")
    parser.add_argument(
        "--labels", type=int, nargs="+", default=[10, 100], help="(default: 10 100)"
    )
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="zsclip-bench-") as folder:
        rounds = run(Path(folder), rounds=options.n, part=options.part, labels=options.labels)
    medians = {name: round(statistics.median(row[name] for row in rounds), 2) for name in rounds[0]}
    print(f"open_clip's builder is measured on {options.part} labels and scaled\n")
    print("| what | median |\n|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} |")
    about = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "load": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        **{package: version(package) for package in ("zsclip", "torch", "open_clip_torch")},
        "part": options.part,
        "rounds": len(rounds),
    }
    print()
    print(json.dumps({**about, "medians": medians}))


if __name__ == "__main__":
    main()
