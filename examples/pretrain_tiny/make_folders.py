"""Write an artist's drawings as folders of class folders: `python make_folders.py --work WORK OUT`.

    OUT/nouns/NOUN/HEXCODE.png           the 100 nouns, for zsclip evaluate --folder OUT/nouns
    OUT/{train,test}/CLASS/HEXCODE.png   wider words, for zsclip probe --folder OUT/train
                                         --test-folder OUT/test

A drawing is on white and fills 85 % of 64 px, as in score.py. Its class is its first wider word, if
that has 32 drawings or more; half of each class is for training, and no drawing is in both.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import artists
import numpy as np
import torch
from concepts import Concept, read_emoji, read_nouns
from pictures import on_white
from PIL import Image
from score import USUAL_SHARE

FEWEST_DRAWINGS = 32
SEED = 0


def nouns_of(keys: Sequence[str]) -> dict[str, list[int]]:
    """Return noun -> rows of the drawings that show it."""
    rows: dict[str, list[int]] = {}
    for noun, codes in read_nouns().items():
        rows[noun] = [row for row, key in enumerate(keys) if key in codes]
    return rows


def wider_words_of(keys: Sequence[str], concepts: Iterable[Concept]) -> dict[str, list[int]]:
    """Return the first wider word -> rows of the drawings under it, where there are enough."""
    word = {concept.key: concept.wider[0] for concept in concepts if concept.wider}
    rows = defaultdict(list)
    for row, key in enumerate(keys):
        if key in word:
            rows[word[key]].append(row)
    return {name: mine for name, mine in rows.items() if len(mine) >= FEWEST_DRAWINGS}


def halves(rows: Sequence[int], generator: np.random.Generator) -> dict[str, list[int]]:
    """Return the rows for training and for the test, drawn at random."""
    order = generator.permutation(rows).tolist()
    middle = len(order) // 2
    return {"train": sorted(order[:middle]), "test": sorted(order[middle:])}


def write(folder: Path, rows: Sequence[int], keys: Sequence[str], pictures: np.ndarray) -> None:
    """Write the drawings of one class; a second drawing of an emoji gets a number."""
    folder.mkdir(parents=True, exist_ok=True)
    placed = on_white(torch.from_numpy(pictures[list(rows)]), share=USUAL_SHARE)  # (B, 3, 64, 64)
    pixels = ((placed + 1) / 2 * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for row, picture in zip(rows, pixels, strict=True):
        path = folder / f"{keys[row]}.png"
        Image.fromarray(picture).save(path if not path.exists() else folder / f"{row}.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Write all folders of one artist."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--artist", default=artists.UNSEEN_ARTIST)
    arguments = parser.parse_args(argv)
    emoji = read_emoji(artists.fetch_names(arguments.work))
    artists.rasterise(artists.read_artists()[arguments.artist], arguments.work, emoji)
    key_array, pictures = artists.load([arguments.artist], arguments.work)[arguments.artist]
    keys = key_array.tolist()
    for noun, rows in nouns_of(keys).items():
        if rows:
            write(arguments.out / "nouns" / noun, rows, keys, pictures)
    generator = np.random.default_rng(SEED)
    for name, rows in wider_words_of(keys, emoji).items():
        for part, mine in halves(rows, generator).items():
            write(arguments.out / part / name, mine, keys, pictures)


if __name__ == "__main__":
    main()
