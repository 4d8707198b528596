"""One run of `zsclip evaluate`: heads, a row for each picture, figures, and where they go."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from zsclip import console, predictions
from zsclip.classifier import Classifier
from zsclip.cli import figures_output
from zsclip.cli.request import HeadRequest, build_with_progress
from zsclip.cli.rows import PARTLY_FAILED, writing
from zsclip.datasets import load_dataset
from zsclip.encoders import Model
from zsclip.errors import UsageError
from zsclip.evaluate import RANKS_PICTURES, Tally, matched, summarise
from zsclip.figures import Evaluation, OnError
from zsclip.heads import Head
from zsclip.predictions import Scored
from zsclip.prompts import DEFAULT_TEMPLATES, TemplateSet, load_templates
from zsclip.published import OWN_TEMPLATES, beside
from zsclip.readers.base import LabelledPictures
from zsclip.reports.figures import write_evaluation
from zsclip.reports.pages import open_report
from zsclip.writers import dumps

_TUNING = (
    "whoever chooses a template set by these figures tunes on these pictures: "
    "report the choice on others"
)


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for, as the options of the command."""

    dataset: str | None
    split: str | None
    on_error: str
    draws: int
    seed: int
    scores: str | None
    truncate: bool
    batch_size: int | None
    timeout_s: float
    cache_images: bool
    predictions: Path | None
    goes_on: bool
    report: Path | None
    as_json: bool
    quiet: bool


def template_sets(
    names: Sequence[str] | None, *, kind: str | None, dataset: str | None
) -> dict[str, TemplateSet]:
    """Each template set by the name that it was asked for with, in that order.

    Raises:
        UsageError: no such template set, or no data set to bring its own.
    """
    found: dict[str, TemplateSet] = {}
    for name in names or [DEFAULT_TEMPLATES]:
        if name != OWN_TEMPLATES:
            chosen = load_templates(name)
        elif dataset is None:
            raise UsageError("--templates dataset needs --dataset NAME")
        else:
            chosen = load_dataset(dataset).templates
        found[name] = chosen.with_kind(kind) if kind else chosen
    return found


def run(
    pictures: LabelledPictures,
    asked: Head | Mapping[str, TemplateSet],
    *,
    model: Model,
    options: Options,
) -> int:
    """Evaluate a head, or one for each template set; return the exit code."""
    if options.scores is not None:  # before the work of building
        model.choose_kind(options.scores)
    if isinstance(asked, Head):
        pictures, heads = matched(pictures, asked), [asked]
    else:
        heads = _build(pictures, list(asked.values()), model, options)
    classifiers = [
        Classifier(
            head,
            model=model,
            scores=options.scores,
            batch_size=options.batch_size,
            timeout_s=options.timeout_s,
            cache_images=options.cache_images,
        )
        for head in heads
    ]
    tally = Tally(pictures, heads=len(heads), on_error=cast(OnError, options.on_error))
    with contextlib.ExitStack() as at_the_end:
        page = options.report and at_the_end.enter_context(open_report(options.report))
        _count(pictures, classifiers, tally, options)
        found = summarise(tally, classifiers, draws=options.draws, seed=options.seed)
        found = _beside_published(found, asked, model, options)
        if page:
            write_evaluation(found, page, samples=pictures.read())
    if not options.quiet and tally.failed:
        console.summary(tally.read, tally.failed, 0)
    if options.as_json or not console.stdout_is_terminal():
        console.line(dumps(figures_output.as_row(found)))
    else:
        figures_output.show(found)
    return PARTLY_FAILED if tally.failed else 0


def _count(
    pictures: LabelledPictures,
    classifiers: Sequence[Classifier],
    tally: Tally,
    options: Options,
) -> None:
    rows = _scored(pictures, classifiers, options)
    shown = not options.quiet and console.stderr_is_terminal()
    with console.progress("evaluating", shown=shown) as show, contextlib.closing(rows):
        for number, scored in enumerate(rows, 1):
            tally.add(scored)
            show(number, pictures.size)


def _build(
    pictures: LabelledPictures, sets: Sequence[TemplateSet], model: Model, options: Options
) -> list[Head]:
    wanted = [HeadRequest(pictures.class_names, None, one, options.truncate) for one in sets]
    return [build_with_progress(one, model, quiet=options.quiet).head for one in wanted]


def _scored(
    pictures: LabelledPictures,
    classifiers: Sequence[Classifier],
    options: Options,
) -> Generator[Scored, None, None]:
    """Every picture scored, first those that the file has; what is new is written to it."""
    path = options.predictions
    run = predictions.run_digest(pictures, classifiers, split=options.split)
    done, end = predictions.read(path, run=run) if options.goes_on and path else ([], 0)
    samples = predictions.remaining(pictures.read(), done)
    new = predictions.score(
        samples,
        classifiers,
        ranks_pictures=pictures.multi_label or pictures.metric in RANKS_PICTURES,
    )
    yield from done
    if path is None:
        yield from new
        return
    if done and not options.quiet:
        console.say(f"{console.printable(str(path))}: {len(done):,} rows are done")
    names = classifiers[0].head.class_names
    templates = [one.head.provenance.templates_name for one in classifiers]
    with writing(path), _opened_behind(path, end) as file:
        for scored in new:
            line = predictions.as_line(scored, class_names=names, templates=templates, run=run)
            file.write(line)
            file.flush()
            yield scored


@contextlib.contextmanager
def _opened_behind(path: Path, size_bytes: int) -> Iterator[BinaryIO]:
    """The file, cut behind its whole rows."""
    with path.open("r+b" if size_bytes else "wb") as file:
        file.truncate(size_bytes)
        file.seek(size_bytes)
        yield file


def _beside_published(
    found: Evaluation, asked: Head | Mapping[str, TemplateSet], model: Model, options: Options
) -> Evaluation:
    """With published figures of the same data set, and a word on choosing among templates."""
    if isinstance(asked, Head):
        return found
    if len(asked) > 1:
        found = replace(found, notes=(*found.notes, _TUNING))
    if options.dataset is None or options.scores is not None:
        return found
    known = load_dataset(options.dataset)
    usual = known.facts["split"]
    is_whole = not found.failed and found.count == int(usual["size"])
    published = beside(
        known,
        model=model.local.source.name,
        measured={
            one.templates: figures.values[found.metric].value
            for one, figures in zip(asked.values(), found.figures, strict=True)
        },
        split=usual["name"] if is_whole and options.split in (None, usual["name"]) else None,
    )
    return replace(found, published=tuple(published))
