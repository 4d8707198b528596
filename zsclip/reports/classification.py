"""Results of classification -> one HTML file that can be looked at and searched.

Small copies of the pictures are in it, up to a number of bytes. Knows nothing about HTML.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, TextIO

from zsclip.classifier import Classifier
from zsclip.images import ImageInput
from zsclip.inputs import Input
from zsclip.reports import pages
from zsclip.reports.thumbnails import MAX_COPIES_BYTES, Copies, Thumbnail
from zsclip.results import Failure, Result

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_CARDS = 10_000
"""Pictures that are listed; a longer page is no use to anyone."""
_MOST_LABELS = 500
_FEW_LABELS = 8
_SHOWN_SCORES = 5
_AHEAD = 32
_BLOCK = 1 << 16


@dataclass(slots=True)
class _Tally:
    """What the page says of all results, also of those that it does not list."""

    labels: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    total: int = 0
    lowest: float = math.inf
    highest: float = -math.inf

    def add(self, result: Result) -> None:
        self.total += 1
        if result.error is not None:
            self.failed[result.error.code] += 1
            return
        if result.label is None:
            self.rejected += 1
        else:
            self.labels[result.label] += 1
        assert result.score is not None
        self.lowest = min(self.lowest, result.score)
        self.highest = max(self.highest, result.score)

    def span(self) -> tuple[float, float]:
        """The scores' range, in hundredths; empty where there are none."""
        if not math.isfinite(self.lowest):
            return 0.0, 0.0
        return math.floor(100 * self.lowest) / 100, math.ceil(100 * self.highest) / 100


@contextlib.contextmanager
def collecting(classifier: Classifier) -> Iterator[ClassificationReport]:
    """A report that takes results, and what it needs until it is written.

    Raises:
        OutputError: there is no room for what waits.
    """
    with pages.writing():
        cards = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115
    with cards, Copies(MAX_COPIES_BYTES, classifier.decoding, classifier.timeout_s) as copies:
        yield ClassificationReport(classifier, cards, copies)


class ClassificationReport:
    """Takes results as they come and becomes a page at the end.

    Memory does not grow with the number of results.

    Args:
        cards: a file where what is listed waits.
    """

    def __init__(self, classifier: Classifier, cards: TextIO, copies: Copies) -> None:
        self._classifier = classifier
        self._cards = cards
        self._copies = copies
        self._tally = _Tally()
        self._listed = self._pictured = self._without = 0
        self._waiting: deque[tuple[Result, Future[Thumbnail] | None]] = deque()

    def classify(self, inputs: Iterable[Input]) -> Iterator[Result]:
        """Yield the results of inputs; each is noted on its way."""
        sources: deque[ImageInput | Failure] = deque()

        def noted() -> Iterator[Input]:  # read ahead, by another thread
            for item in inputs:
                sources.append(item.source)
                yield item

        for result in self._classifier.classify_inputs(noted()):
            self.add(result, sources.popleft())
            yield result

    def add(self, result: Result, source: ImageInput | Failure) -> None:
        """Note a result; its picture is made small while others are classified.

        Raises:
            OutputError: there is no room for what waits.
        """
        self._tally.add(result)
        if self._tally.total > MOST_CARDS:
            return
        copy = None if result.error is not None else self._copies.begin(source)
        self._waiting.append((result, copy))
        if len(self._waiting) > _AHEAD:
            self._list(*self._waiting.popleft())

    def _list(self, result: Result, copy: Future[Thumbnail] | None) -> None:
        small = self._copies.end(copy)
        card = pages.render("card.html", result=result, small=small, shown=_SHOWN_SCORES)
        self._listed += 1
        self._pictured += small is not None
        self._without += small is None and result.error is None
        with pages.writing():
            self._cards.write(card)

    def write(self, stream: BinaryIO) -> None:
        """Write the page.

        Raises:
            OutputError: it cannot be written.
        """
        while self._waiting:
            self._list(*self._waiting.popleft())
        with pages.writing():
            self._cards.seek(0)
        pages.write(stream, "classification.html", cards=self._read_cards(), **self._values())

    def _read_cards(self) -> Iterator[Markup]:
        while block := self._cards.read(_BLOCK):
            yield pages.ready(block)

    def _values(self) -> dict[str, object]:
        tally, head = self._tally, self._classifier.head
        lowest, highest = tally.span()
        return {
            "facts": list(_facts_of(self._classifier)),
            "total": tally.total,
            "classes": len(head.class_names),
            "labels": tally.labels.most_common(_MOST_LABELS),
            "more_labels": max(0, len(tally.labels) - _MOST_LABELS),
            "few": _FEW_LABELS,
            "rejected": tally.rejected,
            "failed": tally.failed.most_common(),
            "lowest": lowest,
            "highest": highest,
            "has_cosines": head.kind == "words" and self._classifier.score_kind != "cosine",
            "listed": self._listed,
            "pictured": self._pictured,
            "without": self._without,
            "is_full": self._copies.is_full,
            "limit_mb": MAX_COPIES_BYTES // 1_000_000,
        }


def _facts_of(classifier: Classifier) -> Iterator[tuple[str, str]]:
    """What the results depend on."""
    head = classifier.head
    yield "Model", classifier.model.id
    if head.kind == "words":
        templates = head.provenance
        yield "Templates", f"{templates.templates_name} ({len(templates.templates)})"
    else:
        yield "Head", "from labelled pictures"
    yield "Head's digest", head.digest[:12]
    yield "Scores", classifier.score_kind
    rules = classifier.rules
    for name, limit in (("score", rules.min_score), ("cosine", rules.min_cosine)):
        if limit is not None:
            yield f"Least {name}", f"{limit:g}"
    if classifier.coverage is not None:
        yield "Label sets hold the truth of", f"{100 * classifier.coverage:g}%"
