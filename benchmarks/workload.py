"""What is measured: a model and pictures, made once into a folder, from nothing but seeds.

`python benchmarks/workload.py FOLDER` makes them; the benchmarks call `prepare`, which does so in
a process of its own where they are missing. This module imports nothing heavy before that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
ARCHITECTURE = "ViT-B-32"
LABELS = ("cat", "dog")
N_SMALL, N_LARGE = 300, 24
SMALL_SIZE, LARGE_SIZE = (500, 375), (4000, 3000)
_EDITION = "1"  # another one is made anew
_LARGE_PER_PHOTO = 4


@dataclass(frozen=True, slots=True)
class Workload:
    """Where everything is."""

    folder: Path

    @property
    def model(self) -> Path:
        """Random weights in the real architecture, as open_clip has them."""
        return self.folder / "open_clip"

    @property
    def transformers(self) -> Path:
        """The same weights, as transformers has them."""
        return self.folder / "transformers"

    @property
    def small(self) -> list[Path]:
        """JPEGs of SMALL_SIZE."""
        return sorted((self.folder / "small").glob("*.jpg"))

    @property
    def large(self) -> list[Path]:
        """JPEGs of 12 megapixels, LARGE_SIZE."""
        return sorted((self.folder / "large").glob("*.jpg"))

    @property
    def picture(self) -> Path:
        """A PNG of exactly the model's size, which no program has to resize."""
        return self.folder / "picture.png"


def prepare(folder: Path) -> Workload:
    """The workload in a folder, made now if it is not there."""
    stamp = folder / "edition"
    if not (stamp.exists() and stamp.read_text() == _EDITION):
        print("making the model and the pictures; this is not measured", file=sys.stderr)
        subprocess.run([sys.executable, __file__, str(folder)], check=True)
        stamp.write_text(_EDITION)
    return Workload(folder)


def _make(workload: Workload) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(TESTS))
    for folder in ("open_clip", "transformers", "small", "large"):
        (workload.folder / folder).mkdir(parents=True, exist_ok=True)
    _write_pictures(workload.folder)
    _write_model(workload)


def _write_pictures(folder: Path) -> None:
    """Photos and their flipped copies; the small ones are pieces of them at half the size."""
    import numpy as np
    from photos import synthetic_photo
    from PIL import Image

    generator = np.random.default_rng(0)
    width, height = SMALL_SIZE
    small = iter(range(N_SMALL))
    for seed in range(N_LARGE // _LARGE_PER_PHOTO):
        photo = _grainy(synthetic_photo(seed), generator)
        flips = [photo, *(photo.transpose(how) for how in (0, 1, 3))]  # both mirrors, half a turn
        for number, flipped in enumerate(flips):
            name = f"{seed * _LARGE_PER_PHOTO + number:02}.jpg"
            flipped.save(folder / "large" / name, quality=90)
        for _ in range(N_SMALL * _LARGE_PER_PHOTO // N_LARGE):
            x = int(generator.integers(0, LARGE_SIZE[0] - 2 * width))
            y = int(generator.integers(0, LARGE_SIZE[1] - 2 * height))
            piece = photo.crop((x, y, x + 2 * width, y + 2 * height))
            piece = piece.resize(SMALL_SIZE, Image.Resampling.LANCZOS)
            piece.save(folder / "small" / f"{next(small):03}.jpg", quality=85)
        if seed == 0:
            photo.resize((224, 224), Image.Resampling.LANCZOS).save(folder / "picture.png")


def _grainy(photo: Any, generator: Any) -> Any:
    """With the noise of a camera, which makes the file as large as one of a camera's: 3.6 MB."""
    import numpy as np
    from PIL import Image

    grain = generator.normal(0, 5, (*photo.size[::-1], 1))
    return Image.fromarray(np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8))


def _write_model(workload: Workload) -> None:
    """The same random weights for open_clip and for transformers."""
    import open_clip
    from families import write_folder
    from to_transformers import convert

    from zsclip import load_model

    model_cfg = open_clip.get_model_config(ARCHITECTURE)
    model_cfg["vision_cfg"]["head_width"] = 64  # open_clip's default, said aloud for `convert`
    write_folder({"model_cfg": model_cfg}, workload.model)
    converted = convert("CLIPModel", load_model(str(workload.model), use_cache=False))
    converted.save_pretrained(workload.transformers)
    _write_processor(workload.transformers)


def _write_processor(folder: Path) -> None:
    """Tokenizer and preprocessing of OpenAI's CLIP, for transformers."""
    import open_clip
    from transformers import CLIPImageProcessor, CLIPTokenizer

    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): i for token, i in tokenizer.encoder.items()}
    converted = CLIPTokenizer(
        vocab=vocabulary, merges=list(tokenizer.bpe_ranks), model_max_length=77
    )
    converted.save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    for text in _texts():
        wanted = [token for token in tokenizer(text)[0].tolist() if token]
        if converted(text)["input_ids"] != wanted:
            raise SystemExit(f"different tokens of {text!r}")


def _texts() -> Iterator[str]:
    from zsclip.datasets import load_dataset

    for names in load_dataset("cifar100").class_names:
        yield f"This is a photo of {names[0]}."


if __name__ == "__main__":
    _make(Workload(Path(sys.argv[1])))
