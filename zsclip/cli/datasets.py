"""`zsclip datasets`: the known data sets, the class names of one, or all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from zsclip import console, tables
from zsclip.cli import options
from zsclip.errors import UsageError

if TYPE_CHECKING:
    from zsclip.datasets import DataSet

_NAMES = "names"


class _NameOrCommand(TyperGroup):
    """Commands, and `NAME` short for `names NAME`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Put the command in front of what is none."""
        return super().resolve_command(ctx, args if args[0] in self.commands else [_NAMES, *args])


app = typer.Typer(cls=_NameOrCommand)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A known data set.")]


@app.callback(invoke_without_command=True)
def datasets(ctx: typer.Context, as_json: options.AsJson = False) -> int:
    """List the data sets whose class names and templates zsclip knows.

    Example: zsclip datasets
    """
    if ctx.invoked_subcommand is None:
        return _list(as_json)
    if as_json:
        raise UsageError(f"options of {ctx.invoked_subcommand!r} go behind it")
    return 0


@app.command(_NAMES)
def class_names(name: Name, as_json: options.AsJson = False) -> int:
    """Print the class names of one, a line each; `zsclip datasets NAME` is short for it.

    Example: zsclip datasets names cifar10
    """
    from zsclip.datasets import load_dataset

    if as_json:
        return show(name, as_json=True)
    for names in load_dataset(name).class_names:
        console.line(" / ".join(names))
    return 0


@app.command()
def show(name: Name, as_json: options.AsJson = False) -> int:
    """Show all that is known of one: classes, labels, templates, where to get it, figures.

    Example: zsclip datasets show oxford_pets
    """
    from zsclip.datasets import load_dataset
    from zsclip.writers import dumps

    known = load_dataset(name)
    for line in [dumps(_row(known))] if as_json else _shown(known):
        console.line(line)
    return 0


def _list(as_json: bool) -> int:
    from zsclip.datasets import dataset_names, load_dataset
    from zsclip.writers import dumps

    found = [load_dataset(name) for name in dataset_names()]
    if as_json:
        for known in found:
            console.line(dumps(_row(known)))
        return 0
    rows = [
        (
            known.name,
            str(len(known.class_names)),
            str(len(known.templates.templates)),
            str(known.facts["metric"]),
            known.title,
        )
        for known in found
    ]
    tables.plain_table(rows, header=("name", "classes", "templates", "metric", "title"))
    return 0


def _row(known: DataSet) -> dict[str, Any]:
    return {
        "name": known.name,
        "title": known.title,
        "class_names": known.class_names,
        "labels": known.labels,
        "templates": known.templates.templates,
        **known.facts,
    }


_FACTS = ("description", "task", "metric", "order", "licence", "homepage", "citation", "subset_of")


def _shown(known: DataSet) -> Iterator[str]:
    split = known.facts["split"]
    yield _fact("name", known.name)
    yield _fact("title", known.title)
    yield from (_fact(key, known.facts[key]) for key in _FACTS if key in known.facts)
    yield _fact("split", f"{split['name']}, {int(split['size']):,} pictures")
    for place in known.facts.get("archive", ()):
        yield _fact("archive", place["url"])
        if "md5" in place:
            yield _fact("", f"md5 {place['md5']}")
    for table in known.facts.get("published", ()):
        yield from _published(table)
    yield f"\ntemplates ({len(known.templates.templates)})"
    yield from (f"  {template}" for template in known.templates.templates)
    yield f"\nclasses ({len(known.class_names)}), and their labels where they are spelled otherwise"
    for names, label in zip(known.class_names, known.labels, strict=True):
        shown = " / ".join(names)
        yield f"  {shown}" if label == names[0] else f"  {shown:<38}  {label}"


def _fact(key: str, value: str) -> str:
    return f"{key:14}{value}".rstrip()


def _published(table: Mapping[str, Any]) -> Iterator[str]:
    within = f", within {table['tolerance']} points" if "tolerance" in table else ""
    comparable = {"no": "for orientation only"}.get(table["comparable"], table["comparable"])
    yield f"\npublished, in per cent ({comparable}{within}): {table['source']}"
    yield f"  split: {table['split']}; templates: {table['templates']}"
    yield from (f"  {model:38}  {value:>5}" for model, value in table["values"].items())
