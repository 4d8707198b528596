"""`zsclip cache`: where text embeddings and compiled models are kept, and what is in there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console
from zsclip.cli import options

if TYPE_CHECKING:
    from zsclip.cache import TextCache

app = typer.Typer(help="Where text embeddings and compiled models are kept: show, check, clear.")


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
    """Show the size of the cache, its classes per model, and compiled models.

    Example: zsclip cache info
    """
    from zsclip.engines import compiled
    from zsclip.writers import dumps

    found = _open(cache_dir).info()
    models = compiled.stored(found.path.parent)
    if as_json:
        row = {
            "path": str(found.path),
            "size_bytes": found.size_bytes,
            "classes": found.classes,
            "compiled": [
                {"model": about.model, "path": str(folder), "size_bytes": about.size_bytes}
                for folder, about in models.items()
            ],
        }
        console.line(dumps(row))
        return 0
    console.line(f"{found.path}: {found.size_bytes:,} bytes")
    rows = [(model, f"{count:,}") for model, count in found.classes.items()]
    console.plain_table(rows, header=("model", "classes"))
    for folder, about in models.items():
        console.line(f"{folder}: {about.size_bytes:,} bytes, compiled {about.model}")
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
    """Check every row and compiled model; list what is broken and exit 1 if there is any.

    Example: zsclip cache verify
    """
    from zsclip.engines import compiled

    cache = _open(cache_dir)
    assert cache.path is not None
    broken = cache.verify()
    for row in broken:
        console.line(console.printable(row))
    if model is not None:
        from zsclip.cli.request import say_preparing
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
            preparing=say_preparing,
        )
        if not probe_agrees(loaded):
            console.say(f"{model} encodes text differently from when the cache was filled")
            return 1
    console.say(f"{len(broken):,} broken rows")
    files = compiled.verify(cache.path.parent)
    for file in files:
        console.line(console.printable(file))
    if files:
        console.say(f"{len(files):,} broken files of compiled models")
    return 1 if broken or files else 0


@app.command()
def prune(
    cache_dir: options.CacheDir = None,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Age of rows to delete.")
    ] = 90,
) -> int:
    """Delete old and broken rows; compiled models stay.

    Example: zsclip cache prune --older-than 30
    """
    deleted = _open(cache_dir).prune(older_than_days=older_than)
    console.say(f"{deleted:,} rows deleted")
    return 0


@app.command()
def clear(cache_dir: options.CacheDir = None) -> int:
    """Delete the cache file and compiled models.

    Example: zsclip cache clear
    """
    from zsclip.engines import compiled

    cache = _open(cache_dir)
    cache.clear()
    assert cache.path is not None
    compiled.clear(cache.path.parent)
    return 0
