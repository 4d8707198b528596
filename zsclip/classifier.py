"""Engine + head + pictures -> results, streaming, in input order.

Pictures are decoded ahead of the encoder, never more than a bounded number of them, so memory does
not grow with the number of inputs. Batches grow 1, 2, 4, ... so that the first row is out early; a
batch also goes when the next picture is long in coming (a slow pipe, a slow decoder). Apart from
such pauses batches depend on the inputs alone, so that equal commands give equal bytes.

Shapes: B images, C classes, S image size, D feature size.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from zsclip import scoring
from zsclip.encoders import BATCH_SIZE, Model
from zsclip.errors import HeadError, UsageError
from zsclip.head_builder import build_head
from zsclip.heads import Head
from zsclip.images import ImageInput
from zsclip.inputs import Input
from zsclip.loading import load_model
from zsclip.prompts import DEFAULT_TEMPLATES, TemplateSet
from zsclip.read_ahead import TIMEOUT_S, Decoded, decode_ahead
from zsclip.results import Failure, LabelScore, Result

Floats = npt.NDArray[np.float32]

_MOST_FAILURES_HELD = 256


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
        engine: `auto`, `onnx` or `torch`; see `load_model`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: of the image side: `fp32`, `bf16` or `fp16`; that of a loaded model is its own.
        cache_dir: where text embeddings are kept.
        decode: `exact`, or `fast`: a large JPEG is decoded at a smaller scale. This and what
            follows is as `load_model` was told unless given.
        exact: load pictures as open_clip does, not upright and over no background.
        background: what transparent pixels lie over: a colour name or `#rrggbb`.
        max_pixels: a larger picture fails before it is decoded.
        max_bytes: a larger file fails before it is read.
        allow_truncated: take what there is of a cut JPEG, PNG, GIF, BMP or JPEG 2000; its result
            has `truncated`.
        timeout_s: a picture that takes longer to read and decode fails; 0 is never. The thread
            that decodes it cannot be stopped: it is left behind, for as long as it takes.

    Raises:
        UsageError: labels, templates or names that cannot be understood; `scores` that the model
            cannot give; a precision that is not for this device.
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
        engine: str | None = None,
        device: str = "auto",
        precision: str | None = None,
        cache_dir: Path | str | None = None,
        decode: str | None = None,
        exact: bool | None = None,
        background: str | None = None,
        max_pixels: int | None = None,
        max_bytes: int | None = None,
        allow_truncated: bool | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        revision = None
        if model is None and isinstance(labels, Head):
            model, revision = labels.model_name(), labels.provenance.revision
        if model is None or isinstance(model, str):
            name = model or "default"
            model = load_model(
                name,
                revision=revision,
                engine=engine,
                device=device,
                precision=precision or "fp32",
                cache_dir=cache_dir,
            )
        elif precision not in (None, model.choice.precision):
            raise UsageError(
                f"the model is loaded for {model.choice.precision}, not {precision}",
                tip="say it to load_model(..., precision=...)",
            )
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
            decode=decode,
            exact=exact,
            background=background,
            max_pixels=max_pixels,
            max_bytes=max_bytes,
            allow_truncated=allow_truncated,
        )
        if top_k < 0:
            raise UsageError(f"top_k is {top_k}; 0 means all labels")
        for name, limit in (("min_score", min_score), ("min_cosine", min_cosine)):
            if limit is not None and math.isnan(limit):
                raise UsageError(f"{name} is not a number")
        if not timeout_s >= 0:
            raise UsageError(f"timeout_s is {timeout_s}; 0 means no limit")
        self.top_k = top_k
        self.min_score = min_score
        self.min_cosine = min_cosine
        self.batch_size = batch_size
        self.timeout_s = timeout_s

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
        batches = Batches(self.batch_size)
        batch: list[Decoded] = []
        ahead = 2 * (self.batch_size or BATCH_SIZE)
        preprocess = self.model.local.config.preprocess
        for decoded in decode_ahead(
            inputs,
            ahead,
            preprocess=preprocess,
            decoding=self.decoding,
            timeout_s=self.timeout_s,
        ):
            if decoded is None:  # the next is long in coming
                batches.cut()
            else:
                batch.append(decoded)
                if not batches.add(ready=decoded.pixels is not None):
                    continue
            yield from self._classify_batch(batch)
            batch = []
        yield from self._classify_batch(batch)

    def _classify_batch(self, batch: Sequence[Decoded]) -> Iterator[Result]:
        stack = [item.pixels for item in batch if item.pixels is not None]
        encoded = iter(self.model.image_encoder.encode(np.stack(stack)) if stack else ())
        found = [item.error or next(encoded) for item in batch]  # (D,) or a failure, each
        features = [row for row in found if not isinstance(row, Failure)]
        scored = iter(self._score(np.stack(features)) if features else ())
        for item, row in zip(batch, found, strict=True):
            if isinstance(row, Failure):
                yield self._failed(item.path, row)
                continue
            scores, similarity = next(scored)
            if np.isfinite(similarity + scores).all():
                yield self._result(item, scores, similarity)
            else:
                yield self._failed(item.path, Failure("non_finite", "the scores are not finite"))

    def _score(self, features: Floats) -> Iterator[tuple[Floats, Floats]]:
        """Scores (C,) and cosines (C,) of each of features (B, D)."""
        size = self.head.weight.shape[1]
        if features.shape[1] != size:  # of a head that says it fits
            raise HeadError(f"the head has features of size {size}, not {features.shape[1]}")
        similarity = scoring.cosines(features, self.head.weight)[:, self._first_equal]  # (B, C)
        with np.errstate(invalid="ignore"):  # what is not finite becomes a row
            scores = scoring.scores(
                similarity, self.score_kind, scale=self.head.scale, bias=self.head.bias
            )
        return zip(scores, similarity, strict=True)

    def _result(self, item: Decoded, scores: Floats, similarity: Floats) -> Result:
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
            truncated=item.truncated,
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


class Batches:
    """Where batches end: when they are full, or too many failures wait in them for their rows.

    Args:
        size: of each; None has them grow: 1, 2, 4, ... up to BATCH_SIZE.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size or 1
        self._grows = size is None
        self._ready = self._failed = 0

    def add(self, *, ready: bool) -> bool:
        """Take an input, which is ready to be encoded or failed; whether a batch ends with it."""
        self._ready += ready
        self._failed += not ready
        if self._ready < self.size and self._failed < _MOST_FAILURES_HELD:
            return False
        if self._ready >= self.size and self._grows:
            self.size = min(2 * self.size, BATCH_SIZE)
        self.cut()
        return True

    def cut(self) -> None:
        """End a batch early."""
        self._ready = self._failed = 0

    @property
    def settled(self) -> bool:
        """Whether all batches from here on have the same size."""
        return not self._grows or self.size == BATCH_SIZE


def _as_input(item: ImageInput) -> Input:
    if isinstance(item, str | os.PathLike):
        path = os.fsdecode(os.fspath(item))
        return Input(path, path)
    return Input(None, item)
