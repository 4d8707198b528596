"""Known data sets as data: class names, labels, templates, metric, split, published figures.

One YAML file each in `prompts/datasets/` (its README describes the form). Knows nothing about
pictures: readers bring those.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsclip import plain_yaml
from zsclip.data_files import names, prompts_folder
from zsclip.errors import UnknownNameError
from zsclip.prompts import TemplateSet, check_template, load_templates

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set's classes in a fixed order, and its own templates.

    Attributes:
        class_names: per class its names, the first one is shown; several are averaged.
        facts: everything else the file says (metric, split, licence, published figures, ...).
        labels: per class its label as the data set's own files spell it, by which readers find
            the class: their order may be another one.
    """

    name: str
    title: str
    class_names: tuple[Names, ...]
    templates: TemplateSet
    facts: dict[str, Any]
    labels: Names


def dataset_names() -> list[str]:
    """Names of the data sets that zsclip knows."""
    return names(prompts_folder() / "datasets")


def load_dataset(name: str) -> DataSet:
    """Load a known data set by name.

    Raises:
        UnknownNameError: no data set has this name.
    """
    if name not in dataset_names():
        raise UnknownNameError(
            "data set", name, dataset_names(), tip="'zsclip datasets' lists them all"
        )
    path = prompts_folder() / "datasets" / f"{name}.yaml"
    facts = plain_yaml.load(path)
    whole = load_dataset(facts["subset_of"]) if "subset_of" in facts else None
    class_names = _class_names(facts, whole)
    return DataSet(
        name=facts.pop("name"),
        title=facts.pop("title"),
        class_names=class_names,
        templates=_templates(facts, whole, path),
        labels=_labels(facts, whole, class_names),
        facts=facts,
    )


def _class_names(facts: dict[str, Any], whole: DataSet | None) -> tuple[Names, ...]:
    """The file's own, or those of the classes that it has of a larger data set."""
    if "classes" in facts:
        classes = _entries(facts.pop("classes"))
        return tuple(tuple(c) if isinstance(c, list) else (c,) for c in classes)
    assert whole is not None  # a test loads every file
    if "wnids" not in facts:
        return whole.class_names
    by_label = dict(zip(whole.labels, whole.class_names, strict=True))
    return tuple(by_label[wnid] for wnid in _entries(facts["wnids"]))


def _labels(facts: dict[str, Any], whole: DataSet | None, class_names: tuple[Names, ...]) -> Names:
    if "labels" in facts:
        return tuple(_entries(facts.pop("labels")))
    if whole is not None:
        return tuple(_entries(facts["wnids"])) if "wnids" in facts else whole.labels
    return tuple(first for first, *_ in class_names)


def _templates(facts: dict[str, Any], whole: DataSet | None, path: Path) -> TemplateSet:
    """A list in the file, the name of a set, or those of the larger data set."""
    if "templates" not in facts:
        assert whole is not None
        return whole.templates
    texts = facts.pop("templates")
    if isinstance(texts, str):
        return load_templates(texts)
    checked = (check_template(t, where=f"{path}: template {i}") for i, t in enumerate(texts, 1))
    return TemplateSet(f"{path.stem}'s own", tuple(checked))


def _entries(value: str | list[Any]) -> list[Any]:
    """A list, or text with an entry on each line, which is read much faster."""
    return value.splitlines() if isinstance(value, str) else value
