"""`zsclip classify`: pictures and labels in, one row a picture out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from zsclip.cli import options, output_options
from zsclip.cli.rows import Report, make_writer, open_errors, open_output, write_all
from zsclip.errors import UsageError, ZsclipWarning
from zsclip.results import SCORE_KINDS

if TYPE_CHECKING:
    from zsclip.classifier import Classifier
    from zsclip.inputs import Input, Skipped

_INPUT = "Input"


def classify(
    ctx: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...", help="Pictures, folders, quoted globs; - reads a picture from stdin."
        ),
    ] = None,
    labels: options.Labels = None,
    label: options.Label = None,
    labels_file: options.LabelsFile = None,
    encoding: options.Encoding = None,
    dataset: options.DatasetName = None,
    head: Annotated[
        Path | None,
        typer.Option(
            "--head",
            metavar="FILE",
            help="A head made by 'zsclip build-head -o FILE'.",
            rich_help_panel="Labels (one of)",
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(
            "--files-from",
            metavar="FILE|-",
            help="Read paths from a file, one a line; - is stdin.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    files0_from: Annotated[
        str | None,
        typer.Option(
            "--files0-from",
            metavar="FILE|-",
            help="The same with NUL between paths, as from 'find -print0'.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    decode: options.Decode = "exact",
    exact: options.Exact = False,
    background: options.Background = "white",
    max_pixels: options.MaxPixels = None,
    max_bytes: options.MaxBytes = None,
    allow_truncated: options.AllowTruncated = False,
    timeout: options.Timeout = 20.0,
    templates: options.Templates = None,
    template: options.Template = None,
    kind: options.Kind = None,
    truncate: options.Truncate = False,
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
    output_format: output_options.Format = None,
    as_json: output_options.JsonLines = False,
    output: output_options.OutputFile = None,
    resume: output_options.Resume = None,
    retry_errors: output_options.RetryErrors = False,
    errors: output_options.Errors = None,
    csv_safe: output_options.CsvSafe = False,
    scores: output_options.Scores = None,
    top_k: output_options.TopK = 5,
    min_score: output_options.MinScore = None,
    min_cosine: output_options.MinCosine = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, metavar="N", help="Pictures encoded together."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first input that fails.")
    ] = False,
    cache_dir: options.CacheDir = None,
    no_cache: options.NoCache = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Sort pictures by words.

    Example: zsclip classify photos/ --labels cat,dog
    """
    label_options = {
        "labels": labels or [],
        "label": label or [],
        "labels_file": labels_file or [],
    }
    if head is not None and (any(label_options.values()) or dataset or encoding is not None):
        raise UsageError("--head brings its own labels; leave out --labels and --dataset")
    if head is not None and (templates or template or kind):
        raise UsageError("--head brings its own templates; leave out --templates")
    if scores is not None:
        options.one_of("--scores", scores, SCORE_KINDS)
    chosen = output_options.choose(
        output_format,
        as_json=as_json,
        output=output,
        resume=resume,
        retry_errors=retry_errors,
        errors=errors,
        csv_safe=csv_safe,
    )
    output_options.check_apart(chosen, [files_from, files0_from, head, *(labels_file or [])])
    if chosen.resume and "-" in (paths or []):
        raise UsageError("--resume cannot tell which picture came on stdin; name a file")

    from zsclip.classifier import Classifier
    from zsclip.cli import request
    from zsclip.decoding import DEFAULT
    from zsclip.heads import load_head
    from zsclip.inputs import Skipped

    decoding = DEFAULT.but(
        decode=decode,
        exact=exact,
        background=background,
        max_pixels=max_pixels,
        max_bytes=None if max_bytes is None else options.size_bytes("--max-bytes", max_bytes),
        allow_truncated=allow_truncated,
    )
    skipped = Skipped()
    inputs = _inputs(paths or [], files_from, files0_from, skipped)
    loaded = None if head is None else load_head(head)
    source = ctx.get_parameter_source("model")
    if loaded is not None and source is not None and source.name == "ENVIRONMENT":
        model = None  # a head knows its own
    wanted = None
    if loaded is None:
        wanted = request.head_request(
            ctx,
            label_options=label_options,
            encoding=encoding,
            dataset=dataset,
            templates=templates,
            template=template or [],
            kind=kind,
            truncate=truncate,
        )
    if loaded is not None and model is None and weights is None:
        revision = revision or loaded.provenance.revision
    opened = request.open_model(
        model or (None if loaded is None else loaded.model_name()),
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
    opened.decoding = decoding
    if wanted is not None:
        if scores is not None:  # before the work of building
            opened.choose_kind(scores)
        built = request.build_with_progress(wanted, opened, quiet=quiet)
        loaded = built.head
        if verbose:
            request.say_what_was_built(wanted, built)
    assert loaded is not None
    classifier = Classifier(
        loaded,
        model=opened,
        scores=scores,
        top_k=top_k,
        min_score=min_score,
        min_cosine=min_cosine,
        batch_size=batch_size,
        timeout_s=timeout,
    )
    _warn_about_one_label(len(loaded.class_names), classifier.score_kind)
    return _write(
        classifier,
        inputs,
        chosen,
        Report(skipped, strict, quiet),
        one_picture=_is_one_picture(paths or [], files_from or files0_from),
    )


def _write(
    classifier: Classifier,
    inputs: Iterator[Input],
    output: output_options.Output,
    report: Report,
    *,
    one_picture: bool,
) -> int:
    from zsclip.cli.resume import resume
    from zsclip.resuming import Run

    run = Run.of(classifier)
    if output.resume and output.path is not None:
        return resume(
            output.path,
            classifier,
            inputs,
            run=run,
            retry_errors=output.retry_errors,
            errors=output.errors,
            report=report,
        )
    with open_output(output) as stream, open_errors(output.errors) as report.errors:
        writer = make_writer(
            stream,
            output,
            one_picture=one_picture,
            score_kind=classifier.score_kind,
            run=run.digest,
        )
        return write_all(classifier.classify_inputs(inputs), writer, report)


def _is_one_picture(paths: Sequence[str], list_name: str | None) -> bool:
    return len(paths) == 1 and not list_name and (paths[0] == "-" or Path(paths[0]).is_file())


def _inputs(
    paths: Sequence[str], files_from: str | None, files0_from: str | None, skipped: Skipped
) -> Iterator[Input]:
    from zsclip.inputs import at_least_one, expand, from_list

    readers = [path for path in paths if path == "-"]
    readers += [name for name in (files_from, files0_from) if name == "-"]
    if len(readers) > 1:
        raise UsageError("stdin can be read once: use one of -, --files-from -, --files0-from -")
    if not paths and files_from is None and files0_from is None:
        raise UsageError(
            "no pictures named", tip="zsclip classify img.jpg --labels cat,dog (or - for stdin)"
        )
    lists = [
        from_list(_open_list(name), separator=separator, skipped=skipped)
        for name, separator in ((files_from, b"\n"), (files0_from, b"\0"))
        if name is not None
    ]
    inputs = at_least_one(
        chain(expand(paths, stdin=sys.stdin.buffer, skipped=skipped), *lists), skipped
    )
    if readers:  # a slow pipe must not hold up loading the model
        return inputs
    return chain([next(inputs)], inputs)


def _open_list(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdin.buffer
    try:
        return open(name, "rb")
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {(error.strerror or '').lower()}") from error


def _warn_about_one_label(classes: int, score_kind: str) -> None:
    if classes == 1 and score_kind == "softmax":
        warnings.warn(
            "one label only: its score is always 1; look at the cosine, or add labels",
            ZsclipWarning,
            stacklevel=2,
        )
