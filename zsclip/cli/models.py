"""`zsclip models`: what can be named, what goes into its results, and what is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console
from zsclip.cli import options
from zsclip.errors import ModelError, NotFetchedError, UsageError

if TYPE_CHECKING:
    from zsclip.hub import CachedRepository
    from zsclip.models import ModelSource
    from zsclip.weights import LocalModel

app = typer.Typer()

Everything = Annotated[bool, typer.Option("--all", "-a", help="Also every ARCH:TAG of open_clip.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name, as for --model of classify.",
        autocompletion=options.complete_models,
    ),
]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Names, as for --model of classify.",
        autocompletion=options.complete_models,
    ),
]


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
    name: Name,
    weights: options.Weights = None,
    tag: options.Tag = None,
    revision: options.Revision = None,
    as_json: options.AsJson = False,
) -> int:
    """Show everything that goes into a model's results.

    Example: zsclip models show ViT-B/32
    """
    from zsclip.cli.model_facts import facts_of
    from zsclip.models import resolve
    from zsclip.writers import dumps

    facts = facts_of(resolve(name, weights_file=weights, tag=tag), revision=revision)
    if as_json:
        console.line(dumps(facts))
        return 0
    for key, value in facts.items():
        if value is not None:
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            console.line(console.printable(f"{key:18}{shown}"))
    return 0


@app.command()
def pull(
    names: Names,
    revision: options.Revision = None,
    sha256: options.Sha256 = None,
    allow_pickle: options.AllowPickle = False,
) -> int:
    """Fetch models into the hub's cache, and print where their weights are.

    Example: zsclip models pull default fast
    """
    from zsclip.loading import load_model
    from zsclip.models import resolve

    if len(names) > 1 and (revision or sha256):
        raise UsageError("--revision and --sha256 go with one model at a time")
    for name in names:  # before any work
        resolve(name)
    failed = False
    for name in names:
        try:
            model = load_model(name, revision=revision, sha256=sha256, allow_pickle=allow_pickle)
            _fetch_rest(model.local)
        except ModelError as error:
            console.error(error)
            failed = True
        else:
            console.line(str(model.local.weights))
    return ModelError.exit_code if failed else 0


def _fetch_rest(model: LocalModel) -> None:
    """Fetch what a model needs beside its weights; builds nothing."""
    from zsclip import hf_tokenizer
    from zsclip.engines import torch_model
    from zsclip.models import CLIP_BPE

    if model.config.tokenizer != CLIP_BPE:
        hf_tokenizer.find(model)
    torch_model.text_tower_folder(model)


@app.command()
def where(
    name: Name, revision: options.Revision = None, allow_pickle: options.AllowPickle = False
) -> int:
    """Print the path of a model's weights; exit 4 if they are not on this machine.

    Example: zsclip models where default
    """
    from zsclip.models import resolve
    from zsclip.weights import find

    path = find(resolve(name), revision=revision, allow_pickle=allow_pickle)
    if path is None:
        raise NotFetchedError(
            f"model {name} is not on this machine", tip=f"zsclip models pull {name}"
        )
    console.line(str(path))
    return 0


@app.command()
def rm(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Delete a model's repository from the hub's cache, all its revisions.

    Example: zsclip models rm fast --yes
    """
    from zsclip import hub
    from zsclip.models import resolve

    source = resolve(name)
    if source.repo is None:
        raise UsageError(
            f"{name} is not in the hub's cache, and nothing else is ever deleted",
            tip="'zsclip models list --cached' lists what can be deleted",
        )
    found = next((r for r in hub.repositories() if r.name == source.repo), None)
    if found is None:
        raise ModelError(f"hf-hub:{source.repo} is not in the hub's cache")
    what = f"hf-hub:{found.name} ({_size(found.size_bytes)}, {found.folder})"
    if not yes:
        if not (console.stdin_is_terminal() and console.stderr_is_terminal()):
            raise UsageError("nobody is here to be asked", tip=f"zsclip models rm {name} --yes")
        if not typer.confirm(f"delete {what}?", err=True):
            console.say("nothing is deleted")
            return 0
    hub.remove(found)
    console.say(f"deleted {what}")
    return 0


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
            cells.append((names[0], found.name, _size(found.size_bytes), commits))
        console.plain_table(cells, header=("name", "repository", "size", "revision"))
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


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
