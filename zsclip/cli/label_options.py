"""Options that say which labels, and in which prompts they are put."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from zsclip.cli.options import complete_datasets, complete_templates
from zsclip.errors import UsageError

_LABELS = "Labels (one of)"
_PROMPTS = "Prompts"

Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        "-l",
        metavar="A,B,...",
        help="Class names, split at commas; repeatable.",
        rich_help_panel=_LABELS,
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="TEXT",
        help="One class name as it stands, commas and all; repeatable.",
        rich_help_panel=_LABELS,
    ),
]
LabelsFile = Annotated[
    list[str] | None,
    typer.Option(
        "--labels-file",
        "-L",
        metavar="FILE",
        help="Class names: one a line, or .yaml, .csv or .tsv with synonyms, context, groups, ...; "
        "repeatable.",
        rich_help_panel=_LABELS,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Of the labels file, if not UTF-8: latin-1, cp1252, utf-16, ...",
        rich_help_panel=_LABELS,
    ),
]
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="The class names of a known data set (see 'zsclip datasets').",
        rich_help_panel=_LABELS,
        autocompletion=complete_datasets,
    ),
]
Templates = Annotated[
    str | None,
    typer.Option(
        "--templates",
        "-t",
        metavar="NAME|FILE|dataset",
        help="A template set (see 'zsclip templates'), a file, or the data set's own. "
        "The 80 of the CLIP paper unless given.",
        rich_help_panel=_PROMPTS,
        autocompletion=complete_templates,
    ),
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        metavar="TEXT",
        help="A template, like 'a photo of a {}.'; repeatable, adds to --templates.",
        rich_help_panel=_PROMPTS,
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="WORD",
        help="Append ', a type of WORD' to each prompt (for fine-grained classes).",
        rich_help_panel=_PROMPTS,
    ),
]
Truncate = Annotated[
    bool,
    typer.Option(
        "--truncate",
        help="Cut prompts that are too long for the model instead of refusing them.",
        rich_help_panel=_PROMPTS,
    ),
]
HeadFile = Annotated[
    Path | None,
    typer.Option(
        "--head",
        metavar="FILE",
        help="A head made by 'zsclip build-head -o FILE'.",
        rich_help_panel=_LABELS,
    ),
]


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """Labels as they are typed."""

    labels: Labels = None
    label: Label = None
    labels_file: LabelsFile = None
    encoding: Encoding = None
    dataset: DatasetName = None

    def typed(self) -> dict[str, list[str]]:
        """What each option that repeats was given, by its name in the command."""
        return {
            "labels": self.labels or [],
            "label": self.label or [],
            "labels_file": self.labels_file or [],
        }


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Prompts as they are typed."""

    templates: Templates = None
    template: Template = None
    kind: Kind = None


def check_head(head: Path | None, labels: LabelOptions, prompts: PromptOptions) -> None:
    """Refuse a head together with what it brings itself.

    Raises:
        UsageError: labels or templates are named, too.
    """
    if head is None:
        return
    if any(labels.typed().values()) or labels.dataset or labels.encoding is not None:
        raise UsageError("--head brings its own labels; leave out --labels and --dataset")
    if prompts.templates or prompts.template or prompts.kind:
        raise UsageError("--head brings its own templates; leave out --templates")
