"""What reports are made of in the tests: results and evaluations, some with hostile names."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from html.parser import HTMLParser

import numpy as np

from zsclip.calibration import Bin, Calibration
from zsclip.classifier import Classifier
from zsclip.figures import ClassFigure, Evaluation, Mistake, Published, TemplateFigures
from zsclip.images import ImageInput
from zsclip.intervals import Interval
from zsclip.readers.base import Sample
from zsclip.reports import classification as pages_of_runs
from zsclip.reports import figures
from zsclip.results import Failure, LabelScore, Result
from zsclip.shot_curve import Curve, Full, Point

NOTHING = Failure("not_found", "no such file")
HOSTILE = (
    "<script>document.title = 'gone'</script>",
    "</script><script>document.title = 'gone'</script>",
    "</dialog></li></ol><h1>gone</h1>",
    '"><img src=x onerror="document.title = \'gone\'">',
    "' onmouseover='document.title = 1' x='",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "&lt;b&gt; &amp; &#x202e;",
    "photo\u202egpj.exe",
    "line\nbreak\r\x00\x1b[31m",
    os.fsdecode(b"caf\xe9.jpg"),
    "\ud800 lone",
    "javascript:alert(1)",
    "x" * 5000,
    "folder/" * 600 + "picture.jpg",
    "猫 🐈‍⬛ קטה",
)


def answered(path: str | None, label: str | None, score: float = 0.9, **changes: object) -> Result:
    """A result of a picture that was classified."""
    scores = (LabelScore(label or "cat", score, 0.25), LabelScore("dog", 1 - score, 0.2))
    facts: dict[str, object] = {"cosine": 0.25, "scores": scores, "score_kind": "softmax"}
    return Result(
        path,
        "ok",
        "fake@ffffff",
        "8b1c04d2e6f7",
        label=label,
        score=score,
        **(facts | changes),  # type: ignore[arg-type]
    )


def failed(path: str, code: str = "truncated", message: str = "the picture ends early") -> Result:
    """A result of a picture that could not be classified."""
    error = Failure(code, message)  # type: ignore[arg-type]
    return Result(path, "error", "fake@ffffff", "8b1c04d2e6f7", error=error)


def classification(
    classifier: Classifier, results: Iterable[tuple[Result, ImageInput | Failure]]
) -> str:
    """The page of these results, each with its picture."""
    file = io.BytesIO()
    with pages_of_runs.collecting(classifier) as page:
        for result, source in results:
            page.add(result, source)
        page.write(file)
    return file.getvalue().decode()


def evaluation(names: Sequence[str] = ("cat", "dog", "tree"), **changes: object) -> Evaluation:
    """An evaluation of two template sets, in which the first class is often taken for the next."""
    confusion = 8 * np.eye(len(names), dtype=np.int64)
    confusion[0, 1 % len(names)] = 3
    bins = (Bin(10, 0.55, 0.5, 0.4, 0.7), Bin(9, 0.9, 0.8, 0.8, 0.99))
    near = {"acc1": Interval(0.8, 0.7, 0.9), "mean_per_class": Interval(0.81, 0.71, 0.91)}
    far = {"acc1": Interval(0.83, 0.75, 0.9), "mean_per_class": Interval(0.84, 0.7, 0.9)}
    facts: dict[str, object] = {
        "name": "drawings",
        "model": "tiny@3f2a9c",
        "metric": "acc1",
        "score_kind": "softmax",
        "count": int(confusion.sum()),
        "failed": {},
        "on_error": "skip",
        "class_names": tuple(names),
        "figures": (
            TemplateFigures(
                "none", 1, "8b1c04d2e6f7", near, Calibration(0.7, 0.3, 0.06, bins), None
            ),
            TemplateFigures("photo", 1, "8b1c04d2e6f8", far, None, Interval(0.03, 0.01, 0.05)),
        ),
        "confusion": confusion,
        "per_class": tuple(ClassFigure(name, 8, 0.5 + i / 1000) for i, name in enumerate(names)),
        "mistakes": tuple(Mistake(name, (name,), name, 0.9, 0.1) for name in names),
        "published": (Published("a table", "none", 0.81, 0.8, 0.005, "differs"),),
        "notes": ("the split is not the paper's",),
    }
    return Evaluation(**(facts | changes))  # type: ignore[arg-type]


def evaluation_page(found: Evaluation, samples: Iterable[Sample] = ()) -> str:
    """The page of an evaluation."""
    file = io.BytesIO()
    figures.write_evaluation(found, file, samples=samples)
    return file.getvalue().decode()


def curve(**changes: object) -> Curve:
    """A few-shot curve of two draws, from one to four pictures a class."""
    points = tuple(
        Point(shots, 3 * shots, (0.6 + shots / 20, 0.62 + shots / 20)) for shots in (1, 2, 4)
    )
    facts: dict[str, object] = {
        "method": "few-shot",
        "metric": "acc1",
        "train_pictures": 90,
        "test_pictures": 60,
        "zero_shot": 0.58,
        "points": points,
        "full": (Full("few-shot", 90, 0.86, 1.0), Full("linear", 90, 0.88, 0.3)),
    }
    return Curve(**(facts | changes))  # type: ignore[arg-type]


def probe_page(found: Curve, *, name: str = "drawings", notes: Sequence[str] = ()) -> str:
    """The page of a few-shot curve."""
    file = io.BytesIO()
    figures.write_probe(found, file, name=name, model="tiny@3f2a9c", notes=notes)
    return file.getvalue().decode()


class Page(HTMLParser):
    """What a browser's parser finds in a page: elements, and the text of each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text: list[str] = []
        self.found.append((tag, dict(attrs), text))
        if tag not in ("meta", "img", "input", "wbr"):
            self._open.append((tag, text))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.handle_data(" ")
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, text in self._open:
            text.append(data)

    def elements(self, tag: str, css: str | None = None) -> Iterator[dict[str, str | None]]:
        """Attributes of each element of a tag, and of a class where it is given."""
        for name, attributes, _ in self.found:
            if name == tag and (css is None or css in (attributes.get("class") or "").split()):
                yield attributes

    def texts(self, tag: str, css: str | None = None) -> list[str]:
        """The text of each element of a tag, and of a class where it is given."""
        return [
            "".join(text).strip()
            for name, attributes, text in self.found
            if name == tag and (css is None or css in (attributes.get("class") or "").split())
        ]
