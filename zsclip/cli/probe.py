"""`zsclip probe`: labelled pictures in; a head, or how good heads from few pictures are."""

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
from zsclip.cli.options import RunOptions, choices, one_of
from zsclip.errors import OutputError, UsageError

_METHODS = ("few-shot", "linear")
_FITTING = "Fitting"
_TEST = "Test pictures (one of)"
_VALIDATION = "Validation pictures, for the linear probe (one of)"

SplitToFit = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Which split of --dataset, --webdataset or --hf to fit to; train unless given.",
        rich_help_panel="About the pictures",
    ),
]
TestFolder = Annotated[
    Path | None,
    typer.Option(
        "--test-folder", metavar="DIR", help="A folder of class folders.", rich_help_panel=_TEST
    ),
]
TestManifest = Annotated[
    Path | None,
    typer.Option(
        "--test-manifest",
        metavar="FILE",
        help="A list of paths and labels.",
        rich_help_panel=_TEST,
    ),
]
TestSplit = Annotated[
    str | None,
    typer.Option(
        "--test-split",
        metavar="NAME",
        help="Another split of --dataset (its test split unless given), --webdataset or --hf.",
        rich_help_panel=_TEST,
    ),
]
TestFraction = Annotated[
    float | None,
    typer.Option(
        "--test-fraction",
        metavar="X",
        help="This share of each class, between 0 and 1, drawn by --seed; the rest is fitted to.",
        rich_help_panel=_TEST,
    ),
]
ValidationFolder = Annotated[
    Path | None,
    typer.Option(
        "--validation-folder",
        metavar="DIR",
        help="A folder of class folders. A fifth of each class unless validation is named.",
        rich_help_panel=_VALIDATION,
    ),
]
ValidationManifest = Annotated[
    Path | None,
    typer.Option(
        "--validation-manifest",
        metavar="FILE",
        help="A list of paths and labels.",
        rich_help_panel=_VALIDATION,
    ),
]
ValidationSplit = Annotated[
    str | None,
    typer.Option(
        "--validation-split",
        metavar="NAME",
        help="Another split of --dataset, --webdataset or --hf.",
        rich_help_panel=_VALIDATION,
    ),
]


def probe(
    ctx: typer.Context,
    named: LabelledOptions = LabelledOptions(),
    split: SplitToFit = None,
    test_folder: TestFolder = None,
    test_manifest: TestManifest = None,
    test_split: TestSplit = None,
    test_fraction: TestFraction = None,
    validation_folder: ValidationFolder = None,
    validation_manifest: ValidationManifest = None,
    validation_split: ValidationSplit = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="WORD",
            help="few-shot corrects the zero-shot head and needs no validation pictures; linear "
            "is the paper's logistic regression, but on projected features of unit length (needs "
            "scikit-learn, the extra 'probe').",
            rich_help_panel=_FITTING,
            autocompletion=choices(*_METHODS),
        ),
    ] = "few-shot",
    shots: Annotated[
        str | None,
        typer.Option(
            "--shots",
            metavar="N[,N...]",
            help="Fit to so many pictures of each class; without -o, a curve of several: "
            "1,2,4,8,16.",
            rich_help_panel=_FITTING,
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            min=1,
            metavar="N",
            help="Draws behind each point of the curve.",
            rich_help_panel=_FITTING,
        ),
    ] = 5,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            metavar="N",
            help="Of the first draw, and of what is set aside.",
            rich_help_panel=_FITTING,
        ),
    ] = 0,
    on_error: data_options.OnError = "fail",
    templates: label_options.Templates = None,
    kind: label_options.Kind = None,
    truncate: label_options.Truncate = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the head to a safetensors file, for classify --head.",
            rich_help_panel="Output",
        ),
    ] = None,
    report: output_options.ReportFile = None,
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
    """Fit a head to labelled pictures, or see how many pictures of each class are enough.

    Example: zsclip probe --folder train/ --test-folder test/ --shots 1,2,4,8,16
    """
    one_of("--method", method, _METHODS)
    one_of("--on-error", on_error, data_options.ON_ERROR)
    input_options.check_cache(cache_images=cache_images, no_cache=run.no_cache)
    counts = _counts(shots)
    _check_output(output, counts)
    if report is not None and output is not None:
        raise UsageError("--report shows a curve; leave out -o")
    from zsclip.cli import probe_parts, probing, request
    from zsclip.cli.evaluation import template_sets

    template_set = template_sets(
        None if templates is None else [templates], kind=kind, dataset=named.dataset
    )
    parts = probe_parts.open_parts(
        named,
        split=split,
        test=probe_parts.Named(test_folder, test_manifest, test_split, test_fraction),
        validation=probe_parts.Named(validation_folder, validation_manifest, validation_split),
        offline=model.offline,
    )
    if output is None and not parts.has_test:
        raise UsageError(
            "a curve needs test pictures",
            tip="name some with --test-folder DIR, or set some aside with --test-fraction 0.5",
        )
    opened = request.open_model(ctx, model, run, precision=precision)
    opened.decoding = opened.decoding.but(exact=exact, decode=decode, fit=fit)
    return probing.run(
        parts,
        next(iter(template_set.values())),
        model=opened,
        options=probing.Options(
            method=method,
            shots=counts,
            seeds=tuple(range(seed, seed + seeds)),
            on_error=on_error,
            truncate=truncate,
            output=output,
            report=report,
            batch_size=batch_size,
            timeout_s=timeout,
            cache_images=cache_images,
            as_json=as_json,
            quiet=run.quiet,
        ),
    )


def _counts(shots: str | None) -> tuple[int, ...]:
    """`--shots 1,2,4` as numbers."""
    parts = [] if shots is None else [part.strip() for part in shots.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) < 10**9 for part in parts):
        raise UsageError(
            f"--shots {shots!r} is not a list of numbers from 1 on", tip="--shots 1,2,4,8,16"
        )
    return tuple(sorted({int(part) for part in parts}))


def _check_output(output: Path | None, counts: tuple[int, ...]) -> None:
    """Refuse what would be found out after the work only."""
    if output is None:
        if not counts:
            raise UsageError(
                "nothing to do", tip="write a head with -o FILE, or compare with --shots 1,2,4,8,16"
            )
        return
    if len(counts) > 1:
        raise UsageError(
            "-o FILE writes one head, and --shots names several",
            tip="leave out -o for a curve, or name one number of shots",
        )
    if not output.parent.is_dir():
        raise OutputError(f"cannot write {output}: no such folder")
