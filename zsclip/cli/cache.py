"""`zsclip cache`: where embeddings and compiled models are kept, and what is in there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console, tables
from zsclip.cli import model_options, options

if TYPE_CHECKING:
    from zsclip.cache import TextCache
    from zsclip.image_cache import ImageCache

app = typer.Typer(help="Where embeddings and compiled models are kept: show, check, clear.")


def _open(cache_dir: Path | None) -> tuple[Path, TextCache, ImageCache]:
    """The cache folder and its files."""
    from zsclip.cache import TextCache, default_folder
    from zsclip.image_cache import ImageCache

    folder = cache_dir or default_folder()
    return folder, TextCache(folder), ImageCache(folder)


@app.command()
def path(
    cache_dir: options.CacheDir = None,
    images: Annotated[
        bool, typer.Option("--images", help="Of image features, not of text embeddings.")
    ] = False,
) -> int:
    """Print the path of the cache file.

    Example: zsclip cache path
    """
    _, text_cache, image_cache = _open(cache_dir)
    console.line(str(image_cache.path if images else text_cache.path))
    return 0


@app.command()
def info(cache_dir: options.CacheDir = None, as_json: options.AsJson = False) -> int:
    """Show the size of the cache, its classes and pictures per model, and compiled models.

    Example: zsclip cache info
    """
    from zsclip.engines import compiled
    from zsclip.writers import dumps

    folder, text_cache, image_cache = _open(cache_dir)
    found, images = text_cache.info(), image_cache.info()
    models = compiled.stored(folder)
    if as_json:
        row = {
            "path": str(found.path),
            "size_bytes": found.size_bytes,
            "classes": found.classes,
            "images": {
                "path": str(images.path),
                "size_bytes": images.size_bytes,
                "pictures": images.pictures,
            },
            "compiled": [
                {"model": about.model, "path": str(place), "size_bytes": about.size_bytes}
                for place, about in models.items()
            ],
        }
        console.line(dumps(row))
        return 0
    console.line(f"{found.path}: {found.size_bytes:,} bytes")
    rows = [(model, f"{count:,}") for model, count in found.classes.items()]
    tables.plain_table(rows, header=("model", "classes"))
    if images.size_bytes:
        console.line(f"{images.path}: {images.size_bytes:,} bytes")
        rows = [(model, f"{count:,}") for model, count in images.pictures.items()]
        tables.plain_table(rows, header=("model", "pictures"))
    for place, about in models.items():
        console.line(f"{place}: {about.size_bytes:,} bytes, compiled {about.model}")
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
    weights: model_options.Weights = None,
    tag: model_options.Tag = None,
    revision: model_options.Revision = None,
    allow_pickle: model_options.AllowPickle = False,
    offline: model_options.Offline = False,
) -> int:
    """Check every row and compiled model; list what is broken and exit 1 if there is any.

    Example: zsclip cache verify
    """
    from zsclip.engines import compiled

    folder, text_cache, image_cache = _open(cache_dir)
    broken = text_cache.verify() + image_cache.verify()
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
    files = compiled.verify(folder)
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
    _, text_cache, image_cache = _open(cache_dir)
    deleted = text_cache.prune(older_than_days=older_than)
    deleted += image_cache.prune(older_than_days=older_than)
    console.say(f"{deleted:,} rows deleted")
    return 0


@app.command()
def clear(cache_dir: options.CacheDir = None) -> int:
    """Delete the cache files and compiled models.

    Example: zsclip cache clear
    """
    from zsclip.engines import compiled

    folder, text_cache, image_cache = _open(cache_dir)
    text_cache.clear()
    image_cache.clear()
    compiled.clear(folder)
    return 0
