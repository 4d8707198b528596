"""Names of other things, which compete with the labels of a head.

Packaged names are encoded as labels are, by way of the text cache; those that a label of the head
may mean as well are left out. NegLabel (arXiv 2403.20078), with repairs like those of NegRefine
(arXiv 2507.09795); `scoring` says what is made of them, docs/scores.md what they are worth.
Knows nothing about pictures.
Shapes: C labels, N names, D feature size.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsclip.data_files import prompts_folder
from zsclip.encoders import Model
from zsclip.errors import UsageError
from zsclip.head_builder import build
from zsclip.heads import Head, Provenance
from zsclip.labels import Label, check
from zsclip.prompts import TemplateSet

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

OTHER = "other"
OTHER_BELOW = 0.5
MOST_TEMPLATES = 8
"""Of the head's, evenly spread. One alone would not do: an average of several prompts is longer in
the direction that they share, and so nearer to every picture than a single prompt is."""
FEWEST_NAMES = 100
"""Names that stay, if words allow, however near to labels they are."""
_ALIKE = 0.9999
"""The cosine of names that the model cannot tell apart; they count once."""
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Name:
    """A name and the wider words that it falls under."""

    text: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """What competes with a head's labels: names, and weight (N, D) float32 of unit length."""

    names: tuple[str, ...]
    weight: Floats

    @property
    def digest(self) -> str:
        """sha256 of all of it, hexadecimal."""
        content = "\n".join(self.names).encode() + self.weight.astype("<f4").tobytes()
        return hashlib.sha256(content).hexdigest()


def check_options(
    other: bool | str, other_below: float, *, multi_label: bool, scores: str | None, group: bool
) -> None:
    """Refuse ways of answering that contradict each other, before there is a model.

    Raises:
        UsageError: names both, as the command line does; or a name or limit that cannot be used.
    """
    if isinstance(other, str):
        check(Label(other, "--other-name"))
    if not 0 <= other_below <= 1:
        raise UsageError(f"--other-below {other_below:g} is not between 0 and 1")
    if other and scores == "cosine":
        raise UsageError(
            "--other weighs labels against other names, and --scores cosine weighs nothing",
            tip="leave out one of them; --min-cosine X is a threshold for cosines",
        )
    if multi_label and other:
        raise UsageError("--multi-label says none by having no labels; leave out --other")
    if multi_label and (group or scores in ("softmax", "cosine")):
        option = "--group" if group else f"--scores {scores}"
        raise UsageError(f"--multi-label judges each label by itself; leave out {option}")


@functools.cache
def read_names() -> tuple[Name, ...]:
    """The packaged names: a line with a colon at its end has the kinds of those that follow."""
    names: list[Name] = []
    kinds: tuple[str, ...] = ()
    text = (prompts_folder() / "labels" / "background.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.endswith(":"):
            kinds = tuple(kind.strip() for kind in line.removesuffix(":").split(","))
        elif line:
            names.append(Name(line, kinds))
    return tuple(names)


def open_background(
    head: Head, *, model: Model, on_progress: Callable[[int, int], None] | None = None
) -> Background:
    """The background of a head, of the cache or encoded.

    Args:
        on_progress: called with (names done, names to encode).

    Raises:
        UsageError: the head was not made from words, or its labels leave no name.
    """
    if head.kind != "words":
        raise UsageError(
            "a head from labelled pictures has no words that other names could compete with",
            tip="leave out --other and --multi-label",
        )
    names = read_names()
    built = build(
        [(name.text,) for name in names],
        model=model,
        templates=_a_few(head.provenance),
        truncate=True,
        on_progress=on_progress,
    )
    weight = built.head.weight  # (N, D)
    free = ~means_a_label(names, head.class_names)
    kept = np.flatnonzero(apart(weight, head.weight, free=free))
    if not len(kept):
        raise UsageError("the labels leave no other names in the background to compete with them")
    return Background(tuple(names[i].text for i in kept), weight[kept])


def _a_few(made: Provenance) -> TemplateSet:
    templates = made.templates or ("{}",)  # a head from elsewhere may name none
    step = -(-len(templates) // MOST_TEMPLATES)
    return TemplateSet(f"some of {made.templates_name}", templates[::step])


def means_a_label(names: Sequence[Name], labels: Iterable[str]) -> Bools:
    """Whether each name, (N,), has the words of a label, or a label those of it or of its kind.

    Whole words, in order, whether one or many: `hot dogs` has those of `dog`.
    """
    whole = {words(label) for label in labels}
    spoken = [[words(text) for text in (name.text, *name.kinds)] for name in names]
    longest = max(len(text) for texts in spoken for text in texts)
    parts = {part for label in whole for part in runs(label, longest)}
    return np.array(
        [
            not parts.isdisjoint(texts) or not whole.isdisjoint(runs(texts[0], longest))
            for texts in spoken
        ]
    )


def apart(weight: Floats, labels: Floats, *, free: Bools) -> Bools:
    """Which names, (N,), to keep: those that are no nearer to a label than names are to another.

    That is, than half of the names are to the nearest one: near names of the list mean different
    things, and what is nearer is likely to mean the same. No threshold holds for all models.

    Args:
        weight: (N, D) of all names.
        labels: (C, D).
        free: (N,) the names that words leave.
    """
    alike = weight @ weight.T  # (N, N)
    told_apart = ~np.triu(alike > _ALIKE, 1).any(axis=0)
    np.fill_diagonal(alike, -1)
    usual = np.median(alike[np.ix_(told_apart, told_apart)].max(axis=1))
    to_label = np.where(free & told_apart, (weight @ labels.T).max(axis=1), np.inf)
    farthest = np.sort(to_label[np.isfinite(to_label)])[:FEWEST_NAMES]
    limit = max(usual, farthest.max(initial=-np.inf))
    kept: Bools = to_label <= limit
    return kept


def words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case, each as if it were one of its kind."""
    return tuple(_singular(word) for word in _WORD.findall(text.lower()))


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word.removesuffix("ies") + "y"
    if len(word) > 4 and word.endswith(("ses", "xes", "ches", "shes")):
        return word.removesuffix("es")
    is_one = len(word) < 4 or word.endswith(("ss", "us", "is"))
    return word if is_one else word.removesuffix("s")


def runs(text: tuple[str, ...], longest: int) -> Iterator[tuple[str, ...]]:
    """Every run of words in a text, up to a length."""
    for start in range(len(text)):
        for end in range(start + 1, min(len(text), start + longest) + 1):
            yield text[start:end]
