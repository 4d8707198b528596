"""Damaged pictures, made from one seed: a picture of each format and mode, changed at random.

    python tests/mutants.py --count 3000           # load them all in this process, print what came
    python tests/mutants.py --show 17 > file       # mutant 17 alone
    python tests/mutants.py --count 500 --write DIR

Mutant N of a seed is the same whatever the count. `make soak` and tests/test_mutants.py use this.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from zsclip.decoding import DEFAULT, Decoding
from zsclip.inputs import Input
from zsclip.models import Preprocess
from zsclip.read_ahead import decode_ahead

SEED = 20261121
TIMEOUT_S = 20.0
SIDE = 16
_AHEAD = 64
_PREPROCESS = Preprocess(32)
_HEADER_BYTES = 96
_ODD_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
_MAX_PIXELS = 20_000_000  # a WebP of 89 million takes 1.4 GB
DECODINGS = tuple(
    way.but(max_pixels=_MAX_PIXELS)
    for way in (
        DEFAULT,
        Decoding(decode="fast"),
        Decoding(exact=True),
        Decoding(allow_truncated=True),
    )
)

Bytes = bytearray
Change = Callable[[Bytes, random.Random], None]


# whole pictures


def _noise() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
    return Image.fromarray(values)


def _sixteen_bit() -> Image.Image:
    values = np.random.default_rng(1).integers(0, 65536, (SIDE, SIDE))
    return Image.fromarray(values.astype(np.uint16))


def _frames() -> dict[str, object]:
    """For `Image.save`, which leaves marks on the pictures."""
    return {"save_all": True, "append_images": [Image.new("RGB", (SIDE, SIDE), "red")]}


_EXIF = Image.Exif()
_EXIF[0x0112] = 6
_EXIF[0x010E] = "a picture"
# (format, mode or None for 16-bit grey, options of Image.save)
_KINDS: tuple[tuple[str, str | None, dict[str, object]], ...] = (
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True, "exif": _EXIF, "icc_profile": bytes(200)}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {"subsampling": 0}),
    ("MPO", "RGB", _frames()),
    ("PNG", "RGB", {"exif": _EXIF}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "LA", {}),
    ("PNG", "1", {}),
    ("PNG", None, {}),
    ("PNG", "RGB", _frames()),
    ("WEBP", "RGB", {"exif": _EXIF}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("WEBP", "RGB", _frames()),
    ("GIF", "P", {}),
    ("GIF", "RGB", _frames()),
    ("GIF", "RGBA", {}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("BMP", "1", {}),
    ("BMP", "RGBA", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw", "exif": _EXIF}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "P", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "CMYK", {"compression": "packbits"}),
    ("TIFF", None, {}),
    ("TIFF", "F", {}),
    ("TIFF", "RGB", _frames()),
    ("PPM", "RGB", {}),
    ("PPM", "L", {}),
    ("PPM", "1", {}),
    ("PPM", None, {}),
    ("AVIF", "RGB", {"exif": _EXIF}),
    ("AVIF", "RGBA", {}),
    ("JPEG2000", "RGB", {}),
    ("JPEG2000", "RGBA", {"irreversible": True}),
    ("JPEG2000", "L", {"no_jp2": True}),
    ("ICO", "RGBA", {"sizes": [(SIDE, SIDE)]}),
    ("ICO", "RGBA", {"sizes": [(SIDE, SIDE)], "bitmap_format": "bmp"}),
    ("TGA", "RGB", {"compression": "tga_rle"}),
    ("TGA", "P", {}),
    ("TGA", "LA", {}),
)


@cache
def whole_pictures() -> tuple[tuple[str, bytes], ...]:
    """(format, file) of one small picture of each kind."""
    return tuple((kind, _file(kind, mode, options)) for kind, mode, options in _KINDS)


def _file(kind: str, mode: str | None, options: dict[str, object]) -> bytes:
    image = _sixteen_bit() if mode is None else _noise().convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# changes


def _place(content: Bytes, chance: random.Random) -> int:
    """Any place, half of the time one near the start, where headers are."""
    end = len(content) if chance.random() < 0.5 else min(len(content), _HEADER_BYTES)
    return chance.randrange(max(1, end))


def _block(content: Bytes, chance: random.Random) -> slice:
    start = _place(content, chance)
    return slice(start, start + chance.randint(1, 32))


def flip_bits(content: Bytes, chance: random.Random) -> None:
    """Turn over one to eight bits."""
    for _ in range(chance.randint(1, 8)):
        place = _place(content, chance)
        content[place : place + 1] = bytes(
            b ^ 1 << chance.randrange(8) for b in content[place:][:1]
        )


def change_bytes(content: Bytes, chance: random.Random) -> None:
    """Overwrite a few bytes in a row with others."""
    block = _block(content, chance)
    content[block] = chance.randbytes(len(content[block]))


def change_number(content: Bytes, chance: random.Random) -> None:
    """Overwrite what may be a length, an offset or a size with an odd number."""
    size = chance.choice((1, 2, 4))
    odd = chance.choice((*_ODD_NUMBERS, len(content), len(content) + 1, chance.getrandbits(32)))
    place = _place(content, chance)
    order = chance.choice(("big", "little"))
    content[place : place + size] = (odd % 256**size).to_bytes(size, order)


def cut(content: Bytes, chance: random.Random) -> None:
    """Drop the end."""
    del content[chance.randrange(len(content) + 1) :]


def leave_out(content: Bytes, chance: random.Random) -> None:
    """Drop a block in the middle."""
    del content[_block(content, chance)]


def insert(content: Bytes, chance: random.Random) -> None:
    """Put random bytes in between."""
    place = _place(content, chance)
    content[place:place] = chance.randbytes(chance.randint(1, 64))


def repeat(content: Bytes, chance: random.Random) -> None:
    """Repeat a block, up to some hundred times."""
    block = _block(content, chance)
    content[block.stop : block.stop] = content[block] * chance.choice((1, 2, 10, 300))


def swap(content: Bytes, chance: random.Random) -> None:
    """Exchange two blocks."""
    one, other = sorted((_block(content, chance), _block(content, chance)), key=lambda b: b.start)
    if one.stop <= other.start:
        content[other], content[one] = content[one], content[other]


def join_with_another(content: Bytes, chance: random.Random) -> None:
    """Go on as another picture does."""
    _, other = chance.choice(whole_pictures())
    content[_place(content, chance) :] = other[chance.randrange(len(other)) :]


CHANGES: tuple[Change, ...] = (
    flip_bits,
    change_bytes,
    change_number,
    cut,
    leave_out,
    insert,
    repeat,
    swap,
    join_with_another,
)


@dataclass(frozen=True)
class Mutant:
    """A damaged picture, and what it was made of."""

    index: int
    kind: str
    changes: tuple[str, ...]
    content: bytes

    @property
    def name(self) -> str:
        return f"{self.index:06}-{self.kind.lower()}"


def mutant(index: int, *, seed: int = SEED) -> Mutant:
    """Mutant number `index` of a seed: any kind of picture, one to three changes."""
    chance = random.Random(f"{seed}/{index}")
    kind, whole = chance.choice(whole_pictures())
    content = Bytes(whole)
    changes = chance.choices(CHANGES, k=chance.choice((1, 1, 2, 3)))
    for change in changes:
        change(content, chance)
    return Mutant(index, kind, tuple(change.__name__ for change in changes), bytes(content))


# the sweep


@dataclass
class Swept:
    """What came of all mutants: codes (`ok` is a picture), time and memory."""

    mutants: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    grown_mb: int = 0


def sweep(count: int, *, seed: int = SEED) -> Swept:
    """Load mutants as the program does, in each way of decoding, in threads.

    Raises:
        Exception: what a mutant led to that is neither a picture nor a failure with a code; its
            number is in a note.
    """
    swept = Swept()
    before_mb = _peak_mb()
    for which, decoding in enumerate(DECODINGS):
        indexes = range(which, count, len(DECODINGS))
        inputs = (Input(str(n), mutant(n, seed=seed).content) for n in indexes)
        _sweep(inputs, indexes, decoding, swept)
    swept.grown_mb = _peak_mb() - before_mb
    return swept


def _sweep(inputs: Iterator[Input], indexes: range, decoding: Decoding, swept: Swept) -> None:
    answers = decode_ahead(
        inputs, _AHEAD, preprocess=_PREPROCESS, decoding=decoding, timeout_s=TIMEOUT_S
    )
    for index in indexes:
        start = time.monotonic()
        try:
            answer = next(answer for answer in answers if answer is not None)
        except Exception as error:
            error.add_note(f"mutant {index}, loaded with {decoding}")
            raise
        assert answer.input.path == str(index)
        assert (answer.error is None) == (answer.pixels is not None)
        swept.longest_s = max(swept.longest_s, time.monotonic() - start)
        swept.verdicts["ok" if answer.error is None else answer.error.code] += 1
        swept.mutants += 1


def _peak_mb() -> int:
    """The most memory that this process ever had."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes >> (20 if sys.platform == "darwin" else 10)


def write_corpus(folder: Path, count: int, *, seed: int = SEED) -> None:
    """Write mutants as files; their names have no ending, so that only their content counts."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        made = mutant(index, seed=seed)
        (folder / made.name).write_bytes(made.content)


def main() -> None:
    """Sweep, write or show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--write", type=Path, metavar="DIR")
    parser.add_argument("--show", type=int, metavar="INDEX")
    chosen = parser.parse_args()
    if chosen.show is not None:
        sys.stdout.buffer.write(mutant(chosen.show, seed=chosen.seed).content)
    elif chosen.write is not None:
        write_corpus(chosen.write, chosen.count, seed=chosen.seed)
    else:
        warnings.simplefilter("ignore")
        print(json.dumps(vars(sweep(chosen.count, seed=chosen.seed))))
        sys.stdout.flush()
        os._exit(0)  # whatever still decodes


if __name__ == "__main__":
    main()
