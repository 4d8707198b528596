"""`zsclip probe`: labelled pictures in; a head, or how good heads from few pictures are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsclip.cli import data_options, input_options, options, output_options
from zsclip.cli.options import choices, one_of
from zsclip.errors import OutputError, UsageError

_METHODS = ("few-shot", "linear")
_ON_ERROR = ("fail", "skip")
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
    dataset: data_options.DataSetName = None,
    root: data_options.Root = None,
    split: SplitToFit = None,
    download: data_options.Download = False,
    folder: data_options.Folder = None,
    manifest: data_options.Manifest = None,
    webdataset: data_options.WebDataset = None,
    hf: data_options.HuggingFace = None,
    image_column: data_options.ImageColumn = None,
    label_column: data_options.LabelColumn = None,
    class_names: data_options.ClassNames = None,
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
    on_error: Annotated[
        str,
        typer.Option(
            "--on-error",
            metavar="WORD",
            help="What broken pictures do: fail ends the run, skip leaves them out.",
            rich_help_panel=_FITTING,
            autocompletion=choices(*_ON_ERROR),
        ),
    ] = "fail",
    templates: options.Templates = None,
    kind: options.Kind = None,
    truncate: options.Truncate = False,
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
    exact: options.Exact = False,
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
    """Fit a head to labelled pictures, or see how many pictures of each class are enough.

    Example: zsclip probe --folder train/ --test-folder test/ --shots 1,2,4,8,16
    """
    one_of("--method", method, _METHODS)
    one_of("--on-error", on_error, _ON_ERROR)
    input_options.check_cache(cache_images=cache_images, no_cache=no_cache)
    counts = _counts(shots)
    _check_output(output, counts)
    if report is not None and output is not None:
        raise UsageError("--report shows a curve; leave out -o")
    from zsclip.cli import probe_parts, probing, request
    from zsclip.cli.evaluation import template_sets

    template_set = template_sets(
        None if templates is None else [templates], kind=kind, dataset=dataset
    )
    parts = probe_parts.open_parts(
        probe_parts.Source(
            dataset=dataset,
            root=root,
            download=download,
            folder=folder,
            manifest=manifest,
            webdataset=webdataset,
            hf=hf,
            image_column=image_column,
            label_column=label_column,
            class_names=class_names,
            offline=offline,
        ),
        split=split,
        test=probe_parts.Named(test_folder, test_manifest, test_split, test_fraction),
        validation=probe_parts.Named(validation_folder, validation_manifest, validation_split),
    )
    if output is None and not parts.has_test:
        raise UsageError(
            "a curve needs test pictures",
            tip="name some with --test-folder DIR, or set some aside with --test-fraction 0.5",
        )
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
            quiet=quiet,
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
