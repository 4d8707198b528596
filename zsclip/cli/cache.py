"""`zsclip cache`: where text embeddings are kept, and what is in there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console
from zsclip.cli import options

if TYPE_CHECKING:
    from zsclip.cache import TextCache

app = typer.Typer(help="Where text embeddings are kept: show, check and clear.")


def _open(cache_dir: Path | None) -> TextCache:
    from zsclip.cache import TextCache, default_folder

    return TextCache(cache_dir or default_folder())


@app.command()
def path(cache_dir: options.CacheDir = None) -> int:
    """Print the path of the cache file.

    Example: zsclip cache path
    """
    console.line(str(_open(cache_dir).path))
    return 0


@app.command()
def info(cache_dir: options.CacheDir = None, as_json: options.AsJson = False) -> int:
    """Show the size of the cache and its classes per model.

    Example: zsclip cache info
    """
    from zsclip.writers import dumps

    found = _open(cache_dir).info()
    if as_json:
        row = {"path": str(found.path), "size_bytes": found.size_bytes, "classes": found.classes}
        console.line(dumps(row))
        return 0
    console.line(f"{found.path}: {found.size_bytes:,} bytes")
    rows = [(model, f"{count:,}") for model, count in found.classes.items()]
    console.plain_table(rows, header=("model", "classes"))
    return 0


@app.command()
def verify(
    cache_dir: options.CacheDir = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Also ask this model's text encoder whether it still answers the same.",
        ),
    ] = None,
    weights: options.Weights = None,
    tag: options.Tag = None,
    revision: options.Revision = None,
    allow_pickle: options.AllowPickle = False,
    offline: options.Offline = False,
) -> int:
    """Check every row; list the broken ones and exit 1 if there are any.

    Example: zsclip cache verify
    """
    broken = _open(cache_dir).verify()
    for row in broken:
        console.line(console.printable(row))
    if model is not None:
        from zsclip.head_builder import probe_agrees
        from zsclip.loading import load_model

        loaded = load_model(
            model,
            weights=weights,
            tag=tag,
            revision=revision,
            allow_pickle=allow_pickle,
            offline=offline,
            cache_dir=cache_dir,
        )
        if not probe_agrees(loaded):
            console.say(f"{model} encodes text differently from when the cache was filled")
            return 1
    console.say(f"{len(broken):,} broken rows")
    return 1 if broken else 0


@app.command()
def prune(
    cache_dir: options.CacheDir = None,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Age of rows to delete.")
    ] = 90,
) -> int:
    """Delete old and broken rows.

    Example: zsclip cache prune --older-than 30
    """
    deleted = _open(cache_dir).prune(older_than_days=older_than)
    console.say(f"{deleted:,} rows deleted")
    return 0


@app.command()
def clear(cache_dir: options.CacheDir = None) -> int:
    """Delete the cache file.

    Example: zsclip cache clear
    """
    _open(cache_dir).clear()
    return 0
