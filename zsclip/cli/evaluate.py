"""`zsclip evaluate`: labelled pictures in, figures with intervals out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsclip.cli import data_options, input_options, options, output_options
from zsclip.cli.options import one_of
from zsclip.errors import UsageError

_ON_ERROR = ("fail", "skip", "wrong")
_FIGURES = "Figures"


def evaluate(
    dataset: data_options.DataSetName = None,
    root: data_options.Root = None,
    split: data_options.Split = None,
    download: data_options.Download = False,
    folder: data_options.Folder = None,
    manifest: data_options.Manifest = None,
    webdataset: data_options.WebDataset = None,
    hf: data_options.HuggingFace = None,
    image_column: data_options.ImageColumn = None,
    label_column: data_options.LabelColumn = None,
    class_names: data_options.ClassNames = None,
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
    kind: options.Kind = None,
    truncate: options.Truncate = False,
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
    decode: options.Decode = "exact",
    fit: options.Fit = "crop",
    timeout: options.Timeout = 20.0,
    model: options.ModelName = None,
    weights: options.Weights = None,
    tag: options.Tag = None,
    revision: options.Revision = None,
    sha256: options.Sha256 = None,
    allow_pickle: options.AllowPickle = False,
    offline: options.Offline = False,
    engine: options.Engine = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    batch_size: options.BatchSize = None,
    cache_images: input_options.CacheImages = False,
    cache_dir: options.CacheDir = None,
    no_cache: options.NoCache = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Measure how well labels are found in labelled pictures.

    Example: zsclip evaluate --folder photos/ --templates photo --templates imagenet80
    """
    one_of("--on-error", on_error, _ON_ERROR)
    input_options.check_cache(cache_images=cache_images, no_cache=no_cache)
    if predictions is not None and resume is not None:
        raise UsageError("--resume FILE is --predictions FILE, too; leave out --predictions")
    if head is not None and (templates or kind):
        raise UsageError("--head brings its own templates; leave out --templates")
    pictures = data_options.open_labelled(
        dataset=dataset,
        root=root,
        split=split,
        download=download,
        folder=folder,
        manifest=manifest,
        webdataset=webdataset,
        hf=hf,
        image_column=image_column,
        label_column=label_column,
        class_names=class_names,
        offline=offline,
    )
    from zsclip.cli import evaluation, request
    from zsclip.heads import load_head

    made = None if head is None else load_head(head)
    if made is not None and model is None and weights is None:
        model, revision = made.model_name(), revision or made.provenance.revision
    asked = {} if made else evaluation.template_sets(templates, kind=kind, dataset=dataset)
    opened = request.open_model(
        model,
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
        no_cache=no_cache,
        quiet=quiet,
        verbose=verbose,
    )
    opened.decoding = opened.decoding.but(exact=exact, decode=decode, fit=fit)
    return evaluation.run(
        pictures,
        made or asked,
        model=opened,
        options=evaluation.Options(
            dataset=dataset,
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
            quiet=quiet,
        ),
    )
