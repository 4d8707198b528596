"""Measure every model family and write the table in docs/models.md.

    python docs/make_models_table.py [--real] [--check]

Random weights, small sizes (tests/families.py); with --real also the sizes that people use, as far
as they need less than MAX_REAL_PARAMETERS. --check compares the columns that are not measured, and
writes nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np  # noqa: E402
from families import (  # noqa: E402
    FAMILIES,
    LABELS,
    TEMPLATES,
    Family,
    ask_open_clip,
    ask_zsclip,
    sixty_four,
    small_config,
    towers,
    write_folder,
)

from zsclip.models import CLIP_BPE, config_of_architecture  # noqa: E402

PAGE = ROOT / "docs" / "models.md"
START = "<!-- made by docs/make_models_table.py: start -->"
END = "<!-- made by docs/make_models_table.py: end -->"
MAX_REAL_PARAMETERS = 260_000_000
BATCHES = (1, 7, 64)
HEADER = (
    "family", "stands for it", "image tower", "text tower", "preprocessing", "scores",
    "against open_clip", "at full size", "against transformers",
)  # fmt: skip
N_STATIC = 6


def static_columns(family: Family) -> tuple[str, ...]:
    """What is known without running anything."""
    config = config_of_architecture(family.architecture, family.tag or None)
    how = config.preprocess
    activation = "QuickGELU" if config.model_cfg.get("quick_gelu") else "GELU"
    image, text = towers(family.architecture)
    name = f"`{family.architecture}:{family.tag}`" if family.tag else f"`{family.architecture}`"
    kind = "sigmoid" if "init_logit_bias" in config.model_cfg else "softmax"
    if "timm_model_name" not in config.model_cfg["vision_cfg"]:
        image = f"{image}, {activation}" if image != "ResNet" else image
    mean = {0.48145466: "OpenAI's", 0.5: "0.5", 0.0: "0", 0.485: "ImageNet's"}[how.mean[0]]
    preprocessing = f"{how.interpolation}, {how.resize_mode}, mean {mean}"
    return family.name, name, image, text, preprocessing, kind


def measure(family: Family, *, real: bool) -> tuple[str, str, str]:
    """Largest differences of cosines: against open_clip, at full size, against transformers."""
    small, reference = _measure_small(family)
    full = _measure_real(family) if real else None
    return _shown(small), _shown(full), _shown(reference)


def _shown(difference: float | None) -> str:
    return "" if difference is None else f"{difference:.0e}"


def _measure_small(family: Family) -> tuple[float, float | None]:
    from zsclip.loading import load_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(small_config(family, folder), folder)
        model = load_model(name, device="cpu", use_cache=False)
        found = _against_open_clip(model, folder, BATCHES, len(sixty_four()))
        if family.reference is None:
            return found, None
        return found, _against_transformers(model, family.reference)


def _against_open_clip(model: Any, folder: Path, batches: Sequence[int], count: int) -> float:
    images = sixty_four()[:count]
    theirs = ask_open_clip(folder, images)
    answers = (ask_zsclip(model, images, batch_size=size) for size in batches)
    return max(float(np.abs(ours.cosines - theirs.cosines).max()) for ours in answers)


def _against_transformers(model: Any, reference: str) -> float:
    from to_transformers import ask_transformers

    pixels = np.stack([model.prepare(image) for image in sixty_four()[:16]])
    tokens = model.tokenize([t.replace("{}", label) for label in LABELS for t in TEMPLATES])
    theirs = ask_transformers(reference, model, pixels, tokens)
    ours = model.encode_image(pixels) @ model.encode_text(tokens).T
    return float(np.abs(ours - theirs.cosines).max())


def _measure_real(family: Family) -> float | None:
    """The same at full size with two pictures; None where it is too large or needs other files."""
    import open_clip
    import torch

    from zsclip.loading import load_model

    config = config_of_architecture(family.architecture, family.tag or None)
    if config.tokenizer != CLIP_BPE:
        return None
    with torch.device("meta"):
        empty = open_clip.create_model(family.architecture, device="meta", load_weights=False)
    if sum(parameter.numel() for parameter in empty.parameters()) > MAX_REAL_PARAMETERS:
        return None
    how = config.preprocess
    preprocess = {"mean": how.mean, "std": how.std, "interpolation": how.interpolation}
    content = {
        "model_cfg": config.model_cfg,
        "preprocess_cfg": {**preprocess, "resize_mode": how.resize_mode},
    }
    with tempfile.TemporaryDirectory() as name:
        write_folder(content, Path(name))
        model = load_model(name, device="cpu", use_cache=False)
        return _against_open_clip(model, Path(name), [2], 2)


def rows(*, real: bool) -> Iterator[tuple[str, ...]]:
    """Every family with what was measured, said on stderr as it comes."""
    for family in FAMILIES:
        row = (*static_columns(family), *measure(family, real=real))
        print(" | ".join(row), file=sys.stderr, flush=True)
        yield row


def table(content: Sequence[Sequence[str]]) -> str:
    """The rows as Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *content]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written() -> list[tuple[str, ...]]:
    """The rows that the page has now."""
    text = PAGE.read_text(encoding="utf-8")
    lines = text.partition(START)[2].partition(END)[0].strip().splitlines()[2:]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table, or with --check say whether its static columns are current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="measure full sizes as well")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if outdated")
    options = parser.parse_args(argv)
    if options.check:
        now = [row[:N_STATIC] for row in written()]
        if now != [static_columns(family) for family in FAMILIES]:
            print("docs/models.md: run python docs/make_models_table.py", file=sys.stderr)
            return 1
        return 0
    import torch

    torch.set_num_threads(1)  # small models
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    content = list(rows(real=options.real))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{START}\n{table(content)}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
