"""The JSON Lines of a run that was stopped: what is done, and where to go on.

Every row names its run, a digest of all that changes a row. Rows that are done are an ordered
prefix of the inputs, matched path by path. They are read one at a time, so that memory does not
grow with them. Changes no file; knows nothing about terminals.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from zsclip.classifier import Classifier
from zsclip.embedding import Batches
from zsclip.errors import UsageError
from zsclip.inputs import Input
from zsclip.results import Failure, Result
from zsclip.writers import path_of_row

DIGITS = 12
_MOST_ROW_BYTES = 64 << 20
_ROW_BEGINS = b'{"path":'
_KEYS_OF_OPTIONS = {
    "share": "--other", "labels": "--multi-label", "label_set": "--coverage",
}  # fmt: skip
_FAILED = b'"status":"error"'  # in a label or path its quotation marks would be escaped


@dataclass(frozen=True, slots=True)
class Run:
    """What changes a row: `digest` of all of it, and what a row shows of it itself.

    Not in it is what leaves a row the same within 1e-4 (engine, device, size of a batch) and what
    decides only whether a picture fails at all (limits of size and time).
    """

    digest: str
    model: str
    revision: str | None
    head: str
    score_kind: str
    labels: int
    keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, classifier: Classifier) -> Run:
        """The run of a classifier."""
        model, head, decoding = classifier.model, classifier.head, classifier.decoding
        rules = classifier.rules
        classes = len(rules.names)
        labels = min(rules.top_k or classes, classes)
        shown = (model.id, model.local.revision, head.digest[:DIGITS], classifier.score_kind)
        everything = (
            *shown,
            labels,
            model.local.digest,
            head.digest,
            repr(model.local.config.preprocess),
            (decoding.decode, decoding.exact, decoding.colour, decoding.fit),
            model.choice.precision,
            rules.min_score,
            rules.min_cosine,
            *(["group"] if classifier.members is not None else []),
            *([] if classifier.coverage is None else ["coverage", classifier.coverage]),
            *([] if rules.other is None else ["other", rules.other, rules.other_below]),
            *([] if classifier.background is None else [classifier.background.digest]),
            *(["multi_label"] if rules.multi_label else []),
        )
        digest = hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:DIGITS]
        keys = {
            "share": rules.other is not None,
            "labels": rules.multi_label,
            "label_set": classifier.coverage is not None,
        }
        return cls(digest, *shown, labels, frozenset(key for key, has in keys.items() if has))

    def difference(self, row: dict[str, Any]) -> str:
        """What sets a row of another run apart, as far as it shows."""
        mine = {name: getattr(self, name) for name in ("model", "revision", "head", "score_kind")}
        for name, value in mine.items():
            known = row.get(name, value if name == "score_kind" else None)
            if known != value:
                return f"{name} {known or 'none'}, not {value or 'none'}"
        if "scores" in row and len(row["scores"]) != self.labels:
            return f"{len(row['scores'])} labels a row, not {self.labels}"
        for key, option in _KEYS_OF_OPTIONS.items():
            if "scores" in row and (key in row) != (key in self.keys):
                return f"{'with' if key in row else 'without'} {option}"
        return "another precision, threshold, or way of decoding"


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is done, as far as resuming needs it."""

    path: str
    failure: Failure | None

    @property
    def input(self) -> Input:
        """What gives this row again; a picture that could not be decoded is not tried again."""
        return Input(self.path, self.path if self.was_encoded else self.failure or self.path)

    @property
    def was_encoded(self) -> bool:
        """Whether its picture could be decoded, and so took a place in a batch."""
        return self.failure is None or self.failure.code == "non_finite"


@dataclass(slots=True)
class Done:
    """The rows that a file has.

    Scores depend on the size of a batch in their last digits: a run goes on at the beginning of
    one, so that its rows are those of a run that was never stopped.

    Attributes:
        size_bytes: where the last whole row ends; what is behind it was cut.
        restart: the first row that must be encoded again, to be part of the batch that it was of.
        restart_bytes: where that row begins.
        batch_size: of the batches from there on; None where they grow.
    """

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    restart: int = 0
    restart_bytes: int = 0
    batch_size: int | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.ok + self.failed.total()


def match(path: Path, inputs: Iterator[Input] | None, *, run: Run, batch_size: int | None) -> Done:
    """Read what is done, taking as many inputs; without inputs any paths will do.

    Raises:
        UsageError: the file is none of ours or of another run, or the inputs are not those that
            it has rows of.
    """
    done = Done(batch_size=batch_size)
    batches = Batches(batch_size)
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file, path), 1):
            row = _read(line, where=f"{path}: line {number}", run=run)
            if inputs is not None:
                _check_path(row, next(inputs, None), where=f"{path}: line {number}")
            if row.failure is None:
                done.ok += 1
            else:
                done.failed[row.failure.code] += 1
            done.size_bytes += len(line)
            if batches.add(ready=row.was_encoded) and batches.settled:
                done.restart, done.restart_bytes = number, done.size_bytes
                done.batch_size = batches.size
    return done


def rows(path: Path, done: Done, *, from_restart: bool = False) -> Iterator[tuple[bytes, Row]]:
    """Each row that is done, and its line."""
    first, start = (done.restart, done.restart_bytes) if from_restart else (0, 0)
    with path.open("rb") as file:
        file.seek(start)
        for line in itertools.islice(file, done.rows - first):
            yield line, _row(json.loads(line))


def failed_paths(path: Path, done: Done) -> Iterator[str]:
    """Paths of the rows that are done and failed."""
    with path.open("rb") as file:
        for line in itertools.islice(file, done.rows):
            if _FAILED in line:
                yield _row(json.loads(line)).path


def rest(
    classifier: Classifier, inputs: Iterator[Input], *, path: Path, done: Done
) -> Iterator[Result]:
    """Results of the inputs that are left, as a run gives them that was never stopped."""
    first = next(inputs, None)
    if first is None:
        return iter(())
    classifier.batch_size = done.batch_size
    again = (row.input for _, row in rows(path, done, from_restart=True))
    results = classifier.classify_inputs(itertools.chain(again, [first], inputs))
    return itertools.islice(results, done.rows - done.restart, None)


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Whole lines; a last one that was cut must at least begin like a row."""
    while line := file.readline(_MOST_ROW_BYTES):
        if line.endswith(b"\n"):
            yield line
        elif line.strip(b"\0") and not line.startswith(_ROW_BEGINS[: len(line)]):
            raise UsageError(f"{path}: is not JSON Lines of zsclip; nothing was changed")


def _read(line: bytes, *, where: str, run: Run) -> Row:
    try:
        content = json.loads(line)
        row = _row(content)
        if content.get("run") == run.digest:
            return row
        difference = run.difference(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{where}: is not a row of zsclip; nothing was changed") from None
    raise UsageError(
        f"{where}: is of another run: {difference}",
        tip="repeat that command as it was, or name another file",
    )


def _row(content: dict[str, Any]) -> Row:
    failure = None
    if content["status"] != "ok":
        failure = Failure(content["error"]["code"], content["error"]["message"])
    return Row(path_of_row(content), failure)


def _check_path(row: Row, item: Input | None, *, where: str) -> None:
    if item is None:
        raise UsageError(f"{where}: is of {row.path!r}, which is not among the inputs any more")
    if item.path != row.path:
        raise UsageError(
            f"{where}: is of {row.path!r}, but that input is {item.path!r} now",
            tip="name the same inputs in the same order; more may follow at the end",
        )
