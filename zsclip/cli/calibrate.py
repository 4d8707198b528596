"""`zsclip calibrate`: labelled pictures in; a head whose scores mean what they say out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsclip.cli import data_options, input_options, label_options, model_options, options
from zsclip.cli.data_options import LabelledOptions
from zsclip.cli.model_options import ModelOptions
from zsclip.cli.options import RunOptions, one_of
from zsclip.errors import OutputError, UsageError

_FITTING = "Fitting"


def calibrate(
    ctx: typer.Context,
    named: LabelledOptions = LabelledOptions(),
    split: data_options.Split = None,
    head: Annotated[
        Path | None,
        typer.Option(
            "--head",
            metavar="FILE",
            help="Calibrate this head; its labels are matched by name. Else one is made of the "
            "class names.",
            rich_help_panel="Prompts",
        ),
    ] = None,
    templates: label_options.Templates = None,
    kind: label_options.Kind = None,
    truncate: label_options.Truncate = False,
    coverage: Annotated[
        list[float] | None,
        typer.Option(
            "--coverage",
            metavar="X",
            help="Make label sets that hold the truth of this share of pictures; repeatable, 0.9 "
            "unless given.",
            rich_help_panel=_FITTING,
        ),
    ] = None,
    on_error: data_options.OnError = "fail",
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            metavar="N",
            help="Of the three parts that pictures are dealt into.",
            rich_help_panel=_FITTING,
        ),
    ] = 0,
    draws: Annotated[
        int,
        typer.Option(
            "--draws",
            min=100,
            metavar="N",
            help="Bootstrap draws behind each interval.",
            rich_help_panel=_FITTING,
        ),
    ] = 1000,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the calibrated head to a safetensors file, for classify --head.",
            rich_help_panel="Output",
        ),
    ] = None,
    as_json: options.AsJson = False,
    exact: input_options.Exact = False,
    decode: input_options.Decode = "exact",
    fit: input_options.Fit = "crop",
    timeout: input_options.Timeout = 20.0,
    model: ModelOptions = ModelOptions(),
    precision: model_options.Precision = "fp32",
    batch_size: options.BatchSize = None,
    cache_images: input_options.CacheImages = False,
    run: RunOptions = RunOptions(),
) -> int:
    """Fit scores to labelled pictures, so that 0.8 is right eight times in ten.

    Example: zsclip calibrate --folder photos/ -o calibrated.safetensors
    """
    one_of("--on-error", on_error, data_options.ON_ERROR)
    input_options.check_cache(cache_images=cache_images, no_cache=run.no_cache)
    coverages = _coverages(coverage)
    if head is not None and (templates or kind):
        raise UsageError("--head brings its own templates; leave out --templates")
    if output is not None and not output.parent.is_dir():  # before the work of encoding
        raise OutputError(f"cannot write {output}: no such folder")
    pictures = data_options.open_labelled(named, split=split, offline=model.offline)
    from zsclip.cli import calibrating, request
    from zsclip.cli.evaluation import template_sets
    from zsclip.heads import load_head

    made = None if head is None else load_head(head)
    sets = template_sets(
        None if templates is None else [templates], kind=kind, dataset=named.dataset
    )
    opened = request.open_model(ctx, model, run, precision=precision, head=made)
    opened.decoding = opened.decoding.but(exact=exact, decode=decode, fit=fit)
    return calibrating.run(
        pictures,
        made or next(iter(sets.values())),
        model=opened,
        options=calibrating.Options(
            coverages=coverages,
            on_error=on_error,
            seed=seed,
            draws=draws,
            output=output,
            truncate=truncate,
            batch_size=batch_size,
            timeout_s=timeout,
            cache_images=cache_images,
            as_json=as_json,
            quiet=run.quiet,
        ),
    )


def _coverages(asked: list[float] | None) -> tuple[float, ...]:
    """Each share once, from low to high."""
    shares = asked or [0.9]
    wrong = [share for share in shares if not 0 < share < 1]
    if wrong:
        raise UsageError(f"--coverage {wrong[0]} is not between 0 and 1", tip="--coverage 0.9")
    return tuple(sorted(set(shares)))
