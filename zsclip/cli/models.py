"""`zsclip models`: what can be named, what goes into its results, and what is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console, tables
from zsclip.cli import model_files, model_options, options
from zsclip.cli.model_files import size_text
from zsclip.errors import UsageError

if TYPE_CHECKING:
    from zsclip.hub import CachedRepository
    from zsclip.models import ModelSource

app = typer.Typer()

Everything = Annotated[bool, typer.Option("--all", "-a", help="Also every ARCH:TAG of open_clip.")]


@app.callback(invoke_without_command=True)
def models(
    ctx: typer.Context,
    everything: Everything = False,
    as_json: options.AsJson = False,
) -> int:
    """List models, show what goes into their results, fetch and delete their weights.

    Example: zsclip models
    """
    if ctx.invoked_subcommand is None:
        return _list(everything, as_json)
    if everything or as_json:
        raise UsageError(f"options of {ctx.invoked_subcommand!r} go behind it")
    return 0


@app.command("list")
def list_models(
    everything: Everything = False,
    cached: Annotated[
        bool, typer.Option("--cached", help="Only what is in the hub's cache on this machine.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """List models with published ImageNet accuracy, cost and licence.

    Example: zsclip models list --cached
    """
    return _list_cached(as_json) if cached else _list(everything, as_json)


@app.command()
def show(
    name: model_options.KnownModel,
    weights: model_options.Weights = None,
    tag: model_options.Tag = None,
    revision: model_options.Revision = None,
    cache_dir: options.CacheDir = None,
    as_json: options.AsJson = False,
) -> int:
    """Show everything that goes into a model's results.

    Example: zsclip models show ViT-B/32
    """
    from zsclip.cache import default_folder
    from zsclip.cli.model_facts import facts_of
    from zsclip.models import resolve
    from zsclip.writers import dumps

    source = resolve(name, weights_file=weights, tag=tag)
    facts = facts_of(source, revision=revision, folder=cache_dir or default_folder())
    if as_json:
        console.line(dumps(facts))
        return 0
    for key, value in facts.items():
        if value is not None:
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            console.line(console.printable(f"{key:18}{shown}"))
    return 0


for command in (model_files.pull, model_files.compile, model_files.where, model_files.rm):
    app.command()(command)


def _list(everything: bool, as_json: bool) -> int:
    from zsclip.models import catalogue, open_clip_tags, resolve
    from zsclip.weights import find
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
                "local": find(resolve(name)) is not None,
                "description": entry.get("description"),
            }
        )
    if as_json:
        for row in rows:
            console.line(dumps(row))
        return 0
    tables.plain_table(
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


def _list_cached(as_json: bool) -> int:
    from zsclip import hub
    from zsclip.models import model_names, resolve
    from zsclip.writers import dumps

    sources = [resolve(name) for name in model_names()]
    rows = [(names, found) for found in hub.repositories() if (names := _names_of(found, sources))]
    for names, found in rows if as_json else ():
        row = {
            "names": names,
            "repository": found.name,
            "size_bytes": found.size_bytes,
            "revisions": list(found.commits),
            "folder": str(found.folder),
        }
        console.line(dumps(row))
    if rows and not as_json:
        cells = []
        for names, found in rows:
            commits = " ".join(commit[:12] for commit in found.commits)
            cells.append((names[0], found.name, size_text(found.size_bytes), commits))
        tables.plain_table(cells, header=("name", "repository", "size", "revision"))
    if not rows:
        console.say("no models are in the hub's cache")
    return 0


def _names_of(found: CachedRepository, sources: Sequence[ModelSource]) -> list[str]:
    """What a repository of the cache can be called here; empty where it holds no weights."""
    from zsclip.models import CONFIG_NAME
    from zsclip.weights import PICKLE_NAME, WEIGHTS_NAME, names_in_repository

    names = [
        source.name
        for source in sources
        if source.repo == found.name and found.files & set(names_in_repository(source))
    ]
    if not names and CONFIG_NAME in found.files and found.files & {WEIGHTS_NAME, PICKLE_NAME}:
        names = [f"hf-hub:{found.name}"]
    return names


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
