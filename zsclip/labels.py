"""Class names and what belongs to them, from options and lists: split, strip, check, drop doubles.

Files that say more than a name a line are read by `label_files`. Knows nothing about models.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zsclip import plain_text, prompts
from zsclip.errors import LabelError, ZsclipWarning
from zsclip.plain_text import BLANKS, MAX_CHARACTERS, quoted
from zsclip.prompts import TemplateSet

_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Label:
    """A text and where it came from, for messages (`animals.txt: line 3`)."""

    name: str
    where: str


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """A class in words: what results call it, and what the model is told of it.

    Attributes:
        label: its name in results.
        names: the names that are put into templates, all averaged; the label unless given. None
            at all leaves the class to its own prompts.
        prompts: whole prompts of its own, averaged with those of its names; taken as they are,
            braces and all.
        context: follows every name in prompts: `crane, a construction machine`.
        group: members' scores are added up where groups are asked for.
        threshold: no answer where this label is the best with a lower score; in [0, 1].
        where: the place it came from, for messages.

    Raises:
        LabelError: neither a name nor a prompt, or a threshold that is none. What its texts hold
            is for `check_class` to say.
    """

    label: str
    names: Sequence[str] | None = None
    prompts: Sequence[str] = ()
    context: str | None = None
    group: str | None = None
    threshold: float | None = None
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        place = f"{self.where}: " if self.where else ""
        names = (self.label,) if self.names is None else self.names
        for what, texts in (("names", names), ("prompts", self.prompts)):
            if isinstance(texts, str):
                raise LabelError(f"{place}{what} is one text, {texts!r}", tip="pass a list")
            object.__setattr__(self, what, tuple(texts))
        if not (self.names or self.prompts):
            raise LabelError(f"{place}label {quoted(self.label)} has neither a name nor a prompt")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise LabelError(
                f"{place}threshold {self.threshold:g} of label {quoted(self.label)} is not "
                "between 0 and 1",
                tip="it is the least score that this label is given for",
            )

    @property
    def spoken(self) -> tuple[str, ...]:
        """The names as they are put into templates, with their context."""
        names = tuple(self.names or ())
        return tuple(f"{name}, {self.context}" for name in names) if self.context else names


def class_label(names: str | Sequence[str] | ClassLabel, *, where: str = "") -> ClassLabel:
    """A class from its names, of which the first one is shown.

    Raises:
        LabelError: there is none.
    """
    if isinstance(names, ClassLabel):
        return names
    if isinstance(names, str):
        return ClassLabel(names, where=where)
    if not names:
        raise LabelError(f"{where or 'labels'}: a class without a name")
    return ClassLabel(names[0], names, where=where)


def prompts_of(label: ClassLabel, templates: TemplateSet) -> list[str]:
    """All prompts of a class: its names in each template, names outermost, then its own."""
    return [*prompts.expand([label.spoken], templates)[0], *label.prompts]


def from_option(text: str) -> list[ClassLabel]:
    """Split `--labels cat,dog` at commas and strip blanks; empty parts are skipped."""
    parts = (part.strip(BLANKS) for part in _as_utf8(text).split(","))
    return [ClassLabel(part, where="--labels") for part in parts if part]


def verbatim(text: str) -> list[ClassLabel]:
    """One label as typed, commas and all (`--label "salt, pepper"`)."""
    return [ClassLabel(_as_utf8(text), where="--label")]


def _as_utf8(text: str) -> str:
    """What was typed: in the C locale Python decodes arguments as ASCII."""
    try:
        return os.fsencode(text).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text


def from_file(path: Path, *, encoding: str = "UTF-8") -> list[ClassLabel]:
    """Read one label a line: a BOM, carriage returns and surrounding blanks are stripped.

    Raises:
        LabelError: the file cannot be read, is not in this encoding, or has no label.
        UsageError: no such encoding.
    """
    lines = read_text(path, encoding=encoding).split("\n")
    names = ((number, line.strip(BLANKS)) for number, line in enumerate(lines, 1))
    labels = [ClassLabel(name, where=f"{path}: line {number}") for number, name in names if name]
    if not labels:
        raise LabelError(f"{path}: no labels")
    return labels


def read_text(path: Path, *, encoding: str) -> str:
    """The text of a labels file.

    Raises:
        LabelError: the file cannot be read, or is not in this encoding.
        UsageError: no such encoding.
    """
    return plain_text.read(
        path,
        encoding=encoding,
        kind=LabelError,
        tip="re-save it as UTF-8, or name its encoding: --encoding latin-1",
    )


def unique(labels: Iterable[ClassLabel]) -> list[ClassLabel]:
    """Classes in order, exact duplicates dropped with one warning; so are names of one class.

    A name of two classes, and a group with one member, get a warning, too.

    Raises:
        LabelError: a text is empty, far too long, or has a control character; two classes have one
            label and are not the same.
    """
    kept: dict[str, ClassLabel] = {}
    dropped: list[str] = []
    repeated: list[str] = []
    for typed in labels:
        check_class(typed)
        label = _with_each_text_once(typed)
        if label != typed:
            repeated.append(f"those of {quoted(label.label)} ({label.where})")
        first = kept.setdefault(label.label, label)
        if first != label:
            raise LabelError(
                f"{label.where}: label {quoted(label.label)} is another class at {first.where}",
                tip="give them different labels, or put all names of a class into one entry",
            )
        if first is not label:
            dropped.append(f"{quoted(label.label)} ({label.where})")
    _warn("duplicate labels dropped", dropped)
    _warn("names or prompts that are there twice count once", repeated)
    _warn("classes share names, which brings them together", _shared_names(kept.values()))
    _warn("groups with one member, perhaps misspelled", _lonely_members(kept.values()))
    return list(kept.values())


def _with_each_text_once(label: ClassLabel) -> ClassLabel:
    """The class without second copies of a name or prompt, which would count twice."""
    names, prompts = label.names or (), label.prompts
    if len(set(names)) == len(names) and len(set(prompts)) == len(prompts):
        return label
    return replace(label, names=tuple(dict.fromkeys(names)), prompts=tuple(dict.fromkeys(prompts)))


def _shared_names(labels: Iterable[ClassLabel]) -> list[str]:
    firsts: dict[str, ClassLabel] = {}
    shared = []
    for label in labels:
        for name in label.spoken:
            first = firsts.setdefault(name, label)
            if first is not label:
                owners = " and ".join(f"{quoted(o.label)} ({o.where})" for o in (first, label))
                shared.append(f"{quoted(name)} is one of {owners}")
    return shared


def _lonely_members(labels: Collection[ClassLabel]) -> list[str]:
    sizes = Counter(label.group for label in labels)
    return [
        f"{quoted(label.group)} has only {quoted(label.label)} ({label.where})"
        for label in labels
        if label.group is not None and sizes[label.group] == 1
    ]


def _warn(what: str, cases: Sequence[str]) -> None:
    """One warning for all cases of a kind, if there are any."""
    if cases:
        more = f" and {len(cases) - _MOST_SHOWN} more" if len(cases) > _MOST_SHOWN else ""
        shown = ", ".join(cases[:_MOST_SHOWN])
        warnings.warn(f"{what}: {shown}{more}", ZsclipWarning, stacklevel=3)


def check(label: Label) -> None:
    """Refuse a label that is empty or far too long, and control characters.

    Raises:
        LabelError: names the label and where it came from.
    """
    _check_text("label", label.name, label.where)


def check_class(label: ClassLabel) -> None:
    """Refuse a class of which a text is empty or far too long, or has control characters.

    Raises:
        LabelError: names the text and where it came from.
    """
    _check_text("label", label.label, label.where)
    for name in label.names or ():
        _check_text("name", name, label.where)
    for prompt in label.prompts:
        _check_text("prompt", prompt, label.where)
    for what, text in (("context", label.context), ("group", label.group)):
        if text is not None:
            _check_text(what, text, label.where)


def _check_text(what: str, text: str, where: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise LabelError(
            f"{where}: {what} {quoted(text)} has {len(text):,} characters, "
            f"more than {MAX_CHARACTERS:,}"
        )
    control = plain_text.control_character(text)
    if control is not None:
        raise LabelError(f"{where}: control character {control!r} in {what} {quoted(text)}")
    if not text.strip():
        raise LabelError(f"{where}: an empty {what}")
