"""`zsclip evaluate`: labelled pictures in, figures with intervals out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsclip.cli import (
    data_options,
    input_options,
    label_options,
    model_options,
    options,
    output_options,
)
from zsclip.cli.data_options import LabelledOptions
from zsclip.cli.model_options import ModelOptions
from zsclip.cli.options import RunOptions, one_of
from zsclip.errors import UsageError

_ON_ERROR = ("fail", "skip", "wrong")
_FIGURES = "Figures"


def evaluate(
    ctx: typer.Context,
    named: LabelledOptions = LabelledOptions(),
    split: data_options.Split = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--templates",
            "-t",
            metavar="NAME|FILE|dataset",
            help="A template set; repeat to compare several on the same pictures.",
            rich_help_panel="Prompts",
            autocompletion=options.complete_templates,
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(
            "--head",
            metavar="FILE",
            help="Evaluate this head instead; its labels are matched by name.",
            rich_help_panel="Prompts",
        ),
    ] = None,
    kind: label_options.Kind = None,
    truncate: label_options.Truncate = False,
    on_error: Annotated[
        str,
        typer.Option(
            "--on-error",
            metavar="WORD",
            help="What a broken picture does: fail ends the run, skip leaves it out, "
            "wrong counts it as answered wrong.",
            rich_help_panel=_FIGURES,
            autocompletion=options.choices(*_ON_ERROR),
        ),
    ] = "fail",
    draws: Annotated[
        int,
        typer.Option(
            "--draws",
            min=100,
            metavar="N",
            help="Bootstrap draws behind each interval.",
            rich_help_panel=_FIGURES,
        ),
    ] = 1000,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, metavar="N", help="Of the draws.", rich_help_panel=_FIGURES),
    ] = 0,
    scores: output_options.Scores = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Write what each picture got, as JSON Lines.",
            rich_help_panel="Output",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            help="Write predictions to a file, and go on behind the rows that it has.",
            rich_help_panel="Output",
        ),
    ] = None,
    report: output_options.ReportFile = None,
    as_json: options.AsJson = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact/--upright",
            help="Load pictures as open_clip does, or turned upright as classify does.",
            rich_help_panel="Input",
        ),
    ] = True,
    decode: input_options.Decode = "exact",
    fit: input_options.Fit = "crop",
    timeout: input_options.Timeout = 20.0,
    model: ModelOptions = ModelOptions(),
    precision: model_options.Precision = "fp32",
    batch_size: options.BatchSize = None,
    cache_images: input_options.CacheImages = False,
    run: RunOptions = RunOptions(),
) -> int:
    """Measure how well labels are found in labelled pictures.

    Example: zsclip evaluate --folder photos/ --templates photo --templates imagenet80
    """
    one_of("--on-error", on_error, _ON_ERROR)
    input_options.check_cache(cache_images=cache_images, no_cache=run.no_cache)
    if predictions is not None and resume is not None:
        raise UsageError("--resume FILE is --predictions FILE, too; leave out --predictions")
    if head is not None and (templates or kind):
        raise UsageError("--head brings its own templates; leave out --templates")
    pictures = data_options.open_labelled(named, split=split, offline=model.offline)
    from zsclip.cli import evaluation, request
    from zsclip.heads import load_head

    made = None if head is None else load_head(head)
    asked = {} if made else evaluation.template_sets(templates, kind=kind, dataset=named.dataset)
    opened = request.open_model(ctx, model, run, precision=precision, head=made)
    opened.decoding = opened.decoding.but(exact=exact, decode=decode, fit=fit)
    return evaluation.run(
        pictures,
        made or asked,
        model=opened,
        options=evaluation.Options(
            dataset=named.dataset,
            split=split,
            on_error=on_error,
            draws=draws,
            seed=seed,
            scores=scores,
            truncate=truncate,
            batch_size=batch_size,
            timeout_s=timeout,
            cache_images=cache_images,
            predictions=predictions or resume,
            goes_on=resume is not None,
            report=report,
            as_json=as_json,
            quiet=run.quiet,
        ),
    )
