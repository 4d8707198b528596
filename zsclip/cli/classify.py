"""`zsclip classify`: pictures and labels in, one row a picture out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip.cli import input_options, label_options, model_options, options, output_options
from zsclip.cli.input_options import DecodingOptions
from zsclip.cli.label_options import LabelOptions, PromptOptions
from zsclip.cli.model_options import ModelOptions
from zsclip.cli.options import RunOptions
from zsclip.cli.output_options import OtherOptions
from zsclip.cli.rows import Report, classifying, make_writer, open_errors, open_output, write_all
from zsclip.errors import UsageError, ZsclipWarning
from zsclip.results import SCORE_KINDS
from zsclip.writers import MORE_COLUMNS

if TYPE_CHECKING:
    from zsclip.classifier import Classifier
    from zsclip.inputs import Input


def classify(
    ctx: typer.Context,
    paths: input_options.Paths = None,
    labels: LabelOptions = LabelOptions(),
    head: label_options.HeadFile = None,
    files_from: input_options.FilesFrom = None,
    files0_from: input_options.Files0From = None,
    loading: DecodingOptions = DecodingOptions(),
    prompts: PromptOptions = PromptOptions(),
    truncate: label_options.Truncate = False,
    model: ModelOptions = ModelOptions(),
    precision: model_options.Precision = "fp32",
    output_format: output_options.Format = None,
    as_json: output_options.JsonLines = False,
    output: output_options.OutputFile = None,
    resume: output_options.Resume = None,
    retry_errors: output_options.RetryErrors = False,
    errors: output_options.Errors = None,
    csv_safe: output_options.CsvSafe = False,
    report: output_options.ReportFile = None,
    scores: output_options.Scores = None,
    top_k: output_options.TopK = 5,
    min_score: output_options.MinScore = None,
    min_cosine: output_options.MinCosine = None,
    other: OtherOptions = OtherOptions(),
    multi_label: output_options.MultiLabel = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            "--coverage",
            metavar="X",
            help="Add the set of labels that holds the truth of this share of pictures (0.9), of a "
            "head that 'zsclip calibrate' made.",
            rich_help_panel="Output",
        ),
    ] = None,
    group: Annotated[
        bool,
        typer.Option(
            "--group",
            help="Answer with the groups that a labels file or head has, not with their labels.",
            rich_help_panel="Output",
        ),
    ] = False,
    batch_size: options.BatchSize = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first input that fails.")
    ] = False,
    cache_images: input_options.CacheImages = False,
    run: RunOptions = RunOptions(),
) -> int:
    """Sort pictures by words.

    Example: zsclip classify photos/ --labels cat,dog
    """
    label_options.check_head(head, labels, prompts)
    other_name = other.name()
    if coverage is not None and head is None:
        raise UsageError(
            "--coverage needs a head that was calibrated",
            tip="zsclip calibrate --folder DIR -o FILE makes one, for --head FILE",
        )
    input_options.check_cache(cache_images=cache_images, no_cache=run.no_cache)
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
        report=report,
    )
    output_options.check_apart(chosen, [files_from, files0_from, head, *(labels.labels_file or [])])
    if chosen.resume and "-" in (paths or []):
        raise UsageError("--resume cannot tell which picture came on stdin; name a file")

    from zsclip.background import check_options
    from zsclip.classifier import Classifier
    from zsclip.cli import request
    from zsclip.inputs import Skipped

    check_options(other_name, other.below(), multi_label=multi_label, scores=scores, group=group)
    decoding = loading.decoding()
    skipped = Skipped()
    inputs = input_options.inputs(
        paths or [],
        files_from,
        files0_from,
        skipped=skipped,
        example="zsclip classify img.jpg --labels cat,dog",
    )
    asked = request.head_or_request(ctx, head, labels, prompts, truncate=truncate)
    opened, ready = request.open_with_head(
        ctx, asked, model, run, precision=precision, scores=scores
    )
    opened.decoding = decoding
    with request.encoding_names(quiet=run.quiet) as show:
        classifier = Classifier(
            ready,
            model=opened,
            scores=scores,
            top_k=top_k,
            min_score=min_score,
            min_cosine=min_cosine,
            coverage=coverage,
            group=group,
            other=other_name,
            other_below=other.below(),
            multi_label=multi_label,
            on_progress=show,
            batch_size=batch_size,
            timeout_s=loading.timeout,
            cache_images=cache_images,
        )
    if not other_name:
        _warn_about_one_label(len(classifier.rules.names), classifier.score_kind)
    return _write(
        classifier,
        inputs,
        chosen,
        Report(skipped, strict, run.quiet),
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
    with (
        classifying(classifier, output.report) as classify_inputs,
        open_output(output) as stream,
        open_errors(output.errors) as report.errors,
    ):
        writer = make_writer(
            stream,
            output,
            one_picture=one_picture,
            score_kind=classifier.score_kind,
            run=run.digest,
            more=[column for column in MORE_COLUMNS if column in run.keys],
        )
        return write_all(classify_inputs(inputs), writer, report)


def _is_one_picture(paths: Sequence[str], list_name: str | None) -> bool:
    return len(paths) == 1 and not list_name and (paths[0] == "-" or Path(paths[0]).is_file())


def _warn_about_one_label(classes: int, score_kind: str) -> None:
    if classes == 1 and score_kind == "softmax":
        warnings.warn(
            "one label only: its score is always 1; look at the cosine, or add labels",
            ZsclipWarning,
            stacklevel=2,
        )
