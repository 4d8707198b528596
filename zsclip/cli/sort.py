"""`zsclip sort`: pictures into folders by label, and back again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console
from zsclip.cli import input_options, label_options, model_options, options, output_options
from zsclip.cli.input_options import DecodingOptions
from zsclip.cli.label_options import LabelOptions, PromptOptions
from zsclip.cli.model_options import ModelOptions
from zsclip.cli.options import RunOptions
from zsclip.cli.output_options import OtherOptions
from zsclip.errors import InputError, UsageError
from zsclip.results import SCORE_KINDS

if TYPE_CHECKING:
    from zsclip.inputs import Input, Skipped
    from zsclip.sorting.placement import Action
    from zsclip.sorting.sort_history import Earlier

_SORTING = "Sorting"
_OUTPUT = "Output"
_FORMATS = ("table", "jsonl")
_EXAMPLE = "zsclip sort photos/ --labels cat,dog --into sorted/ --move"
_NOT_WITH_UNDO = (
    "paths", "files_from", "files0_from", "into", "link", "copy", "move", "dry_run", "labels",
    "label", "labels_file", "dataset", "head",
)  # fmt: skip


def sort(
    ctx: typer.Context,
    paths: input_options.Paths = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            metavar="DIR",
            help="The folder that gets a folder for each label; made if there is none.",
            rich_help_panel=_SORTING,
        ),
    ] = None,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Make symbolic links; the pictures stay where they are.",
            rich_help_panel=_SORTING,
        ),
    ] = False,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the pictures.", rich_help_panel=_SORTING)
    ] = False,
    move: Annotated[
        bool, typer.Option("--move", help="Move the pictures.", rich_help_panel=_SORTING)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show what would be done, and change nothing.",
            rich_help_panel=_SORTING,
        ),
    ] = False,
    undo: Annotated[
        Path | None,
        typer.Option(
            "--undo",
            metavar="LOG",
            help="Take back what a log in the target folder says was done.",
            rich_help_panel=_SORTING,
        ),
    ] = None,
    labels: LabelOptions = LabelOptions(),
    head: label_options.HeadFile = None,
    files_from: input_options.FilesFrom = None,
    files0_from: input_options.Files0From = None,
    loading: DecodingOptions = DecodingOptions(),
    prompts: PromptOptions = PromptOptions(),
    truncate: label_options.Truncate = False,
    model: ModelOptions = ModelOptions(),
    precision: model_options.Precision = "fp32",
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="NAME",
            help="table or jsonl; a table on a terminal, else JSON Lines.",
            rich_help_panel=_OUTPUT,
            autocompletion=options.choices(*_FORMATS),
        ),
    ] = None,
    as_json: output_options.JsonLines = False,
    scores: output_options.Scores = None,
    min_score: output_options.MinScore = None,
    min_cosine: output_options.MinCosine = None,
    other: OtherOptions = OtherOptions(),
    group: Annotated[
        bool,
        typer.Option(
            "--group",
            help="Make folders of the groups that a labels file or head has, not of its labels.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    batch_size: options.BatchSize = None,
    cache_images: input_options.CacheImages = False,
    run: RunOptions = RunOptions(),
) -> int:
    """Put pictures into folders by label.

    Example: zsclip sort photos/ --labels cat,dog --into sorted/ --move
    """
    from zsclip.cli import sort_output

    form = _format_of(output_format, as_json=as_json)
    if undo is not None:
        if any(ctx.params[name] for name in _NOT_WITH_UNDO):
            raise UsageError("--undo LOG stands alone; it says what was done, and where")
        return sort_output.undo(undo, form, quiet=run.quiet)
    action = _action(link=link, copy=copy, move=move)
    if into is None:
        raise UsageError("no target folder named", tip=_EXAMPLE)
    if "-" in (paths or []):
        raise UsageError("a picture on stdin is no file that can be put into a folder")
    label_options.check_head(head, labels, prompts)
    other_name = other.name()
    input_options.check_cache(cache_images=cache_images, no_cache=run.no_cache)
    if scores is not None:
        options.one_of("--scores", scores, SCORE_KINDS)

    from zsclip.background import check_options
    from zsclip.classifier import Classifier
    from zsclip.cli import request, sorting
    from zsclip.inputs import Skipped
    from zsclip.sorting import sort_target
    from zsclip.sorting.sort_history import Earlier

    check_options(other_name, other.below(), multi_label=False, scores=scores, group=group)
    sort_target.check_folder(into)
    sort_target.check_apart(paths or [], into)
    decoding = loading.decoding()
    asked = request.head_or_request(ctx, head, labels, prompts, truncate=truncate)
    with contextlib.closing(Earlier(into, settles=not dry_run)) as earlier:
        skipped = Skipped()
        inputs = _inputs(paths or [], files_from, files0_from, skipped=skipped, earlier=earlier)
        opened, ready = request.open_with_head(
            ctx, asked, model, run, precision=precision, scores=scores
        )
        opened.decoding = decoding
        with request.encoding_names(quiet=run.quiet) as show:
            classifier = Classifier(
                ready,
                model=opened,
                scores=scores,
                top_k=1,
                min_score=min_score,
                min_cosine=min_cosine,
                group=group,
                other=other_name,
                other_below=other.below(),
                on_progress=show,
                batch_size=batch_size,
                timeout_s=loading.timeout,
                cache_images=cache_images,
            )
        sorter = sorting.make_sorter(classifier, into, action, earlier=earlier, dry_run=dry_run)
        with contextlib.closing(sorter):
            return sorting.run(classifier, inputs, sorter, form, skipped, quiet=run.quiet)


def _format_of(name: str | None, *, as_json: bool) -> str:
    if name is not None:
        return options.one_of("--format", name, _FORMATS)
    return "jsonl" if as_json or not console.stdout_is_terminal() else "table"


def _action(*, link: bool, copy: bool, move: bool) -> Action:
    chosen: list[Action] = []
    if link:
        chosen.append("link")
    if copy:
        chosen.append("copy")
    if move:
        chosen.append("move")
    if len(chosen) != 1:
        raise UsageError("use one of --link, --copy and --move", tip=_EXAMPLE)
    return chosen[0]


def _inputs(
    paths: list[str],
    files_from: str | None,
    files0_from: str | None,
    *,
    skipped: Skipped,
    earlier: Earlier,
) -> Iterator[Input]:
    """All inputs. There may be none where a run goes on: they were all moved."""
    try:
        return input_options.inputs(
            paths, files_from, files0_from, skipped=skipped, example=_EXAMPLE
        )
    except InputError:
        if earlier.unfinished:
            return iter(())
        raise
