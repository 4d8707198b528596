"""Time and memory of one cold process, from its start to its end.

What a person waits for who types one command, files being in the page cache. Labels are new in
every round, except where the head is to come from the cache.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import measuring
from measuring import Column, Measured
from report import Section
from subject import Options, main
from workload import LABELS

HERE = Path(__file__).resolve().parent
PYTHON = sys.executable
ZSCLIP = str(Path(PYTHON).parent / "zsclip")
ONE_COMMAND = "import typer; app = typer.Typer(); app.command()(lambda: None); app()"
PIPELINE_TEMPLATE = "This is a photo of {}."
TOLERANCE = 1e-4
NEW_LABELS = "NEW_LABELS"  # stands in a command for two that no process has seen

NEW, CACHED = "classify, new labels", "classify, cached head"
OPEN_CLIP, PIPELINE = "open_clip script", "transformers pipeline"
TORCH = ", torch engine"
ALONE: Mapping[str, Sequence[str]] = {
    "import open_clip": [PYTHON, "-c", "import open_clip"],
    "import torch": [PYTHON, "-c", "import torch"],
    "zsclip --help": [ZSCLIP, "--help"],
    "typer, one command, --help": [PYTHON, "-c", ONE_COMMAND, "--help"],
    "import typer": [PYTHON, "-c", "import typer"],
    "python": [PYTHON, "-c", "pass"],
}
PAIRS = (
    (OPEN_CLIP, NEW),
    (PIPELINE, NEW),
    (OPEN_CLIP, CACHED),
    (CACHED, "import open_clip"),
    ("zsclip --help", "typer, one command, --help"),
    ("zsclip --help", "import typer"),
)
COLUMNS: Mapping[str, Column] = {
    "wall s": lambda m: m.wall_s,
    "CPU s": lambda m: m.cpu_s,
    "peak MB": lambda m: m.peak_mb,
}


def zsclip(options: Options, labels: str, *more: str) -> list[str]:
    """The command line of zsclip."""
    picture, model = str(options.workload.picture), str(options.workload.model)
    return [ZSCLIP, "classify", picture, "--labels", labels, "--model", model, "--json", *more]


def commands(options: Options) -> dict[str, Sequence[str]]:
    """Every process of a round."""
    workload = options.workload
    picture = str(workload.picture)
    plain = [PYTHON, str(HERE / "plain_open_clip.py"), str(workload.model)]
    pipeline = [PYTHON, str(HERE / "plain_transformers.py"), str(workload.transformers)]
    known = ",".join(LABELS)
    # a cache of its own: text embeddings serve both engines
    torch = ("--engine", "torch", "--cache-dir", str(options.cache / "torch"))
    return {
        NEW: zsclip(options, NEW_LABELS),
        CACHED: zsclip(options, known),
        NEW + TORCH: zsclip(options, NEW_LABELS, *torch),
        CACHED + TORCH: zsclip(options, known, *torch),
        OPEN_CLIP: [*plain, NEW_LABELS, picture],
        PIPELINE: [*pipeline, NEW_LABELS, picture],
        **ALONE,
    }


def output_of(command: Sequence[str]) -> str:
    """What a process prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def pairs_of_labels() -> list[str]:
    """Class names of CIFAR-100, two by two."""
    names = output_of([ZSCLIP, "datasets", "cifar100"]).splitlines()
    return [",".join(pair) for pair in zip(names[::2], names[1::2], strict=True)]


def run(command: Sequence[str], labels: Sequence[str], number: int) -> Measured:
    """One process of one round."""
    filled = [labels[number] if part == NEW_LABELS else part for part in command]
    return measuring.process(filled, os.environ)


def check_same_answers(ours: str, theirs: str, what: str) -> None:
    """Both printed one row of JSON with label and score."""
    row, plain = json.loads(ours), json.loads(theirs)
    if row["label"] != plain["label"]:
        raise SystemExit(f"different answers: {what}: {row['label']!r}, not {plain['label']!r}")
    measuring.check_close([row["score"]], [plain["score"]], tolerance=TOLERANCE, what=what)


def measure(options: Options) -> Section:
    """Every process once in each round, after one round that is not counted."""
    labels = pairs_of_labels()
    print("a first run, which compiles the model and is not counted", file=sys.stderr)
    output_of(zsclip(options, ",".join(LABELS)))
    if not json.loads(output_of([ZSCLIP, "cache", "info", "--json"]))["compiled"]:
        raise SystemExit("the model was not compiled")
    rounds = options.rounds(full=5, quick=2)
    works = {name: functools.partial(run, c, labels) for name, c in commands(options).items()}
    measured = measuring.in_turn(works, rounds)
    for ours, theirs in zip(measured[NEW], measured[OPEN_CLIP], strict=True):
        check_same_answers(ours.answer, theirs.answer, OPEN_CLIP)
    one_template = ("--template", PIPELINE_TEMPLATE)
    pipeline = measured[PIPELINE][-1].answer
    check_same_answers(
        output_of(zsclip(options, labels[rounds], *one_template)), pipeline, PIPELINE
    )
    return Section(
        title="A cold process",
        notes=(
            "one picture, two labels; the model is ViT-B/32 in fp32 with random weights",
            "zsclip and the open_clip script use 80 templates a label, the pipeline its one",
            f"medians of {rounds} rounds",
        ),
        figures=measuring.medians(measured, COLUMNS),
        ratios=measuring.ratios(measured, PAIRS),
    )


if __name__ == "__main__":
    main(measure, __doc__)
