"""`zsclip labels`: what is probably wrong with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console, tables
from zsclip.cli import options
from zsclip.cli.label_options import LabelOptions, PromptOptions
from zsclip.cli.model_options import ModelOptions
from zsclip.cli.options import OrderedCommand, RunOptions, spread
from zsclip.errors import ModelError

if TYPE_CHECKING:
    from zsclip.label_check import Finding

app = typer.Typer(help="Labels: find what is probably wrong with them.")


@app.callback()
def _labels() -> None:
    """Find what is probably wrong with labels."""


@app.command(cls=OrderedCommand)
@spread
def check(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE...", help="Labels files, as for --labels-file of classify."),
    ] = None,
    labels: LabelOptions = LabelOptions(),
    prompts: PromptOptions = PromptOptions(),
    model: ModelOptions = ModelOptions(),
    as_json: options.AsJson = False,
    run: RunOptions = RunOptions(),
) -> int:
    """Name labels that are ambiguous, misspelled, too long or too near to others, with advice.

    Example: zsclip labels check animals.yaml --model tiny
    """
    from zsclip.cli import request
    from zsclip.label_check import check_words
    from zsclip.label_meaning import check_meaning
    from zsclip.labels import class_label

    labels = replace(labels, labels_file=[*(labels.labels_file or []), *(files or [])])
    wanted = request.head_request(ctx, labels, prompts, truncate=False)
    where = f"--dataset {labels.dataset}" if labels.dataset else ""
    classes = [class_label(names, where=where) for names in wanted.class_names]
    found = check_words(classes)
    try:
        opened = request.open_model(ctx, model, run)
        shown = console.stderr_is_terminal() and not run.quiet
        with console.progress("encoding classes", shown=shown) as progress:
            found += check_meaning(
                classes, model=opened, templates=wanted.templates, on_progress=progress
            )
    except ModelError:  # what words alone say holds without it
        _show(found, as_json=as_json)
        raise
    _show(found, as_json=as_json)
    if not run.quiet:
        console.say(f"{len(found):,} findings in {len(classes):,} labels")
    return 0


def _show(findings: Sequence[Finding], *, as_json: bool) -> None:
    """A table for people, else a line of JSON for each."""
    from zsclip.writers import dumps

    if as_json or not console.stdout_is_terminal():
        for finding in findings:
            console.line(dumps(asdict(finding)))
    elif findings:
        rows = [(finding.label, finding.message, finding.suggestion) for finding in findings]
        tables.plain_table(rows, header=("label", "what is found", "what to do"))
