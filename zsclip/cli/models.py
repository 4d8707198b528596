"""`zsclip models`: what can be named, how good it is, and what is on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from zsclip import console
from zsclip.cli import options


def models(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also every ARCH:TAG of open_clip.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """List models with published ImageNet accuracy, cost and licence.

    Example: zsclip models
    """
    from zsclip.models import catalogue, open_clip_tags, resolve
    from zsclip.weights import is_local
    from zsclip.writers import dumps

    facts = {name: entry for group in catalogue().values() for name, entry in group.items()}
    names = [*facts, *(open_clip_tags() if everything else ())]
    rows = []
    for name in names:
        entry = facts.get(name, {})
        rows.append(
            {
                "name": name,
                "open_clip": entry.get("open_clip", "" if name in facts else name),
                "imagenet_top1": _number(entry.get("imagenet_top1")),
                "params_m": _number(entry.get("params_m")),
                "gflops": _number(entry.get("gflops")),
                "licence": entry.get("licence"),
                "local": is_local(resolve(name)),
                "description": entry.get("description"),
            }
        )
    if as_json:
        for row in rows:
            console.line(dumps(row))
        return 0
    console.plain_table(
        [tuple(_cell(row[key]) for key in _COLUMNS) for row in rows],
        header=tuple(_COLUMNS.values()),
    )
    console.say(
        "ImageNet %: published zero-shot top-1; GFLOPs: image tower, one picture; "
        "tiny knows drawings, not photos"
    )
    return 0


_COLUMNS = {
    "name": "name",
    "open_clip": "open_clip name",
    "imagenet_top1": "ImageNet %",
    "params_m": "params M",
    "gflops": "GFLOPs",
    "licence": "licence",
    "local": "here",
}


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
