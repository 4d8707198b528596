"""One run of `zsclip calibrate`: a head, encoded pictures, and what calibrating them does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from zsclip import console, labelled_features
from zsclip.calibrate import calibrate, check_count, check_head
from zsclip.classifier import Classifier
from zsclip.cli import calibrate_output
from zsclip.cli.request import HeadRequest, build_with_progress
from zsclip.cli.rows import PARTLY_FAILED
from zsclip.embedding import open_image_cache
from zsclip.encoders import Model
from zsclip.errors import UsageError
from zsclip.evaluate import matched
from zsclip.heads import Head
from zsclip.labelled_features import LabelledFeatures, OnError
from zsclip.prompts import TemplateSet
from zsclip.readers.base import LabelledPictures
from zsclip.writers import dumps


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for, as the options of the command."""

    coverages: tuple[float, ...]
    on_error: str
    seed: int
    draws: int
    output: Path | None
    truncate: bool
    batch_size: int | None
    timeout_s: float
    cache_images: bool
    as_json: bool
    quiet: bool


def run(
    pictures: LabelledPictures, asked: Head | TemplateSet, *, model: Model, options: Options
) -> int:
    """Calibrate a head, or one of the class names; return the exit code."""
    if pictures.multi_label:
        raise UsageError(f"{pictures.name}: calibrating needs pictures with one class each")
    if pictures.size is not None:  # before the work of encoding
        check_count(pictures.name, pictures.size, options.coverages)
    if isinstance(asked, Head):
        head, pictures = asked, matched(pictures, asked)
    else:
        wanted = HeadRequest(pictures.class_names, None, asked, options.truncate)
        head = build_with_progress(wanted, model, quiet=options.quiet).head
    check_head(head, fit=model.decoding.fit)
    features = _embed(pictures, model, options)
    found = calibrate(
        features,
        Classifier(head, model=model),
        coverages=options.coverages,
        seed=options.seed,
        draws=options.draws,
    )
    if options.output is not None:
        found.head.save(options.output)
    failed = features.failed
    if failed and not options.quiet:
        console.summary(len(features.labels), failed, 0)
    if options.as_json or not console.stdout_is_terminal():
        about = {"name": pictures.name, "model": model.id, "failed": dict(failed or {})}
        console.line(dumps({**about, **calibrate_output.as_row(found, options.output)}))
    else:
        calibrate_output.show(found, options.output, title=f"{pictures.name}, {model.id}")
    return PARTLY_FAILED if failed else 0


def _embed(pictures: LabelledPictures, model: Model, options: Options) -> LabelledFeatures:
    shown = console.stderr_is_terminal() and not options.quiet
    timeout_s = options.timeout_s
    with console.progress("encoding pictures", shown=shown) as show:
        return labelled_features.embed(
            pictures,
            model=model,
            on_error=cast(OnError, options.on_error),
            batch_size=options.batch_size,
            timeout_s=timeout_s,
            image_cache=open_image_cache(model, timeout_s=timeout_s)
            if options.cache_images
            else None,
            on_progress=show,
        )
