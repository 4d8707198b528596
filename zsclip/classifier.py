"""Model + head + pictures -> results, streaming, in input order.

Shapes: B images, C classes, D feature size.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from zsclip import scoring
from zsclip.background import OTHER, OTHER_BELOW, Background, check_options, open_background
from zsclip.embedding import Embedded, embed_batches, open_image_cache
from zsclip.encoders import Model
from zsclip.errors import HeadError, UsageError, ZsclipWarning
from zsclip.head_builder import build_head
from zsclip.heads import Head
from zsclip.images import ImageInput
from zsclip.inputs import Input
from zsclip.labels import ClassLabel
from zsclip.loading import load_model
from zsclip.prompts import DEFAULT_TEMPLATES, TemplateSet
from zsclip.read_ahead import TIMEOUT_S
from zsclip.results import Failure, Result
from zsclip.rules import Rules

Floats = npt.NDArray[np.float32]


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
        min_cosine: the same for its cosine, of a head from words. A best label under its own
            threshold, where the head has one, becomes None, too.
        coverage: give each result the set of labels that hold the truth of such a share of
            pictures; of a head that was calibrated for it.
        group: answer with groups of labels, whose scores are those of their members together; a
            label in no group stands for itself. Thresholds of labels do not count then.
        other: answer `other`, or the name that is given, where names of other things (packaged)
            fit better than the labels; results have the labels' `share`.
        other_below: the share under which that is so.
        multi_label: answer with all labels that fit, each judged by itself: results have `labels`,
            those with a score of `min_score` (0.5 unless given) or of their own threshold. A
            score is the model's own sigmoid, or that of a label against names of other things.
        on_progress: called with (names done, names to encode) when these are used first.
        batch_size: pictures encoded together; unless given, batches grow to 32.
        engine: `auto`, `onnx` or `torch`; see `load_model`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: of the image side: `fp32`, `bf16` or `fp16`; that of a loaded model is its own.
        cache_dir: where text embeddings are kept.
        cache_images: keep image features there, too, by the digest of a picture's content: what is
            known needs no encoding. Pillow images are not kept.
        decode: `exact`, or `fast`: a large JPEG is decoded at a smaller scale. This and what
            follows is as `load_model` was told unless given.
        exact: load pictures as open_clip does, not upright and over no background.
        background: what transparent pixels lie over: a colour name or `#rrggbb`.
        max_pixels: a larger picture fails before it is decoded.
        max_bytes: a larger file fails before it is read.
        allow_truncated: take what there is of a cut JPEG, PNG, GIF, BMP or JPEG 2000; its result
            has `truncated`.
        fit: `crop`, as the model was trained, or all of a picture: `pad`, `squash` or `views`. A
            head that has seen pictures in another fit gets a warning.
        timeout_s: a picture that takes longer to read and decode fails; 0 is never. The thread
            that decodes it cannot be stopped: it is left behind, for as long as it takes.

    Raises:
        UsageError: labels, templates or names that cannot be understood; `scores` that the model
            cannot give; a precision that is not for this device.
        ModelError: the model cannot be loaded, or the head is for another one.
    """

    def __init__(
        self,
        labels: Sequence[str | Sequence[str] | ClassLabel] | Head,
        *,
        model: str | Model | None = None,
        templates: str | Sequence[str] | TemplateSet = DEFAULT_TEMPLATES,
        truncate: bool = False,
        scores: str | None = None,
        top_k: int = 5,
        min_score: float | None = None,
        min_cosine: float | None = None,
        coverage: float | None = None,
        group: bool = False,
        other: bool | str = False,
        other_below: float = OTHER_BELOW,
        multi_label: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
        batch_size: int | None = None,
        engine: str | None = None,
        device: str = "auto",
        precision: str | None = None,
        cache_dir: Path | str | None = None,
        cache_images: bool = False,
        decode: str | None = None,
        exact: bool | None = None,
        background: str | None = None,
        max_pixels: int | None = None,
        max_bytes: int | None = None,
        allow_truncated: bool | None = None,
        fit: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        check_options(other, other_below, multi_label=multi_label, scores=scores, group=group)
        if not timeout_s >= 0:
            raise UsageError(f"timeout_s is {timeout_s}; 0 means no limit")
        self.model = _open_model(
            model, labels, engine=engine, device=device, precision=precision, cache_dir=cache_dir
        )
        if isinstance(labels, Head):
            self.head = labels
        else:
            if scores is not None:  # before the work of building
                self.model.choose_kind(scores)
            self.head = build_head(labels, model=self.model, templates=templates, truncate=truncate)
        self.head.check_fits(self.model)
        self.score_kind = self.head.choose_kind(scores)
        if multi_label and self.score_kind == "softmax":
            self.score_kind = "vs_background"
        self.members = _members(self.head) if group else None
        self.coverage = coverage
        self.rules = Rules(
            names=self.head.class_names if self.members is None else tuple(self.members),
            has_cosines=self.head.kind == "words",
            top_k=top_k,
            min_score=min_score,
            min_cosine=min_cosine,
            thresholds=self.head.thresholds if self.members is None else (),
            multi_label=multi_label,
            set_threshold=None if coverage is None else self._threshold_of_sets(coverage),
            other=(OTHER if other is True else other) or None,
            other_below=other_below,
        )
        self.background: Background | None = None
        if self.rules.other is not None or self.score_kind == "vs_background":
            self.background = open_background(self.head, model=self.model, on_progress=on_progress)
        first: dict[bytes, int] = {}
        # equal rows (data sets may name a class twice) must tie to the bit, which BLAS does not do
        self._first_equal = [
            first.setdefault(row.tobytes(), i) for i, row in enumerate(self.head.weight)
        ]
        self.decoding = self.model.decoding.but(
            decode=decode,
            exact=exact,
            background=background,
            max_pixels=max_pixels,
            max_bytes=max_bytes,
            allow_truncated=allow_truncated,
            fit=fit,
        )
        if self.head.has_seen_pictures and self.head.fit != self.decoding.fit:
            warnings.warn(
                f"the head was made with pictures loaded with fit {self.head.fit!r}, and these "
                f"are loaded with {self.decoding.fit!r}: scores may mislead",
                ZsclipWarning,
                stacklevel=2,
            )
        self.batch_size = batch_size
        self.timeout_s = timeout_s
        self.image_cache = (
            open_image_cache(self.model, timeout_s=timeout_s) if cache_images else None
        )

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
        for batch in embed_batches(
            inputs,
            model=self.model,
            decoding=self.decoding,
            batch_size=self.batch_size,
            timeout_s=self.timeout_s,
            image_cache=self.image_cache,
        ):
            yield from self._classify_batch(batch)

    def _classify_batch(self, batch: Sequence[Embedded]) -> Iterator[Result]:
        features = [item.features for item in batch if item.features is not None]
        scored = zip(*self._answers(np.stack(features)), strict=True) if features else iter(())
        for item in batch:
            result = self._of(item)
            if result.error is not None:
                yield result
                continue
            scores, similarity, share = next(scored)
            if np.isfinite(similarity + scores).all() and (share is None or math.isfinite(share)):
                yield self.rules.answer(result, scores, similarity, share)
            else:
                error = Failure("non_finite", "the scores are not finite")
                yield self._of(Embedded(item.input, error=error))

    def score(self, features: Floats) -> tuple[Floats, Floats]:
        """Scores (B, C) and cosines (B, C) of image_features (B, D), for every class.

        Raises:
            HeadError: features of another size than the head's.
        """
        size = self.head.weight.shape[1]
        if features.shape[1] != size:  # of a head that says it fits
            raise HeadError(f"the head has features of size {size}, not {features.shape[1]}")
        similarity = scoring.cosines(features, self.head.weight)[:, self._first_equal]
        with np.errstate(invalid="ignore"):  # what is not finite becomes a row
            scores = scoring.scores(
                similarity,
                self.score_kind,
                scale=self.head.scale,
                bias=self.head.bias,
                temperature=1.0 if self.head.temperature is None else self.head.temperature,
                background=self._to_background(features) if self.rules.multi_label else None,
            )
        return scores, similarity

    def _answers(self, features: Floats) -> tuple[Floats, Floats, Sequence[float | None]]:
        """Scores and cosines (B, N) of all that is answered with: classes, or groups of them.

        And the share (B,) of all classes together, where it was asked for.
        """
        scores, similarity = self.score(features)
        shares = self._shares(features, similarity)
        if self.members is None:
            return scores, similarity, shares
        members = list(self.members.values())
        return (
            scoring.grouped(scores, members, self.score_kind),
            scoring.grouped(similarity, members, "cosine"),
            shares,
        )

    def _shares(self, features: Floats, similarity: Floats) -> Sequence[float | None]:
        background = None if self.rules.other is None else self._to_background(features)
        if background is None:
            return [None] * len(features)
        with np.errstate(invalid="ignore"):
            shares = scoring.share(similarity, background, scale=self.head.scale)
        return [float(share) for share in shares]

    def _to_background(self, features: Floats) -> Floats | None:
        """Cosines (B, M) of the names that compete with the labels."""
        if self.background is None:
            return None
        return scoring.cosines(features, self.background.weight)

    def _threshold_of_sets(self, coverage: float) -> float:
        """What a score must reach for its label to be in the set of a picture."""
        if self.score_kind != "softmax":
            raise UsageError(f"label sets are made of softmax scores, not of {self.score_kind}")
        if self.members is not None:
            raise UsageError("label sets are made of labels, not of their groups")
        return self.head.set_threshold(coverage)

    def _of(self, item: Embedded) -> Result:
        """What is known of a picture before its scores."""
        return Result(
            path=item.path,
            status="ok" if item.error is None else "error",
            model=self.model.id,
            head=self.head.digest[:12],
            score_kind=self.score_kind if item.error is None else None,
            error=item.error,
            frames=item.frames,
            truncated=item.truncated,
            revision=self.model.local.revision,
        )


def _open_model(
    model: str | Model | None,
    labels: object,
    *,
    engine: str | None,
    device: str,
    precision: str | None,
    cache_dir: Path | str | None,
) -> Model:
    """The model that is named, or that of a head, or the default; a loaded one as it is."""
    revision = None
    if model is None and isinstance(labels, Head):
        model, revision = labels.model_name(), labels.provenance.revision
    if model is None or isinstance(model, str):
        return load_model(
            model or "default",
            revision=revision,
            engine=engine,
            device=device,
            precision=precision or "fp32",
            cache_dir=cache_dir,
        )
    if precision not in (None, model.choice.precision):
        raise UsageError(
            f"the model is loaded for {model.choice.precision}, not {precision}",
            tip="say it to load_model(..., precision=...)",
        )
    return model


def _members(head: Head) -> dict[str, list[int]]:
    """The groups of a head that has some.

    Raises:
        UsageError: no class of it is in a group.
    """
    if not head.groups:
        raise UsageError(
            "no label is in a group", tip="groups come with labels in a YAML, CSV or TSV file"
        )
    if head.thresholds:
        warnings.warn("thresholds of labels do not count for groups", ZsclipWarning, stacklevel=3)
    return head.members


def _as_input(item: ImageInput) -> Input:
    if isinstance(item, str | os.PathLike):
        path = os.fsdecode(os.fspath(item))
        return Input(path, path)
    return Input(None, item)
