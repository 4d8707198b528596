"""`zsclip embed`: pictures in, image features out, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsclip.cli import input_options, options, output_options
from zsclip.cli.output_options import Output
from zsclip.cli.rows import Report, open_errors, open_output, write_all
from zsclip.errors import UsageError

_ENDINGS = {"": "jsonl", ".jsonl": "jsonl", ".npz": "npz", ".parquet": "parquet"}


def embed(
    paths: input_options.Paths = None,
    files_from: input_options.FilesFrom = None,
    files0_from: input_options.Files0From = None,
    decode: options.Decode = "exact",
    fit: options.Fit = "crop",
    exact: options.Exact = False,
    background: options.Background = "white",
    max_pixels: options.MaxPixels = None,
    max_bytes: options.MaxBytes = None,
    allow_truncated: options.AllowTruncated = False,
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
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to a file, whose ending chooses the format: .jsonl, .npz or .parquet; "
            "JSON Lines on stdout unless given.",
            rich_help_panel="Output",
        ),
    ] = None,
    errors: output_options.Errors = None,
    batch_size: options.BatchSize = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first input that fails.")
    ] = False,
    cache_images: input_options.CacheImages = False,
    cache_dir: options.CacheDir = None,
    no_cache: options.NoCache = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Write the features of pictures, unit-length vectors, for other programs.

    Example: zsclip embed photos/ -o features.parquet
    """
    input_options.check_cache(cache_images=cache_images, no_cache=no_cache)
    chosen = Output(_format_of(output), output, errors=errors)
    output_options.check_apart(chosen, [files_from, files0_from])

    from zsclip.cli import request
    from zsclip.embedding import embed_batches, open_image_cache
    from zsclip.feature_files import Origin, check_format, open_writer
    from zsclip.inputs import Skipped

    check_format(chosen.kind)
    skipped = Skipped()
    inputs = input_options.inputs(
        paths or [],
        files_from,
        files0_from,
        skipped=skipped,
        example="zsclip embed photos/ -o features.npz",
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
    opened.decoding = opened.decoding.but(
        decode=decode,
        exact=exact,
        background=background,
        max_pixels=max_pixels,
        max_bytes=None if max_bytes is None else options.size_bytes("--max-bytes", max_bytes),
        allow_truncated=allow_truncated,
        fit=fit,
    )
    batches = embed_batches(
        inputs,
        model=opened,
        batch_size=batch_size,
        timeout_s=timeout,
        image_cache=open_image_cache(opened, timeout_s=timeout) if cache_images else None,
    )
    embedded = (item for batch in batches for item in batch)
    report = Report(skipped, strict, quiet)
    folder = Path() if output is None else output.parent
    with (
        open_output(chosen) as stream,
        open_errors(errors) as report.errors,
        open_writer(chosen.kind, stream, Origin.of(opened), folder=folder) as writer,
    ):
        return write_all(embedded, writer, report, doing="encoding")


def _format_of(output: Path | None) -> str:
    if output is None:
        return "jsonl"
    ending = output.suffix.lower()
    if ending not in _ENDINGS:
        raise UsageError(f"--output {output}: its ending is not .jsonl, .npz or .parquet")
    return _ENDINGS[ending]
