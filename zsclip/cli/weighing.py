"""`build-head --template-weights zpe --pictures PATH`: a head whose templates are weighed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zsclip import console
from zsclip.cli import input_options
from zsclip.cli.request import HeadRequest
from zsclip.cli.rows import Report
from zsclip.embedding import embed_batches, open_image_cache
from zsclip.encoders import Model
from zsclip.errors import InputError
from zsclip.heads import Head
from zsclip.inputs import Skipped
from zsclip.template_weights import build_weighed

_SHOWN = 3
_EXAMPLE = "zsclip build-head --labels cat,dog --template-weights zpe --pictures photos/ -o FILE"


def build(
    wanted: HeadRequest, model: Model, pictures: Sequence[str], *, cache_images: bool, quiet: bool
) -> Head:
    """Encode the pictures, weigh the templates, build the head; say which count for most.

    Pictures that cannot be read are told, counted, and left out.

    Raises:
        UsageError: too few pictures.
        InputError: none could be read.
    """
    report = Report(Skipped(), quiet=quiet)
    inputs = input_options.inputs(pictures, None, None, skipped=report.skipped, example=_EXAMPLE)
    features = []
    shown = console.stderr_is_terminal() and not quiet
    cache = open_image_cache(model) if cache_images else None
    with console.progress("encoding pictures", shown=shown) as show:
        for batch in embed_batches(inputs, model=model, image_cache=cache):
            for item in batch:
                report.count(item, said=not quiet)
                features += [] if item.features is None else [item.features]
            show(report.rows, None)
    if report.failed and not quiet:
        console.summary(report.ok, report.failed, report.skipped.files)
    if not features:
        raise InputError("none of --pictures could be read")
    with console.progress("encoding templates", shown=shown) as show:
        head, weights = build_weighed(
            wanted.class_names,
            np.stack(features),
            model=model,
            templates=wanted.templates,
            truncate=wanted.truncate,
            places=wanted.places,
            on_progress=show,
        )
    if not quiet:
        order = np.argsort(-weights, kind="stable")
        texts = wanted.templates.templates
        most = ", ".join(f"{texts[i]!r} {weights[i] * len(weights):.2f}" for i in order[:_SHOWN])
        least = f"{texts[order[-1]]!r} {weights[order[-1]] * len(weights):.2f}"
        console.say(console.printable(f"weights, 1 is the mean: {most}; the least {least}"))
    return head
