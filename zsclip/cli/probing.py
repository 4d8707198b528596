"""One run of `zsclip probe`: encode the pictures, fit, and say how good it is."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from zsclip import console, labelled_features
from zsclip.cli import probe_output
from zsclip.cli.probe_parts import Parts
from zsclip.cli.request import HeadRequest, build_with_progress
from zsclip.cli.rows import PARTLY_FAILED
from zsclip.draws import split_off
from zsclip.embedding import open_image_cache
from zsclip.encoders import Model
from zsclip.errors import UsageError
from zsclip.heads import Head
from zsclip.labelled_features import LabelledFeatures, OnError
from zsclip.linear_probe import is_installed, require
from zsclip.probe import Method, Probe, check_classes, fit_few_shot, fit_linear
from zsclip.prompts import TemplateSet
from zsclip.readers.base import LabelledPictures
from zsclip.reports.figures import write_probe
from zsclip.reports.pages import open_report
from zsclip.shot_curve import curve, figure
from zsclip.writers import dumps

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for, as the options of the command."""

    method: str
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    on_error: str
    truncate: bool
    output: Path | None
    report: Path | None
    batch_size: int | None
    timeout_s: float
    cache_images: bool
    as_json: bool
    quiet: bool

    def say(self, line: str) -> None:
        """One line for people, unless they want none."""
        if not self.quiet:
            console.say(console.printable(line))


@dataclass(frozen=True, slots=True)
class Encoded:
    """All pictures of a run after encoding.

    Attributes:
        left_out: pictures that were among the test pictures, too.
        failed: how many could not be read, by error code.
    """

    train: LabelledFeatures
    validation: LabelledFeatures | None
    test: LabelledFeatures | None
    left_out: int
    failed: Counter[str]


def run(parts: Parts, templates: TemplateSet, *, model: Model, options: Options) -> int:
    """Fit one head and write it, or print a curve; return the exit code."""
    with contextlib.ExitStack() as at_the_end:
        page = None
        if options.report is not None:
            page = at_the_end.enter_context(open_report(options.report))
        return _run(parts, templates, model=model, options=options, page=page)


def _run(
    parts: Parts,
    templates: TemplateSet,
    *,
    model: Model,
    options: Options,
    page: BinaryIO | None,
) -> int:
    if options.method == "linear":
        require()  # before the work of encoding
    elif options.output is not None and parts.validation is not None:
        raise UsageError(
            "--method few-shot needs no validation pictures",
            tip="leave them out, or use --method linear",
        )
    prior = None
    if options.method == "few-shot" or parts.has_test:
        wanted = HeadRequest(parts.train.class_names, None, templates, options.truncate)
        prior = build_with_progress(wanted, model, quiet=options.quiet).head
    encoded = _encode(parts, model, options)
    check_classes(encoded.train)
    fewer = _say_fewer(encoded.train, options)
    common = {
        "failed": dict(encoded.failed),
        "left_out": encoded.left_out,
        "fewer": fewer,
        "notes": list(parts.train.notes),
    }
    if options.output is None:
        assert prior is not None  # a curve has test pictures
        _print_curve(encoded, prior, model, options, common, page)
    else:
        _write_head(encoded, prior, model, options, common)
    if encoded.failed and not options.quiet:
        read = sum(len(one.labels) for one in _all(encoded))
        console.summary(read + encoded.left_out, encoded.failed, 0)
    return PARTLY_FAILED if encoded.failed else 0


def _encode(parts: Parts, model: Model, options: Options) -> Encoded:
    """Encode all pictures; test pictures and those to fit to have none in common afterwards."""
    train = _embed(parts.train, "training", parts, model, options)
    validation = test = None
    if parts.validation is not None:
        validation = _embed(parts.validation, "validation", parts, model, options)
        validation = labelled_features.with_classes_of(validation, train)
    if parts.test is not None:
        test = _embed(parts.test, "test", parts, model, options)
        test = labelled_features.with_classes_of(test, train)
    failed = sum((one.failed for one in (train, validation, test) if one), Counter[str]())
    if parts.test_fraction is not None:
        kept, held = split_off(train.labels, parts.test_fraction, seed=options.seeds[0])
        train, test = train.take(kept), train.take(held)
        options.say(
            f"{len(held):,} test pictures set aside (--test-fraction, --seed {options.seeds[0]}), "
            f"{len(kept):,} left to fit to"
        )
    left_out = 0
    if test is not None:
        train, left_out = labelled_features.without_pictures_of(train, test)
        if validation is not None:
            validation, more = labelled_features.without_pictures_of(validation, test)
            left_out += more
    if left_out:
        options.say(f"{left_out:,} pictures are among the test pictures, too: not fitted to")
    return Encoded(train, validation, test, left_out, failed)


def _embed(
    pictures: LabelledPictures, what: str, parts: Parts, model: Model, options: Options
) -> LabelledFeatures:
    for note in pictures.notes:
        options.say(f"note: {pictures.name}: {note}")
    shown = console.stderr_is_terminal() and not options.quiet
    with console.progress(f"encoding {what} pictures", shown=shown) as show:
        return labelled_features.embed(
            pictures,
            model=model,
            on_error=cast(OnError, options.on_error),
            batch_size=options.batch_size,
            timeout_s=options.timeout_s,
            image_cache=open_image_cache(model, timeout_s=options.timeout_s)
            if options.cache_images
            else None,
            with_contents=parts.has_test,
            on_progress=show,
        )


def _all(encoded: Encoded) -> list[LabelledFeatures]:
    parts = (encoded.train, encoded.validation, encoded.test)
    return [part for part in parts if part is not None]


def _say_fewer(train: LabelledFeatures, options: Options) -> dict[str, int]:
    """Classes with fewer pictures than shots, and what is done about them."""
    most = max(options.shots, default=0)
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    fewer = {train.shown_names[i]: int(n) for i, n in enumerate(counts) if n < most}
    if fewer:
        some = [f"{name} {count}" for name, count in sorted(fewer.items(), key=lambda one: one[1])]
        more = f", and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
        options.say(
            f"{len(fewer):,} of {len(counts):,} classes have fewer than {most} training pictures "
            f"({', '.join(some[:_SHOWN])}{more}): all of theirs are taken"
        )
    return fewer


def _fit(encoded: Encoded, prior: Head | None, model: Model, options: Options) -> Probe:
    shots = options.shots[0] if options.shots else None
    if options.method == "linear":
        return fit_linear(
            encoded.train,
            model=model,
            validation=encoded.validation,
            shots=shots,
            seed=options.seeds[0],
        )
    assert prior is not None
    return fit_few_shot(encoded.train, prior=prior, shots=shots, seed=options.seeds[0])


def _write_head(
    encoded: Encoded,
    prior: Head | None,
    model: Model,
    options: Options,
    common: dict[str, object],
) -> None:
    probe = _fit(encoded, prior, model, options)
    assert options.output is not None
    probe.head.save(options.output)
    tested = None
    if encoded.test is not None and prior is not None:
        tested = probe_output.Tested(
            encoded.test.metric,
            len(encoded.test.labels),
            zero_shot=figure(prior, encoded.test),
            value=figure(probe.head, encoded.test),
        )
    for line in probe_output.sentences(probe, prior, tested):
        options.say(line)
    if options.as_json:
        row = probe_output.head_row(probe, options.output, model, tested) | common
        console.line(dumps(row))
    else:
        console.line(str(options.output))


def _print_curve(
    encoded: Encoded,
    prior: Head,
    model: Model,
    options: Options,
    common: dict[str, object],
    page: BinaryIO | None,
) -> None:
    assert encoded.test is not None
    shown = console.stderr_is_terminal() and not options.quiet
    with console.progress("fitting heads", shown=shown) as show:
        found = curve(
            encoded.train,
            encoded.test,
            prior=prior,
            model=model,
            method=cast(Method, options.method),
            shots=options.shots,
            seeds=options.seeds,
            validation=encoded.validation,
            on_progress=show,
        )
    if not is_installed():
        options.say("no linear probe beside it: that needs scikit-learn, in 'zsclip[probe]'")
    if page is not None:
        write_probe(found, page, name=encoded.train.name, model=model.id)
    about = {"name": encoded.train.name, "model": model.id, "seeds": list(options.seeds)}
    if options.as_json or not console.stdout_is_terminal():
        console.line(dumps(about | probe_output.curve_row(found, prior) | common))
    else:
        probe_output.show(found, prior, title=f"{encoded.train.name}: {model.id}")
