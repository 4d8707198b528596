"""Figures of labelled pictures -> one HTML file with charts and what went wrong.

Says what is drawn; how, is in `_data/report`. Knows nothing about how figures are made. The page of
a classification, which is made while it runs, is in `classification`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from zsclip.decoding import DEFAULT
from zsclip.figures import Evaluation, Mistake
from zsclip.read_ahead import TIMEOUT_S
from zsclip.readers.base import Sample
from zsclip.reports import pages
from zsclip.reports.charts import axis, confusions, octaves, shades
from zsclip.reports.thumbnails import MAX_COPIES_BYTES, Copies, Thumbnail

if TYPE_CHECKING:
    from zsclip.shot_curve import Curve

_MOST_CLASSES = 100
"""In a confusion matrix; of more, only the most frequent confusions are listed."""
_FEW_CLASSES = 15
_CONFUSED = 15


def write_evaluation(
    evaluation: Evaluation, stream: BinaryIO, *, samples: Iterable[Sample] = ()
) -> None:
    """Write the page of an evaluation.

    Args:
        samples: the pictures once more, for small copies of those that are answered wrong; they
            are read until all of these are found.

    Raises:
        OutputError: it cannot be written.
    """
    mistakes = list(_with_copies(evaluation.mistakes, samples))
    values = _values_of(evaluation)
    pages.write(stream, "evaluation.html", found=evaluation, mistakes=mistakes, **values)


def _with_copies(
    mistakes: Sequence[Mistake], samples: Iterable[Sample]
) -> Iterator[tuple[Mistake, Thumbnail | None]]:
    missing = {mistake.path for mistake in mistakes} - {None}
    futures: dict[str | None, Future[Thumbnail] | None] = {}
    with Copies(MAX_COPIES_BYTES, DEFAULT, TIMEOUT_S) as copies:
        for sample in samples if missing else ():
            if sample.path in missing:
                missing.remove(sample.path)
                futures[sample.path] = copies.begin(sample.source)
                if not missing:
                    break
        for mistake in mistakes:
            yield mistake, copies.end(futures.get(mistake.path))


def _values_of(found: Evaluation) -> dict[str, object]:
    names = found.class_names
    known = [one for one in found.per_class if one.count]
    figures = [one.values[found.metric] for one in found.figures]
    gains = [one.gain for one in found.figures if one.gain is not None]
    return {
        "facts": [
            ("Model", found.model),
            ("Pictures", f"{found.count:,}"),
            ("Classes", f"{len(names):,}"),
            ("Scores", found.score_kind),
        ],
        "figure_axis": axis([end for one in figures for end in (one.low, one.value, one.high)]),
        "gain_axis": axis(
            [0.0, *(end for one in gains for end in (one.low, one.value, one.high))],
            within=(-1.0, 1.0),
        ),
        "hardest": sorted(known, key=lambda one: one.value),
        "empty": len(names) - len(known),
        "few": _FEW_CLASSES,
        "confused": list(_confused(found)),
        "matrix": _matrix(found),
    }


def _confused(found: Evaluation) -> Iterator[tuple[str, str, int, float]]:
    """(truth, answer, pictures, share of the truth's pictures), the most frequent first."""
    if found.confusion is None:
        return
    sizes = found.confusion.sum(axis=1)
    for truth, answer, count in islice(confusions(found.confusion), _CONFUSED):
        yield found.class_names[truth], found.class_names[answer], count, count / sizes[truth]


def _matrix(found: Evaluation) -> list[list[tuple[int, int]]] | None:
    """(pictures, shade) of each cell; None where there are none, or too many to look at."""
    if found.confusion is None or len(found.confusion) > _MOST_CLASSES:
        return None
    return [
        list(zip(counts, shaded, strict=True))
        for counts, shaded in zip(
            found.confusion.tolist(), shades(found.confusion).tolist(), strict=True
        )
    ]


def write_probe(
    curve: Curve, stream: BinaryIO, *, name: str, model: str, notes: Sequence[str] = ()
) -> None:
    """Write the page of a few-shot curve.

    Args:
        name: of the pictures, for people.
        model: its name and digest, as in results.

    Raises:
        OutputError: it cannot be written.
    """
    values = [curve.zero_shot, *(one.value for one in curve.full)]
    for point in curve.points:
        values += [point.mean - point.deviation, point.mean + point.deviation, *point.values]
    pages.write(
        stream,
        "probe.html",
        found=curve,
        name=name,
        notes=notes,
        places=octaves([point.shots for point in curve.points]),
        y_axis=axis(values),
        facts=[
            ("Model", model),
            ("Training pictures", f"{curve.train_pictures:,}"),
            ("Test pictures", f"{curve.test_pictures:,}"),
            ("Method", curve.method),
        ],
    )
