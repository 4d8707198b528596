"""Mutants without coverage: flip, overwrite, cut, repeat, splice.

What had a new outcome is mutated again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
_MOST_CHANGES = 4


class Mutator:
    """Changes known inputs at random, the same way for the same seed."""

    def __init__(
        self, known: Sequence[bytes], words: Sequence[bytes], *, largest_bytes: int, seed: int
    ) -> None:
        self._known = list(known)
        self._words = words
        self._largest = largest_bytes
        self._random = random.Random(seed)
        self._changes: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._overwrite,
            self._insert_word,
            self._delete,
            self._repeat,
            self._cut,
            self._splice,
        )

    def keep(self, content: bytes) -> None:
        """Mutate this one, too."""
        self._known.append(content)

    def mutant(self) -> bytes:
        """A known input with one to four changes."""
        content = bytearray(self._random.choice(self._known))
        for _ in range(self._random.randint(1, _MOST_CHANGES)):
            self._random.choice(self._changes)(content)
        return bytes(content[: self._largest])

    def _span(self, content: bytearray) -> tuple[int, int]:
        """Two places; most spans are short."""
        start = self._random.randrange(len(content) + 1)
        return start, min(len(content), start + 2 ** self._random.randrange(10))

    def _flip(self, content: bytearray) -> None:
        if content:
            content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)

    def _overwrite(self, content: bytearray) -> None:
        size = self._random.choice((1, 2, 4))
        number = self._random.choice(_NUMBERS) % 256**size
        start = self._random.randrange(len(content) + 1)
        order = self._random.choice(("little", "big"))
        content[start : start + size] = number.to_bytes(size, order)

    def _insert_word(self, content: bytearray) -> None:
        start = self._random.randrange(len(content) + 1)
        content[start:start] = self._random.choice(self._words)

    def _delete(self, content: bytearray) -> None:
        start, end = self._span(content)
        del content[start:end]

    def _repeat(self, content: bytearray) -> None:
        start, end = self._span(content)
        content[start:start] = content[start:end] * self._random.choice((1, 2, 50))

    def _cut(self, content: bytearray) -> None:
        del content[self._random.randrange(len(content) + 1) :]

    def _splice(self, content: bytearray) -> None:
        other = bytearray(self._random.choice(self._known))
        start, end = self._span(other)
        place, _ = self._span(content)
        content[place:place] = other[start:end]
