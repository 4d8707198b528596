"""`zsclip embed`: pictures in, image features out, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsclip.cli import input_options, model_options, options, output_options
from zsclip.cli.input_options import DecodingOptions
from zsclip.cli.model_options import ModelOptions
from zsclip.cli.options import RunOptions
from zsclip.cli.output_options import Output
from zsclip.cli.rows import Report, open_errors, open_output, write_all
from zsclip.errors import UsageError

_ENDINGS = {"": "jsonl", ".jsonl": "jsonl", ".npz": "npz", ".parquet": "parquet"}


def embed(
    ctx: typer.Context,
    paths: input_options.Paths = None,
    files_from: input_options.FilesFrom = None,
    files0_from: input_options.Files0From = None,
    loading: DecodingOptions = DecodingOptions(),
    model: ModelOptions = ModelOptions(),
    precision: model_options.Precision = "fp32",
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
    run: RunOptions = RunOptions(),
) -> int:
    """Write the features of pictures, unit-length vectors, for other programs.

    Example: zsclip embed photos/ -o features.parquet
    """
    input_options.check_cache(cache_images=cache_images, no_cache=run.no_cache)
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
    opened = request.open_model(ctx, model, run, precision=precision)
    opened.decoding = loading.decoding()
    batches = embed_batches(
        inputs,
        model=opened,
        batch_size=batch_size,
        timeout_s=loading.timeout,
        image_cache=open_image_cache(opened, timeout_s=loading.timeout) if cache_images else None,
    )
    embedded = (item for batch in batches for item in batch)
    report = Report(skipped, strict, run.quiet)
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
