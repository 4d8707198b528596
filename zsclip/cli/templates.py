"""`zsclip templates`: the template sets, or the templates of one."""

from __future__ import annotations

from typing import Annotated

import typer

from zsclip import console, tables
from zsclip.cli import options


def templates(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE", help="Print the templates of one set."),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """List the prompt template sets, or print one.

    Example: zsclip templates imagenet7
    """
    from zsclip.prompts import load_templates, template_names
    from zsclip.writers import dumps

    sets = [load_templates(each) for each in ([name] if name else template_names())]
    if as_json:
        for each in sets:
            row = {"name": each.name, "description": each.description, "templates": each.templates}
            console.line(dumps(row))
    elif name:
        for template in sets[0].templates:
            console.line(template)
    else:
        rows = [(each.name, str(len(each.templates)), each.description) for each in sets]
        tables.plain_table(rows, header=("name", "templates", "what for"))
    return 0
