"""`zsclip build-head`: class names in, a classifier out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsclip import console
from zsclip.cli import input_options, label_options, options
from zsclip.cli.label_options import LabelOptions, PromptOptions
from zsclip.cli.model_options import ModelOptions
from zsclip.cli.options import RunOptions
from zsclip.errors import UsageError


def build_head(
    ctx: typer.Context,
    labels: LabelOptions = LabelOptions(),
    prompts: PromptOptions = PromptOptions(),
    template_weights: Annotated[
        str | None,
        typer.Option(
            "--template-weights",
            metavar="WORD",
            help="zpe: weigh the templates for --pictures, without labels; needs -o.",
            rich_help_panel="Prompts",
            autocompletion=options.choices("zpe"),
        ),
    ] = None,
    pictures: Annotated[
        list[str] | None,
        typer.Option(
            "--pictures",
            metavar="PATH",
            help="Pictures, folders or quoted globs to weigh templates for; repeatable.",
            rich_help_panel="Prompts",
        ),
    ] = None,
    truncate: label_options.Truncate = False,
    model: ModelOptions = ModelOptions(),
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the head to a safetensors file, to keep and share.",
        ),
    ] = None,
    as_json: options.AsJson = False,
    cache_images: input_options.CacheImages = False,
    run: RunOptions = RunOptions(),
) -> int:
    """Build a classifier from class names alone; its rows go to the cache.

    Example: zsclip build-head --dataset cifar100 -o cifar100.safetensors
    """
    input_options.check_cache(cache_images=cache_images, no_cache=run.no_cache)
    _check_weights(template_weights, pictures, output)
    from zsclip.cli import request
    from zsclip.writers import dumps

    wanted = request.head_request(ctx, labels, prompts, truncate=truncate)
    opened = request.open_model(ctx, model, run)
    built = None
    if pictures:
        from zsclip.cli import weighing

        head = weighing.build(wanted, opened, pictures, cache_images=cache_images, quiet=run.quiet)
    else:
        built = request.build_with_progress(wanted, opened, quiet=run.quiet)
        head = built.head
    if output is not None:
        head.save(output)
    if built is not None and not run.quiet:
        request.say_what_was_built(wanted, built)
    if as_json:
        row = {
            "path": None if output is None else str(output),
            "head": head.digest[:12],
            "model": opened.id,
            "weights_sha256": opened.local.digest,
            "revision": opened.local.revision,
            "classes": len(head.class_names),
            "from_cache": None if built is None else built.cached,
            "templates": head.provenance.templates_name,
            "n_templates": len(wanted.templates.templates),
            "dimension": head.weight.shape[1],
            "score_kind": head.score_kind,
        }
        console.line(dumps(row))
    elif output is not None:
        console.line(str(output))
    return 0


def _check_weights(kind: str | None, pictures: list[str] | None, output: Path | None) -> None:
    """Refuse half of what weighing needs."""
    if kind is not None:
        options.one_of("--template-weights", kind, ("zpe",))
    if (kind is None) != (not pictures):
        raise UsageError(
            "--template-weights and --pictures go together",
            tip="--template-weights zpe --pictures photos/ -o head.safetensors",
        )
    if kind is not None and output is None:
        raise UsageError(
            "--template-weights makes a head for these pictures, which the cache does not keep",
            tip="name a file for it with -o FILE",
        )
