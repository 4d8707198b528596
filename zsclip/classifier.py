"""Engine + head + pictures -> results, streaming, in input order.

Pictures are decoded in threads ahead of the encoder, never more than a bounded number of them, so
memory does not grow with the number of inputs. Batches grow 1, 2, 4, ... so that the first row is
out early; a batch also goes when the list of inputs pauses (a slow pipe). Apart from such pauses
batches depend on the inputs alone, so that equal commands give equal bytes.

Shapes: B images, C classes, S image size, D feature size.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from zsclip import images, pixels, scoring
from zsclip.decoding import Decoding
from zsclip.encoders import BATCH_SIZE, Model
from zsclip.errors import PictureError, UsageError
from zsclip.head_builder import build_head
from zsclip.heads import Head
from zsclip.images import ImageInput
from zsclip.inputs import Input
from zsclip.loading import load_model
from zsclip.models import Preprocess
from zsclip.prompts import DEFAULT_TEMPLATES, TemplateSet
from zsclip.results import Failure, LabelScore, Result

Floats = npt.NDArray[np.float32]

_PAUSE_S = 0.2
_MOST_FAILURES_HELD = 256


@dataclass(frozen=True, slots=True)
class _Decoded:
    """One input after decoding: its pixels (3, S, S), or a failure."""

    path: str | None
    pixels: Floats | None
    frames: int | None = None
    error: Failure | None = None


class Classifier:
    """Classifies pictures with a head.

    Args:
        labels: class names, or a head.
        model: a name, or a loaded model; a head's own model unless given.
        templates: name or file of the template set for class names, or the templates.
        truncate: cut prompts that are too long for the model instead of refusing them.
        scores: `softmax`, `sigmoid` or `cosine`; what the model was trained with unless given.
        top_k: labels in each result, best first; 0 means all.
        min_score: a best label with a lower score, of whichever kind, becomes None.
        min_cosine: the same for its cosine.
        batch_size: pictures encoded together; unless given, batches grow to 32.
        device: `auto`, `cpu`, `cuda` or `mps`.
        cache_dir: where text embeddings are kept.
        decode: `exact`, or `fast`: a large JPEG is decoded at a smaller scale. This and what
            follows is as `load_model` was told unless given.
        exact: load pictures as open_clip does, not upright and over no background.
        background: what transparent pixels lie over: a colour name or `#rrggbb`.
        max_pixels: a larger picture fails before it is decoded.

    Raises:
        UsageError: labels, templates or names that cannot be understood; `scores` that the model
            cannot give.
        ModelError: the model cannot be loaded, or the head is for another one.
    """

    def __init__(
        self,
        labels: Sequence[str] | Head,
        *,
        model: str | Model | None = None,
        templates: str | Sequence[str] | TemplateSet = DEFAULT_TEMPLATES,
        truncate: bool = False,
        scores: str | None = None,
        top_k: int = 5,
        min_score: float | None = None,
        min_cosine: float | None = None,
        batch_size: int | None = None,
        device: str = "auto",
        cache_dir: Path | str | None = None,
        decode: str | None = None,
        exact: bool | None = None,
        background: str | None = None,
        max_pixels: int | None = None,
    ) -> None:
        revision = None
        if model is None and isinstance(labels, Head):
            model, revision = labels.model_name(), labels.provenance.revision
        if model is None or isinstance(model, str):
            name = model or "default"
            model = load_model(name, revision=revision, device=device, cache_dir=cache_dir)
        if isinstance(labels, Head):
            self.head = labels
        else:
            if scores is not None:  # before the work of building
                model.choose_kind(scores)
            self.head = build_head(labels, model=model, templates=templates, truncate=truncate)
        self.head.check_fits(model)
        self.score_kind = self.head.choose_kind(scores)
        first: dict[bytes, int] = {}
        # equal rows (data sets may name a class twice) must tie to the bit, which BLAS does not do
        self._first_equal = [
            first.setdefault(row.tobytes(), i) for i, row in enumerate(self.head.weight)
        ]
        self.model = model
        self.decoding = model.decoding.but(
            decode=decode, exact=exact, background=background, max_pixels=max_pixels
        )
        if top_k < 0:
            raise UsageError(f"top_k is {top_k}; 0 means all labels")
        for name, limit in (("min_score", min_score), ("min_cosine", min_cosine)):
            if limit is not None and math.isnan(limit):
                raise UsageError(f"{name} is not a number")
        self.top_k = top_k
        self.min_score = min_score
        self.min_cosine = min_cosine
        self.batch_size = batch_size

    def classify(self, inputs: ImageInput | Iterable[ImageInput]) -> Iterator[Result]:
        """Yield a result for each picture, in order; a failed one has status `error`.

        Args:
            inputs: one picture or many: paths, encoded bytes, Pillow images, uint8 arrays; an
                array (B, H, W, 3) is B pictures.
        """
        is_one_array = isinstance(inputs, np.ndarray) and inputs.ndim in (2, 3)
        if is_one_array or isinstance(inputs, str | os.PathLike | bytes | Image.Image):
            inputs = [inputs]
        return self.classify_inputs(_as_input(item) for item in inputs)

    def classify_inputs(self, inputs: Iterable[Input]) -> Iterator[Result]:
        """Yield a result for each input of `zsclip.inputs`, in order."""
        size = self.batch_size or 1
        batch: list[_Decoded] = []
        ready = 0
        ahead = 2 * (self.batch_size or BATCH_SIZE)
        preprocess = self.model.local.config.preprocess
        for decoded in _decode_ahead(inputs, ahead, preprocess=preprocess, decoding=self.decoding):
            if decoded is not None:
                batch.append(decoded)
                ready += decoded.pixels is not None
            if decoded is None or ready >= size or len(batch) - ready >= _MOST_FAILURES_HELD:
                if ready >= size and self.batch_size is None:
                    size = min(2 * size, BATCH_SIZE)
                yield from self._classify_batch(batch)
                batch, ready = [], 0
        yield from self._classify_batch(batch)

    def _classify_batch(self, batch: Sequence[_Decoded]) -> Iterator[Result]:
        stack = [item.pixels for item in batch if item.pixels is not None]
        if stack:
            features = self.model.engine.encode_images(np.stack(stack))  # (B, D)
            similarity = scoring.cosines(features, self.head.weight)[:, self._first_equal]  # (B, C)
            with np.errstate(invalid="ignore"):  # what is not finite becomes a row
                scores = scoring.scores(
                    similarity, self.score_kind, scale=self.head.scale, bias=self.head.bias
                )
            finite = np.isfinite(similarity + scores).all(axis=1)  # (B,)
        row = 0
        for item in batch:
            if item.error is not None:
                yield self._failed(item.path, item.error)
                continue
            if finite[row]:
                yield self._result(item, scores[row], similarity[row])
            else:
                yield self._failed(item.path, Failure("non_finite", "the scores are not finite"))
            row += 1

    def _result(self, item: _Decoded, scores: Floats, similarity: Floats) -> Result:
        from_words = self.head.kind == "words"
        best = [
            LabelScore(
                label=self.head.class_names[i],
                score=float(scores[i]),
                cosine=float(similarity[i]) if from_words else None,
            )
            for i in scoring.top(scores, self.top_k)
        ]
        return Result(
            path=item.path,
            status="ok",
            model=self.model.id,
            head=self.head.digest[:12],
            label=best[0].label if self._accepts(best[0]) else None,
            score=best[0].score,
            cosine=best[0].cosine,
            scores=tuple(best),
            score_kind=self.score_kind,
            frames=item.frames,
            revision=self.model.local.revision,
        )

    def _accepts(self, best: LabelScore) -> bool:
        if self.min_score is not None and best.score < self.min_score:
            return False
        return self.min_cosine is None or best.cosine is None or best.cosine >= self.min_cosine

    def _failed(self, path: str | None, error: Failure) -> Result:
        return Result(
            path=path,
            status="error",
            model=self.model.id,
            head=self.head.digest[:12],
            error=error,
            revision=self.model.local.revision,
        )


def _as_input(item: ImageInput) -> Input:
    if isinstance(item, str | os.PathLike):
        path = os.fsdecode(os.fspath(item))
        return Input(path, path)
    return Input(None, item)


def _decode(item: Input, preprocess: Preprocess, decoding: Decoding) -> _Decoded:
    if isinstance(item.source, Failure):
        return _Decoded(item.path, None, error=item.source)
    try:
        picture = images.load(item.source, decoding, size=preprocess.size)
        prepared = pixels.prepare(picture.image, preprocess, box=picture.box)
        return _Decoded(item.path, prepared, picture.frames)
    except PictureError as error:
        return _Decoded(item.path, None, error=Failure(error.code, error.message))
    except MemoryError:
        return _Decoded(item.path, None, error=Failure("out_of_memory", "not enough memory"))


def _decode_ahead(
    inputs: Iterable[Input], ahead: int, *, preprocess: Preprocess, decoding: Decoding
) -> Iterator[_Decoded | None]:
    """Decode in threads, in order, at most `ahead` inputs early; None when the inputs pause."""
    waiting: queue.Queue[Future[_Decoded] | BaseException | None] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()
    workers = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="zsclip-decode")

    def feed() -> None:
        end: BaseException | None = None
        try:
            for item in inputs:
                if not _put(waiting, workers.submit(_decode, item, preprocess, decoding), stopped):
                    return
        except BaseException as error:  # handed to the consumer, which raises it
            end = error
        _put(waiting, end, stopped)

    threading.Thread(target=feed, daemon=True, name="zsclip-inputs").start()
    try:
        while True:
            try:
                next_up = waiting.get(timeout=_PAUSE_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(next_up, BaseException):
                yield None  # what came before it is classified first
                raise next_up
            if next_up is None:
                return
            yield next_up.result()
    finally:
        stopped.set()
        workers.shutdown(wait=False, cancel_futures=True)


def _put(
    waiting: queue.Queue[Future[_Decoded] | BaseException | None],
    item: Future[_Decoded] | BaseException | None,
    stopped: threading.Event,
) -> bool:
    """Put without hanging for ever once the consumer has gone; False if it has."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=_PAUSE_S)
            return True
        except queue.Full:
            continue
    return False
