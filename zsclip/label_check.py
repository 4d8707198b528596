"""What is probably wrong with labels, as far as their words alone tell.

What a model makes of them is for `label_meaning`. Knows nothing about models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from zsclip import plain_yaml
from zsclip.data_files import prompts_folder
from zsclip.labels import ClassLabel
from zsclip.plain_text import quoted

Kind = Literal[
    "article",
    "underscore",
    "ambiguous",
    "same_word",
    "braces",
    "long",
    "near_duplicate",
    "disagreeing_prompts",
]

_ARTICLES = ("a ", "an ", "the ")
_HOLE = re.compile(r"\{[^{}]*\}")
_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_SENSES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is probably wrong with a label.

    Attributes:
        where: the place that the label came from.
        message: what is found; `suggestion` is what to do about it, a line each.
        other: the label that it is too near to, or the same word as.
        value: the cosine, number of tokens, or mean cosine of the prompts that was measured.
        limit: what it was compared with.
    """

    label: str
    where: str
    kind: Kind
    message: str
    suggestion: str
    other: str | None = None
    value: float | None = None
    limit: float | None = None


def check_words(labels: Sequence[ClassLabel]) -> list[Finding]:
    """What can be told without a model, in the order of the labels."""
    senses = ambiguous_words()
    firsts: dict[str, ClassLabel] = {}
    found: list[Finding] = []
    for label in labels:
        found += _spellings(label)
        found += _senses(label, senses)
        found += _same_word(label, firsts)
    return found


def ambiguous_words() -> Mapping[str, Sequence[str]]:
    """Words that stand for several things that a picture may show, and those things."""
    content = plain_yaml.load(prompts_folder() / "labels" / "ambiguous.yaml")
    senses: dict[str, list[str]] = content["senses"]
    return senses


def _spellings(label: ClassLabel) -> Iterator[Finding]:
    for name in label.names or ():
        if name.casefold().startswith(_ARTICLES):
            rest = name.partition(" ")[2]
            yield Finding(
                label.label,
                label.where,
                "article",
                f"name {quoted(name)} begins with an article, as most templates do",
                f"write {quoted(rest)}, or use --templates none",
            )
        if "_" in name:
            yield Finding(
                label.label,
                label.where,
                "underscore",
                f"name {quoted(name)} has an underscore, which captions do not have",
                f"write {quoted(name.replace('_', ' ').strip())}",
            )
    for prompt in label.prompts:
        if _HOLE.search(prompt):
            yield Finding(
                label.label,
                label.where,
                "braces",
                f"prompt {quoted(prompt)} has braces, and is read by the model as it stands",
                "write the name in their place, or make it a template: --template TEXT",
            )


def _senses(label: ClassLabel, senses: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """A class of one bare word with several senses: other names, a context or prompts settle it."""
    if len(label.spoken) != 1 or label.prompts or label.context:
        return
    word = label.spoken[0]
    known = senses.get(word.casefold())
    if known:
        shown = known[:_SENSES_SHOWN]
        yield Finding(
            label.label,
            label.where,
            "ambiguous",
            f"{quoted(word)} may be {', or '.join(shown)}",
            f"say which: {quoted(f'{word}, {shown[0]}')}, or context: {shown[0]}",
        )


def _same_word(label: ClassLabel, firsts: dict[str, ClassLabel]) -> Iterator[Finding]:
    """A label that differs from an earlier one in case, number, hyphens or blanks only."""
    first = firsts.setdefault(word_of(label), label)
    if first is not label:
        yield Finding(
            label.label,
            label.where,
            "same_word",
            f"{quoted(label.label)} is {quoted(first.label)} in another spelling or number",
            "leave one of them out, or make them names of one class",
            other=first.label,
        )


def word_of(label: ClassLabel) -> str:
    """The same text for a name in any case and number, roughly; for comparing, not for reading."""
    name = label.spoken[0] if label.spoken else label.label
    words = _BETWEEN_WORDS.sub(" ", name.casefold()).strip()
    for plural, singular in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x")):
        if words.endswith(plural):
            return words.removesuffix(plural) + singular
    return words.removesuffix("s") if not words.endswith("ss") else words
