"""All training drawings in memory, and which one to draw from for a concept.

Knows nothing about captions or models.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import artists
import numpy as np
import torch
from artists import Artist
from concepts import Concept


@dataclass
class Drawings:
    """All training drawings in one array, and who drew which concept.

    `pictures` is (N, 96, 96, 4) uint8; `by_concept[row]` lists (artist's weights, picture numbers).
    """

    pictures: torch.Tensor
    is_mono: torch.Tensor
    by_concept: list[list[tuple[tuple[float, float], list[int]]]] = field(default_factory=list)

    def draw(self, row: int, random_: random.Random, *, done: float = 1.0) -> int:
        """Return the number of one drawing: first an artist by weight, then one of theirs."""
        choices = self.by_concept[row]
        late = min(1.0, 3 * done) + 1e-6  # never all zero: some concepts have line art only
        weights = [first + late * (last - first) for (first, last), _ in choices]
        numbers = random_.choices(choices, weights)[0][1]
        return random_.choice(numbers)


def artist_weight(artist: Artist, count: int) -> tuple[float, float]:
    """Return how often an artist is drawn from at the start and from a third of training on.

    Whole colour sets come first and most; line art and single icons join in.
    """
    if not artist.is_whole:
        return 0.0, 0.1 * min(count, 4) ** 0.5
    return (1.0, 1.0) if artist.look == "colour" else (0.0, 0.4)


def gather(sets: dict[str, tuple], concepts: Sequence[Concept]) -> Drawings:
    """Join the artists' rasters, keeping only drawings of the concepts given."""
    rows = {concept.key: row for row, concept in enumerate(concepts)}
    table = artists.read_artists()
    parts, mono = [], []
    by_concept: list[list[tuple[tuple[float, float], list[int]]]] = [[] for _ in concepts]
    first = 0
    for name, (keys, pictures) in sets.items():
        wanted = [i for i, key in enumerate(keys.tolist()) if key in rows]
        numbers = defaultdict(list)
        for place, i in enumerate(wanted):
            numbers[rows[keys[i].item()]].append(first + place)
        for row, mine in numbers.items():
            by_concept[row].append((artist_weight(table[name], len(mine)), mine))
        parts.append(pictures[wanted])
        mono += [table[name].look == "mono"] * len(wanted)
        first += len(wanted)
    return Drawings(torch.from_numpy(np.concatenate(parts)), torch.tensor(mono), by_concept)
