"""`zsclip labels`: what is probably wrong with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip import console
from zsclip.cli import options
from zsclip.cli.options import OrderedCommand
from zsclip.errors import ModelError

if TYPE_CHECKING:
    from zsclip.label_check import Finding

app = typer.Typer(help="Labels: find what is probably wrong with them.")


@app.callback()
def _labels() -> None:
    """Find what is probably wrong with labels."""


@app.command(cls=OrderedCommand)
def check(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE...", help="Labels files, as for --labels-file of classify."),
    ] = None,
    labels: options.Labels = None,
    label: options.Label = None,
    labels_file: options.LabelsFile = None,
    encoding: options.Encoding = None,
    dataset: options.DatasetName = None,
    templates: options.Templates = None,
    template: options.Template = None,
    kind: options.Kind = None,
    model: options.ModelName = None,
    weights: options.Weights = None,
    tag: options.Tag = None,
    revision: options.Revision = None,
    sha256: options.Sha256 = None,
    allow_pickle: options.AllowPickle = False,
    offline: options.Offline = False,
    engine: options.Engine = "auto",
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    cache_dir: options.CacheDir = None,
    no_cache: options.NoCache = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Name labels that are ambiguous, misspelled, too long or too near to others, with advice.

    Example: zsclip labels check animals.yaml --model tiny
    """
    from zsclip.cli import request
    from zsclip.label_check import check_words
    from zsclip.label_meaning import check_meaning
    from zsclip.labels import class_label

    wanted = request.head_request(
        ctx,
        label_options={
            "labels": labels or [],
            "label": label or [],
            "labels_file": [*(labels_file or []), *(files or [])],
        },
        encoding=encoding,
        dataset=dataset,
        templates=templates,
        template=template or [],
        kind=kind,
        truncate=False,
    )
    where = f"--dataset {dataset}" if dataset else ""
    classes = [class_label(names, where=where) for names in wanted.class_names]
    found = check_words(classes)
    try:
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
            cache_dir=cache_dir,
            no_cache=no_cache,
            quiet=quiet,
            verbose=verbose,
        )
        shown = console.stderr_is_terminal() and not quiet
        with console.progress("encoding classes", shown=shown) as progress:
            found += check_meaning(
                classes, model=opened, templates=wanted.templates, on_progress=progress
            )
    except ModelError:  # what words alone say holds without it
        _show(found, as_json=as_json)
        raise
    _show(found, as_json=as_json)
    if not quiet:
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
        console.plain_table(rows, header=("label", "what is found", "what to do"))
