"""`zsclip models pull|compile|where|rm`: the files of models, in the hub's cache and in ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console
from zsclip.cli import model_options, options
from zsclip.errors import ModelError, NotFetchedError, UsageError

if TYPE_CHECKING:
    from zsclip.encoders import Model
    from zsclip.weights import LocalModel


def pull(
    names: model_options.KnownModels,
    revision: model_options.Revision = None,
    sha256: model_options.Sha256 = None,
    allow_pickle: model_options.AllowPickle = False,
    engine: model_options.Engine = "auto",
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
) -> int:
    """Fetch models into the hub's cache, compile them, and print where their weights are.

    Example: zsclip models pull default fast
    """
    _refuse_pins_of_several(names, revision, sha256)

    def work(name: str) -> Path:
        model = _compiled(
            name,
            revision=revision,
            sha256=sha256,
            allow_pickle=allow_pickle,
            engine=engine,
            cache_dir=cache_dir,
            quiet=quiet,
        )
        return model.local.weights

    return _for_each(names, work)


def compile(
    names: model_options.KnownModels,
    revision: model_options.Revision = None,
    sha256: model_options.Sha256 = None,
    allow_pickle: model_options.AllowPickle = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
) -> int:
    """Compile models for the onnx engine, fetching what is not here, and print their folders.

    Example: zsclip models compile tiny
    """
    _refuse_pins_of_several(names, revision, sha256)

    def work(name: str) -> Path:
        from zsclip.engines import compiled

        model = _compiled(
            name,
            revision=revision,
            sha256=sha256,
            allow_pickle=allow_pickle,
            engine="onnx",
            cache_dir=cache_dir,
            quiet=quiet,
        )
        assert model.choice.folder is not None
        return compiled.place(model.choice.folder, model.local)

    return _for_each(names, work)


def _refuse_pins_of_several(names: Sequence[str], revision: str | None, sha256: str | None) -> None:
    if len(names) > 1 and (revision or sha256):
        raise UsageError("--revision and --sha256 go with one model at a time")


def _compiled(
    name: str,
    *,
    revision: str | None,
    sha256: str | None,
    allow_pickle: bool,
    engine: str,
    cache_dir: Path | None,
    quiet: bool,
) -> Model:
    """A model whose files are all here, compiled where its engine wants that."""
    from zsclip.cli.request import say_preparing
    from zsclip.engines.opening import compile_ahead, silently
    from zsclip.loading import load_model

    model = load_model(
        name,
        revision=revision,
        sha256=sha256,
        allow_pickle=allow_pickle,
        engine=engine,
        cache_dir=cache_dir,
        preparing=silently if quiet else say_preparing,
    )
    _fetch_rest(model.local)
    compile_ahead(model.local, model.choice, model.cache.facts)
    return model


def _for_each(names: Sequence[str], work: Callable[[str], Path]) -> int:
    """Do work for each model, and print the path that it answers; one failure stops no other."""
    from zsclip.models import resolve

    for name in names:  # before any work
        resolve(name)
    failed = False
    for name in names:
        try:
            console.line(str(work(name)))
        except ModelError as error:
            console.error(error)
            failed = True
    return ModelError.exit_code if failed else 0


def _fetch_rest(model: LocalModel) -> None:
    """Fetch what a model needs beside its weights; builds nothing."""
    from zsclip import hf_tokenizer
    from zsclip.engines import torch_model
    from zsclip.models import CLIP_BPE

    if model.config.tokenizer != CLIP_BPE:
        hf_tokenizer.find(model)
    torch_model.text_tower_folder(model)


def where(
    name: model_options.KnownModel,
    revision: model_options.Revision = None,
    allow_pickle: model_options.AllowPickle = False,
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


def rm(
    name: model_options.KnownModel,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cache_dir: options.CacheDir = None,
) -> int:
    """Delete a model's repository from the hub's cache, all its revisions, and what was compiled.

    Example: zsclip models rm fast --yes
    """
    from zsclip import hub
    from zsclip.cache import default_folder
    from zsclip.engines import compiled
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
    what = f"hf-hub:{found.name} ({size_text(found.size_bytes)}, {found.folder})"
    if not yes:
        if not (console.stdin_is_terminal() and console.stderr_is_terminal()):
            raise UsageError("nobody is here to be asked", tip=f"zsclip models rm {name} --yes")
        if not typer.confirm(f"delete {what}?", err=True):
            console.say("nothing is deleted")
            return 0
    blobs = {path.name for path in (found.folder / "blobs").glob("*")}
    hub.remove(found)
    console.say(f"deleted {what}")
    for folder, about in compiled.stored(cache_dir or default_folder()).items():
        if about.weights in blobs:  # the hub's cache names files by their sha256
            compiled.remove(folder)
            size = size_text(about.size_bytes)
            console.say(f"deleted what was compiled of {about.model} ({size}, {folder})")
    return 0


def size_text(size_bytes: int) -> str:
    """`605.2 MB`."""
    return f"{size_bytes / 1e6:,.1f} MB"
