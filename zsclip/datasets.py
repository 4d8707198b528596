"""Known data sets as data: class names, templates, metric, split, published figures.

One YAML file each in `prompts/datasets/` (its README describes the form). Knows nothing about
pictures: readers bring those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zsclip import plain_yaml
from zsclip.data_files import names, prompts_folder
from zsclip.errors import UnknownNameError
from zsclip.prompts import TemplateSet, check_template


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set's classes in the order of its label numbers, and its own templates.

    Attributes:
        class_names: per class its names, the first one is shown; several are averaged.
        facts: everything else the file says (metric, split, licence, published figures, ...).
    """

    name: str
    title: str
    class_names: tuple[tuple[str, ...], ...]
    templates: TemplateSet
    facts: dict[str, Any]


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
    classes, texts = facts.pop("classes"), facts.pop("templates")
    templates = tuple(
        check_template(text, where=f"{path}: template {i}") for i, text in enumerate(texts, 1)
    )
    return DataSet(
        name=facts.pop("name"),
        title=facts.pop("title"),
        class_names=tuple(tuple(c) if isinstance(c, list) else (c,) for c in classes),
        templates=TemplateSet(f"{name}'s own", templates),
        facts=facts,
    )
