"""From shared options to a model and a head: what `classify` and `build-head` have in common."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from zsclip import console, label_files, labels
from zsclip.cli.options import in_order, one_of
from zsclip.datasets import DataSet, load_dataset
from zsclip.encoders import Model
from zsclip.engines.opening import silently
from zsclip.errors import LabelError, UsageError
from zsclip.head_builder import Built, build
from zsclip.labels import ClassLabel
from zsclip.loading import load_model
from zsclip.prompts import DEFAULT_TEMPLATES, TemplateSet, load_templates, templates_from_texts

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, slots=True)
class HeadRequest:
    """The classes and templates that were asked for.

    Attributes:
        places: where each class was typed; None for those of a data set.
    """

    class_names: Sequence[Sequence[str] | ClassLabel]
    places: Sequence[str] | None
    templates: TemplateSet
    truncate: bool


def head_request(
    ctx: typer.Context,
    *,
    label_options: Mapping[str, Sequence[str]],
    encoding: str | None,
    dataset: str | None,
    templates: str | None,
    template: Sequence[str],
    kind: str | None,
    truncate: bool,
) -> HeadRequest:
    """Read the label and template options.

    Raises:
        UsageError: labels or templates are missing, contradict each other, or cannot be read.
    """
    if encoding is not None and not label_options["labels_file"]:
        raise UsageError("--encoding is for --labels-file FILE")
    typed = _typed_labels(ctx, label_options, "UTF-8" if encoding is None else encoding)
    if dataset is not None and typed:
        raise UsageError("--dataset brings its own labels; leave out --labels")
    known = None if dataset is None else load_dataset(dataset)
    places = None
    if known is not None:
        class_names: Sequence[Sequence[str] | ClassLabel] = known.class_names
    elif typed:
        class_names = classes = labels.unique(typed)
        places = [label.where for label in classes]
    else:
        raise LabelError("no labels", tip="name some with --labels cat,dog or --labels-file FILE")
    template_set = _template_set(templates, template, known)
    if kind:
        template_set = template_set.with_kind(kind)
    return HeadRequest(class_names, places, template_set, truncate)


def _typed_labels(
    ctx: typer.Context, options: Mapping[str, Sequence[str]], encoding: str
) -> list[ClassLabel]:
    found: list[ClassLabel] = []
    for option, value in in_order(ctx, options):
        if option == "labels":
            found += labels.from_option(value)
        elif option == "label":
            found += labels.verbatim(value)
        else:
            found += label_files.read(Path(value), encoding=encoding)
    return found


def _template_set(name: str | None, texts: Sequence[str], dataset: DataSet | None) -> TemplateSet:
    if name is None and texts:
        return templates_from_texts(texts)
    if name == "dataset":
        if dataset is None:
            raise UsageError("--templates dataset needs --dataset NAME")
        chosen = dataset.templates
    else:
        chosen = load_templates(name or DEFAULT_TEMPLATES)
    if not texts:
        return chosen
    added = templates_from_texts(texts)
    return TemplateSet(f"{chosen.name} and {len(texts)} more", chosen.templates + added.templates)


def open_model(
    name: str | None,
    *,
    weights: Path | None,
    tag: str | None,
    revision: str | None,
    sha256: str | None,
    allow_pickle: bool,
    offline: bool,
    engine: str,
    device: str,
    precision: str = "fp32",
    cache_dir: Path | None,
    no_cache: bool,
    quiet: bool,
    verbose: bool,
) -> Model:
    """Find the model; a person at the terminal is told what `tiny` is not for."""
    one_of("--device", device, DEVICES)
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # torch's threads that spin while they wait take the processor from those that decode
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    model = load_model(
        name,
        weights=weights,
        tag=tag,
        revision=revision,
        sha256=sha256,
        allow_pickle=allow_pickle,
        offline=offline,
        engine=engine,
        device=device,
        precision=precision,
        cache_dir=cache_dir,
        use_cache=not no_cache,
        preparing=silently if quiet else say_preparing,
    )
    if verbose:
        local = model.local
        commit = f" at {local.revision}" if local.revision else ""
        console.say(f"model: {model.id}{commit}, {local.config.architecture}, {local.weights}")
        console.say(f"sha256: {local.digest}")
    if model.local.source.name == "tiny" and console.stderr_is_terminal() and not quiet:
        console.say(
            "note: 'tiny' knows emoji and simple drawings, not photos; "
            "for photos leave out --model tiny"
        )
    return model


@contextlib.contextmanager
def say_preparing(model: str) -> Iterator[Callable[[int, int], None]]:
    """Say why the first use of a model takes longer, with a bar where a person watches."""
    console.say(f"compiling {model} once, for fast starts (--engine torch does without)")
    with console.progress("compiling", shown=console.stderr_is_terminal()) as show:
        yield show


def build_with_progress(request: HeadRequest, model: Model, *, quiet: bool) -> Built:
    """Build the head, with a bar where a person watches."""
    shown = console.stderr_is_terminal() and not quiet
    with console.progress("encoding classes", shown=shown) as show:
        return build(
            request.class_names,
            model=model,
            templates=request.templates,
            truncate=request.truncate,
            places=request.places,
            on_progress=show,
        )


@contextlib.contextmanager
def encoding_names(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Say that other names are encoded, where they are, with a bar where a person watches."""
    shown = console.stderr_is_terminal() and not quiet
    with console.progress("encoding other names", shown=shown) as bar:

        def show(done: int, total: int) -> None:
            if not done and not quiet:
                console.say(f"encoding {total:,} names of other things, for the cache")
            bar(done, total)

        yield show


def say_what_was_built(request: HeadRequest, built: Built) -> None:
    """`templates: imagenet80 (80); 100 classes, 97 from the cache`."""
    templates = request.templates
    console.say(
        f"templates: {templates.name} ({len(templates.templates)}); "
        f"{len(request.class_names):,} classes, {built.cached:,} from the cache"
    )
