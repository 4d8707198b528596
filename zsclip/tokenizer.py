"""CLIP's byte-pair tokenizer without torch, and how text is cleaned before any tokenizer.

Equal to `open_clip.SimpleTokenizer` (the test holds them equal), with two differences: text that
does not fit is refused instead of cut silently, and so are CLIP's own special tokens inside it.
The vocabulary is the file that the open_clip wheel carries. Other vocabularies: `hf_tokenizer.py`.

Shapes: P prompts, L context length.
"""

from __future__ import annotations

import functools
import gzip
import html
import string
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zsclip.data_files import open_clip_folder
from zsclip.errors import ModelError, TextError

N_MERGES = 49152 - 256 - 2
_VOCABULARY_BYTES = 1 << 20
_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_SPECIAL = ("<start_of_text>", "<end_of_text>")
_CLEANINGS = ("lower", "whitespace", "canonicalize")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Tokenizer(Protocol):
    """Turns texts into token numbers."""

    context_length: int

    def __call__(self, texts: Sequence[str], *, truncate: bool = False) -> npt.NDArray[np.int64]:
        """Tokens (P, L), padded as the model was trained.

        Raises:
            TextError: a text that is too long (unless `truncate`), or has a special token.
        """


@functools.cache
def _byte_alphabet() -> dict[int, str]:
    """A printable character for each byte value, in the order of GPT-2's byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in alphabet)
    alphabet.update({byte: chr(256 + i) for i, byte in enumerate(others)})
    return alphabet


@functools.cache
def _vocabulary() -> tuple[dict[str, int], dict[str, int]]:
    """(token -> number, merge -> rank); a merge is two tokens with a space between."""
    path = open_clip_folder() / "bpe_simple_vocab_16e6.txt.gz"
    with gzip.open(path) as file:  # it goes on with merges for others
        text = file.read(_VOCABULARY_BYTES).decode("utf-8", errors="ignore")
    merges = text.split("\n", N_MERGES + 1)[1:-1]
    singles = _byte_alphabet().values()  # in this order, printable ones first
    merged = (merge.replace(" ", "", 1) for merge in merges)
    tokens = [*singles, *(s + "</w>" for s in singles), *merged, *_SPECIAL]
    return _numbered(tokens), _numbered(merges)


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return dict(zip(tokens, range(len(tokens)), strict=True))


def clean(text: str, how: str) -> str:
    """Repair mojibake and HTML entities, then spaces, case and punctuation as open_clip does.

    Args:
        how: `lower` (CLIP), `whitespace` (case stays) or `canonicalize` (SigLIP: lower case
            without punctuation, from big_vision's prompt_engineering.py).
    """
    if "&" in text or not (text.isascii() and text.isprintable()):  # else both change nothing
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    if how == "canonicalize":
        text = text.replace("_", " ").translate(_NO_PUNCTUATION)
    text = " ".join(text.split())
    return text if how == "whitespace" else text.lower()


def check_options(options: Mapping[str, Any], *known: str) -> None:
    """Refuse a `tokenizer_kwargs` of a model's configuration that would not be followed.

    Raises:
        ModelError: an option that is not in `known`, or an unknown way of cleaning.
    """
    for name, value in options.items():
        if name not in known or (name == "clean" and value not in _CLEANINGS):
            raise ModelError(f"the tokenizer option {name!r}: {value!r} is not supported")


class ClipTokenizer:
    """CLIP's BPE (49,408 tokens), padded with zeros to `context_length`."""

    def __init__(self, context_length: int = 77, *, clean: str = "lower") -> None:
        self.context_length = context_length
        self._cleaning = clean
        self._numbers, self._ranks = _vocabulary()
        import regex

        self._pattern = regex.compile("|".join((*_SPECIAL, _WORDS)), regex.IGNORECASE)
        self._start, self._end = (self._numbers[token] for token in _SPECIAL)
        self._known: dict[str, list[int]] = {}  # numbers of all that stands between two spaces

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text, without start and end of text."""
        numbers: list[int] = []
        for chunk in clean(text, self._cleaning).split(" "):  # no token goes across a space
            known = self._known.get(chunk)
            if known is None:
                words = self._pattern.findall(chunk)
                known = [number for word in words for number in self._bpe(word)]
                self._known[chunk] = known
            numbers += known
        return numbers

    def _bpe(self, word: str) -> list[int]:
        if word in _SPECIAL:
            return [self._numbers[word]]
        parts = [_byte_alphabet()[byte] for byte in word.encode("utf-8")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            best = min(pairwise(parts), key=self._rank)
            if " ".join(best) not in self._ranks:
                break
            parts = _merge(parts, best)
        return [self._numbers[part] for part in parts]

    def _rank(self, pair: tuple[str, str]) -> float:
        return self._ranks.get(" ".join(pair), float("inf"))

    def __call__(self, texts: Sequence[str], *, truncate: bool = False) -> npt.NDArray[np.int64]:
        tokens = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, text in enumerate(texts):
            encoded = self.encode(text)
            if self._start in encoded or self._end in encoded:
                raise TextError(row, "has one of CLIP's special tokens inside")
            numbers = [self._start, *encoded, self._end]
            if len(numbers) > self.context_length:
                if not truncate:
                    raise TextError(row, f"has {len(numbers)} > {self.context_length} tokens")
                numbers = [*numbers[: self.context_length - 1], self._end]
            tokens[row, : len(numbers)] = numbers
        return tokens


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            merged.append(parts[i] + parts[i + 1])
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return merged
