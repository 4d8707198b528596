"""What each head says of each labelled picture: score, write as JSON Lines, read again.

A row has all that figures need, to the last bit of a float32, so that an evaluation that was
stopped goes on behind its rows. Knows nothing about metrics.

Shapes: B images, C classes, D feature size.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip import scoring
from zsclip.classifier import Classifier
from zsclip.embedding import Embedded, embed_batches
from zsclip.errors import UsageError
from zsclip.readers.base import LabelledPictures, Sample
from zsclip.results import Failure
from zsclip.writers import beginning_of_row, dumps, path_of_row

Floats = npt.NDArray[np.float32]

_RUN_DIGITS = 12
_FLOAT32 = "%.9g"
"""As many digits as bring a float32 back to the bit."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one head says of one picture.

    Attributes:
        predicted: index of the best class.
        rank: how many classes are before the best of those that are true.
        score: of the best class.
        truth_score: the best score of those that are true.
        squared: sum over classes of (score - 1 where true, else 0) squared, Brier's term.
        logits: of every class, where pictures are ranked by them.
    """

    predicted: int
    rank: int
    score: float
    truth_score: float
    squared: float
    logits: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """One labelled picture: an outcome for each head, or why there is none."""

    path: str | None
    labels: tuple[int, ...]
    ignored: tuple[int, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    error: Failure | None = None


def score(
    samples: Iterable[Sample],
    classifiers: Sequence[Classifier],
    *,
    ranks_pictures: bool,
) -> Iterator[Scored]:
    """Score labelled pictures with several heads; each picture is encoded once.

    Args:
        classifiers: of one model; the first one's decoding, batches, time limit and cache count.
        ranks_pictures: keep all logits, for metrics that rank pictures.
    """
    first = classifiers[0]
    for batch in embed_batches(
        samples,
        model=first.model,
        decoding=first.decoding,
        batch_size=first.batch_size,
        timeout_s=first.timeout_s,
        image_cache=first.image_cache,
    ):
        features = [item.features for item in batch if item.features is not None]
        answers = [_answers(one, np.stack(features)) for one in classifiers] if features else []
        rows = iter(range(len(features)))
        for item in batch:
            yield _scored(item, rows, answers, keep=ranks_pictures)


def _answers(classifier: Classifier, features: Floats) -> tuple[Floats, Floats]:
    """Scores (B, C) and logits (B, C)."""
    head = classifier.head
    scores, similarity = classifier.score(features)
    return scores, scoring.logits(similarity, scale=head.scale, bias=head.bias)


def _scored(
    item: Embedded, rows: Iterator[int], answers: list[tuple[Floats, Floats]], *, keep: bool
) -> Scored:
    sample = item.input
    assert isinstance(sample, Sample)
    if item.error is not None:
        return Scored(sample.path, sample.labels, sample.ignored, error=item.error)
    row = next(rows)
    if not all(np.isfinite(scores[row]).all() for scores, _ in answers):
        failure = Failure("non_finite", "the scores are not finite")
        return Scored(sample.path, sample.labels, sample.ignored, error=failure)
    outcomes = tuple(
        outcome(scores[row], sample.labels, logits=logits[row] if keep else None)
        for scores, logits in answers
    )
    return Scored(sample.path, sample.labels, sample.ignored, outcomes)


def outcome(scores: Floats, labels: Sequence[int], *, logits: Floats | None = None) -> Outcome:
    """The outcome of scores (C,) for a picture of these classes; ties go to the lower index."""
    true = list(labels)
    best = min(true, key=lambda label: (-scores[label], label)) if true else -1
    truth_score = scores[best] if true else np.float32(0)
    before = (scores > truth_score).sum() + (scores[: max(best, 0)] == truth_score).sum()
    target = np.zeros(len(scores), dtype=np.float64)
    target[true] = 1
    return Outcome(
        predicted=int(scores.argmax()),
        rank=int(before) if true else len(scores),
        score=_exact(scores.max()),
        truth_score=_exact(truth_score),
        squared=_exact(np.square(scores - target).sum()),
        logits=() if logits is None else tuple(map(_exact, logits)),
    )


def _exact(value: np.floating[Any]) -> float:
    return float(_FLOAT32 % value)


def run_digest(
    pictures: LabelledPictures, classifiers: Sequence[Classifier], *, split: str | None
) -> str:
    """A digest of all that changes a row: pictures, model, heads, and how pictures are loaded."""
    first = classifiers[0]
    decoding = first.decoding
    everything = (
        pictures.name,
        split,
        pictures.class_names,
        pictures.multi_label,
        first.model.local.digest,
        repr(first.model.local.config.preprocess),
        (decoding.decode, decoding.exact, decoding.colour, decoding.fit),
        first.model.choice.precision,
        first.score_kind,
        [one.head.digest for one in classifiers],
    )
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:_RUN_DIGITS]


def as_line(
    scored: Scored, *, class_names: Sequence[str], templates: Sequence[str], run: str
) -> bytes:
    """One line of JSON: names for people, indices for `read` (names may occur twice)."""
    row = beginning_of_row(scored)
    row["truth"] = [class_names[i] for i in scored.labels]
    row["truth_indices"] = scored.labels
    if scored.ignored:
        row["ignored_indices"] = scored.ignored
    if scored.error is None:
        row["predictions"] = [
            _prediction(one, class_names, name)
            for one, name in zip(scored.outcomes, templates, strict=True)
        ]
    return dumps({**row, "run": run}).encode() + b"\n"


def _prediction(one: Outcome, class_names: Sequence[str], templates: str) -> dict[str, object]:
    found = {
        "templates": templates,
        "label": class_names[one.predicted],
        "index": one.predicted,
        "score": one.score,
        "rank": one.rank,
        "truth_score": one.truth_score,
        "squared": one.squared,
    }
    return {**found, "logits": one.logits} if one.logits else found


def read(path: Path, *, run: str) -> tuple[list[Scored], int]:
    """The whole rows of a file and where they end; a last line that was cut is left out.

    Raises:
        UsageError: the file cannot be read, is none of ours, or of another run.
    """
    found: list[Scored] = []
    end = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                found.append(_read(line, where=f"{path}: line {number}", run=run))
                end += len(line)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    return found, end


def _read(line: bytes, *, where: str, run: str) -> Scored:
    try:
        row = json.loads(line)
        theirs = row["run"]
        scored = _from_row(row)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{where}: is not a prediction of zsclip; nothing was changed") from None
    if theirs != run:
        raise UsageError(
            f"{where}: is of another evaluation",
            tip="repeat that command as it was, or name another file",
        )
    return scored


def _from_row(row: dict[str, Any]) -> Scored:
    failure = None
    if row["status"] != "ok":
        failure = Failure(row["error"]["code"], row["error"]["message"])
    outcomes = tuple(
        Outcome(
            predicted=int(one["index"]),
            rank=int(one["rank"]),
            score=float(one["score"]),
            truth_score=float(one["truth_score"]),
            squared=float(one["squared"]),
            logits=tuple(map(float, one.get("logits", ()))),
        )
        for one in row.get("predictions", ())
    )
    labels, ignored = tuple(row["truth_indices"]), tuple(row.get("ignored_indices", ()))
    return Scored(path_of_row(row), labels, ignored, outcomes, failure)


def remaining(samples: Iterator[Sample], done: Sequence[Scored]) -> Iterator[Sample]:
    """The samples behind those that are done, which must be the same in the same order.

    Raises:
        UsageError: they are not.
    """
    for number, row in enumerate(done, 1):
        sample = next(samples, None)
        if sample is None or (sample.path, sample.labels) != (row.path, row.labels):
            now = "none" if sample is None else repr(sample.path)
            raise UsageError(
                f"row {number} of the predictions is of {row.path!r}, that picture is {now} now",
                tip="the data set has changed: begin anew with --predictions FILE",
            )
    return samples


def cut_to(path: Path, size_bytes: int) -> None:
    """Drop what is behind the whole rows.

    Raises:
        OSError: the file cannot be written.
    """
    if path.exists():
        os.truncate(path, size_bytes)
