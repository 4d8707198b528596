"""Which pictures of each class are drawn or set aside: nested, the same for every class, seeded.

Pure NumPy, rows only. Knows nothing about pictures.

Shapes: N pictures.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.integer[Any]]


def shuffled(labels: Ints, seed: int) -> list[Ints]:
    """The pictures of each class, in an order that the seed decides."""
    generator = np.random.default_rng(seed)
    rows = (np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1))
    return [generator.permutation(mine) for mine in rows]


def draw(labels: Ints, shots: int, *, seed: int) -> Ints:
    """Rows of `shots` pictures of each class, or all of a class that has fewer.

    Those of fewer shots with the same seed are among them.
    """
    return np.concatenate([rows[:shots] for rows in shuffled(labels, seed)])


def split_off(labels: Ints, share: float, *, seed: int) -> tuple[Ints, Ints]:
    """Rows that stay, and a share of each class: one picture at least, and never all of them.

    A class of one picture keeps it.
    """
    classes = shuffled(labels, seed)
    counts = [min(max(round(share * len(rows)), 1), len(rows) - 1) for rows in classes]
    counts = [max(count, 0) for count in counts]
    parts = list(zip(classes, counts, strict=True))
    kept = np.concatenate([rows[count:] for rows, count in parts])
    return np.sort(kept), np.sort(np.concatenate([rows[:count] for rows, count in parts]))


def deal(labels: Ints, hands: int, *, seed: int) -> list[Ints]:
    """Rows of all pictures in so many parts of equal size and equal mix of classes.

    They are dealt like cards, class by class: the only picture of a class goes to any part.
    """
    classes = shuffled(labels, seed)
    order = np.random.default_rng([seed, hands]).permutation(len(classes))
    deck = np.concatenate([classes[label] for label in order])
    return [np.sort(deck[first::hands]) for first in range(hands)]
