"""`zsclip datasets`: the known data sets, or the class names of one."""

from __future__ import annotations

from typing import Annotated

import typer

from zsclip import console
from zsclip.cli import options


def datasets(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print the class names of one.")
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """List the data sets whose class names and templates zsclip knows, or print one.

    Example: zsclip datasets cifar10
    """
    from zsclip.datasets import dataset_names, load_dataset
    from zsclip.writers import dumps

    found = [load_dataset(each) for each in ([name] if name else dataset_names())]
    if as_json:
        for each in found:
            row = {
                "name": each.name,
                "title": each.title,
                "class_names": each.class_names,
                "templates": each.templates.templates,
                **each.facts,
            }
            console.line(dumps(row))
    elif name:
        for names in found[0].class_names:
            console.line(" / ".join(names))
    else:
        rows = [
            (
                each.name,
                str(len(each.class_names)),
                str(len(each.templates.templates)),
                str(each.facts.get("metric", "")),
                each.title,
            )
            for each in found
        ]
        console.plain_table(rows, header=("name", "classes", "templates", "metric", "title"))
    return 0
