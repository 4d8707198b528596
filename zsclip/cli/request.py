"""From shared options to a model and a head: what the commands that use one have in common."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from zsclip import console, label_files, labels
from zsclip.cli.label_options import LabelOptions, PromptOptions
from zsclip.cli.model_options import ModelOptions
from zsclip.cli.options import RunOptions, in_order, one_of
from zsclip.datasets import DataSet, load_dataset
from zsclip.encoders import Model
from zsclip.engines.opening import silently
from zsclip.errors import LabelError, UsageError
from zsclip.head_builder import Built, build
from zsclip.heads import Head, load_head
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
    ctx: typer.Context, asked: LabelOptions, prompts: PromptOptions, *, truncate: bool
) -> HeadRequest:
    """Read the label and template options.

    Raises:
        UsageError: labels or templates are missing, contradict each other, or cannot be read.
    """
    if asked.encoding is not None and not asked.labels_file:
        raise UsageError("--encoding is for --labels-file FILE")
    typed = _typed_labels(ctx, asked.typed(), "UTF-8" if asked.encoding is None else asked.encoding)
    if asked.dataset is not None and typed:
        raise UsageError("--dataset brings its own labels; leave out --labels")
    known = None if asked.dataset is None else load_dataset(asked.dataset)
    places = None
    if known is not None:
        class_names: Sequence[Sequence[str] | ClassLabel] = known.class_names
    elif typed:
        class_names = classes = labels.unique(typed)
        places = [label.where for label in classes]
    else:
        raise LabelError("no labels", tip="name some with --labels cat,dog or --labels-file FILE")
    template_set = _template_set(prompts.templates, prompts.template or [], known)
    if prompts.kind:
        template_set = template_set.with_kind(prompts.kind)
    return HeadRequest(class_names, places, template_set, truncate)


def head_or_request(
    ctx: typer.Context,
    head: Path | None,
    asked: LabelOptions,
    prompts: PromptOptions,
    *,
    truncate: bool,
) -> Head | HeadRequest:
    """The head that is named, or else what is asked for.

    Raises:
        UsageError: as `head_request` does.
        HeadError: the head cannot be read.
    """
    if head is not None:
        return load_head(head)
    return head_request(ctx, asked, prompts, truncate=truncate)


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
    ctx: typer.Context,
    asked: ModelOptions,
    run: RunOptions,
    *,
    precision: str = "fp32",
    head: Head | None = None,
) -> Model:
    """Find the model; a person at the terminal is told what `tiny` is not for.

    Args:
        head: brings its own model, unless another is named on the command line.
    """
    one_of("--device", asked.device, DEVICES)
    if head is not None:
        asked = _with_head(ctx, asked, head)
    if run.quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # torch's threads that spin while they wait take the processor from those that decode
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    model = load_model(
        asked.model,
        weights=asked.weights,
        tag=asked.tag,
        revision=asked.revision,
        sha256=asked.sha256,
        allow_pickle=asked.allow_pickle,
        offline=asked.offline,
        engine=asked.engine,
        device=asked.device,
        precision=precision,
        cache_dir=run.cache_dir,
        use_cache=not run.no_cache,
        preparing=silently if run.quiet else say_preparing,
    )
    if run.verbose:
        local = model.local
        commit = f" at {local.revision}" if local.revision else ""
        console.say(f"model: {model.id}{commit}, {local.config.architecture}, {local.weights}")
        console.say(f"sha256: {local.digest}")
    if model.local.source.name == "tiny" and console.stderr_is_terminal() and not run.quiet:
        console.say(
            "note: 'tiny' knows emoji and simple drawings, not photos; "
            "for photos leave out --model tiny"
        )
    return model


def open_with_head(
    ctx: typer.Context,
    asked: Head | HeadRequest,
    model: ModelOptions,
    run: RunOptions,
    *,
    precision: str,
    scores: str | None,
) -> tuple[Model, Head]:
    """The model and the head that pictures are compared with, built where there is none yet."""
    if isinstance(asked, Head):
        return open_model(ctx, model, run, precision=precision, head=asked), asked
    opened = open_model(ctx, model, run, precision=precision)
    if scores is not None:  # before the work of building
        opened.choose_kind(scores)
    built = build_with_progress(asked, opened, quiet=run.quiet)
    if run.verbose:
        say_what_was_built(asked, built)
    return opened, built.head


def _with_head(ctx: typer.Context, asked: ModelOptions, head: Head) -> ModelOptions:
    source = ctx.get_parameter_source("model")
    from_environment = source is not None and source.name == "ENVIRONMENT"
    if asked.model is not None and not from_environment:
        return asked
    revision = asked.revision
    if asked.weights is None:
        revision = revision or head.provenance.revision
    return replace(asked, model=head.model_name(), revision=revision)


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
