"""A loaded model: pictures and texts in, features out.

Joins what belongs to one model: its files, tokenizer, preprocessing and engine. The engine is
opened at the first need only, so that a head that is wholly in the cache never opens it.
Shapes: B images, V views of one, P texts, S image size, L context length, D feature size.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from zsclip import hf_tokenizer, images, pixels, scoring
from zsclip.cache import TextCache
from zsclip.decoding import DEFAULT, Decoding
from zsclip.engines.base import Engine, Floats
from zsclip.engines.image_encoder import ImageEncoder
from zsclip.engines.opening import Choice, open_engine
from zsclip.errors import ModelError, PictureError, UsageError
from zsclip.images import ImageInput
from zsclip.models import CLIP_BPE, ModelConfig
from zsclip.results import Failure, ScoreKind
from zsclip.tokenizer import ClipTokenizer, Tokenizer, check_options
from zsclip.weights import LocalModel, digest

PROBE_TEXT = "a photo of a cat."
BATCH_SIZE = 32
"""Pictures that are encoded together, at most (unless a classifier is told otherwise)."""
_CLIP_VOCABULARY = 49_408


@runtime_checkable
class SupportsArray(Protocol):
    """What `np.asarray` reads: NumPy arrays, torch tensors on the CPU, columns of a table."""

    def __array__(self) -> npt.NDArray[Any]:
        """The values as an array."""

    def __iter__(self) -> Iterator[Any]:
        """Its rows."""


Texts: TypeAlias = str | Iterable[str] | SupportsArray
"""One text, several, or their tokens (P, L)."""
Pictures: TypeAlias = ImageInput | Iterable[ImageInput] | SupportsArray
"""One picture, several, or prepared pixels (B, 3, S, S)."""


class Model:
    """A CLIP model on this machine; see `zsclip.load_model`.

    Attributes:
        local: its files, configuration and digest.
        cache: remembers facts about it (and, for `build_head`, its text embeddings).
        decoding: how files become pictures.
        choice: which engine, device and precision were asked for.
    """

    def __init__(
        self,
        local: LocalModel,
        *,
        cache: TextCache,
        choice: Choice = Choice(),
        engine: Engine | None = None,
        decoding: Decoding = DEFAULT,
    ) -> None:
        self.local = local
        self.cache = cache
        self.decoding = decoding
        self.choice = choice
        if engine is not None:
            self.engine = engine

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine, opened when first used."""
        return open_engine(self.local, self.choice, self.cache.facts)

    @functools.cached_property
    def image_encoder(self) -> ImageEncoder:
        """Encodes pixels with the engine, in batches that fit into memory."""
        return ImageEncoder(self.engine)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer."""
        config = self.local.config
        if config.tokenizer != CLIP_BPE:
            return hf_tokenizer.load(self.local)
        options = config.model_cfg["text_cfg"].get("tokenizer_kwargs") or {}
        check_options(options, "clean")
        return ClipTokenizer(config.context_length, **options)

    @functools.cached_property
    def text_files_id(self) -> str:
        """What tells the text side's files beside the weights from others, for the text cache.

        They are the tokenizer, and the configuration of a text tower of transformers.
        """
        from zsclip.engines import torch_model

        if self.local.config.tokenizer == CLIP_BPE:
            return CLIP_BPE
        tokenizer = hf_tokenizer.identity(self.local, self.cache.facts)
        tower = torch_model.text_tower_folder(self.local)
        if tower is None:
            return tokenizer
        return f"{tokenizer} tower={digest(Path(tower) / 'config.json', self.cache.facts)}"

    @functools.cached_property
    def _scale_and_bias(self) -> tuple[float, float | None]:
        key = scale_key(self.local.digest, self.local.config)
        known = self.cache.facts.get(key)
        if known is not None:
            scale, bias = json.loads(known)
            return float(scale), None if bias is None else float(bias)
        values = (self.engine.logit_scale, self.engine.logit_bias)
        self.cache.facts[key] = json.dumps(values)
        return values

    @property
    def id(self) -> str:
        """Name and first digits of the weights' digest, as in every result."""
        return self.local.id

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before the softmax (100 for OpenAI's models)."""
        return self._scale_and_bias[0]

    @property
    def logit_bias(self) -> float | None:
        """What is added to every logit; None for models trained with softmax."""
        return self._scale_and_bias[1]

    @property
    def dimension(self) -> int:
        """D, the size of the features."""
        return int(self.local.config.model_cfg["embed_dim"])

    def choose_kind(self, asked: str | None = None) -> ScoreKind:
        """The kind of score to give: what was asked for, or else the model's own.

        Raises:
            UsageError: no such kind, or not of this model.
        """
        native = scoring.native_kind(self.logit_bias)
        return scoring.choose_kind(asked, native=native, model=self.id)

    def tokenize(self, texts: Texts, *, truncate: bool = False) -> npt.NDArray[np.int64]:
        """Tokens (P, L) int64, padded as the model was trained; one text is a list of one.

        Raises:
            TextError: a text that is too long (unless `truncate`), or has a special token.
        """
        return self.tokenizer([texts] if isinstance(texts, str) else list(texts), truncate=truncate)

    def encode_text(self, texts: Texts) -> Floats:
        """Unit-length text_features (P, D) float32 of texts, or of tokens (P, L) of any integers.

        One text is a list of one; none give (0, D). Always computed in fp32.

        Raises:
            TextError: a text that the model cannot read whole.
            UsageError: tokens of another shape, or that are not in the vocabulary.
            ModelError: the features are not finite.
        """
        tokens = self._tokens(texts)
        if not len(tokens):
            return np.zeros((0, self.dimension), dtype=np.float32)
        features = self.engine.encode_texts(tokens)
        if not np.isfinite(features).all():
            raise ModelError(f"{self.id}: its text features are not finite: damaged weights?")
        return features

    def _tokens(self, texts: Texts) -> npt.NDArray[np.int64]:
        array = np.asarray(texts) if isinstance(texts, SupportsArray) else None
        if array is None or array.dtype.kind not in "iu":
            return self.tokenize(texts)
        length = self.local.config.context_length
        if array.ndim != 2 or array.shape[1] != length:
            raise UsageError(f"tokens need the shape (P, {length}); these have {array.shape}")
        text_cfg = self.local.config.model_cfg["text_cfg"]
        size = text_cfg.get("vocab_size") or _CLIP_VOCABULARY
        if text_cfg.get("hf_model_name"):
            size = np.inf  # only the text tower's own configuration says it
        if array.size and not 0 <= array.min() <= array.max() < size:
            raise UsageError(
                f"tokens need numbers in [0, {size}); these are in [{array.min()}, {array.max()}]"
            )
        return np.ascontiguousarray(array, dtype=np.int64)

    def encode_image(self, pictures: Pictures) -> Floats:
        """Unit-length image_features (B, D) float32 of pictures, or of prepared pixels.

        One picture is a list of one; none give (0, D). Arrays of uint8 are pictures, arrays of
        floats (any precision, also torch tensors) are pixels (B, 3, S, S) as `prepare` makes them.

        Raises:
            PictureError: a picture cannot be decoded, there is no memory for it, or its features
                are not finite.
            UsageError: pixels of another shape.
        """
        features = []
        for batch in self._batches(pictures):
            for row in self.image_encoder.encode_views(batch, most=BATCH_SIZE):
                if isinstance(row, Failure):
                    raise PictureError(row.code, row.message)
                features.append(row)
        return np.stack(features) if features else np.zeros((0, self.dimension), dtype=np.float32)

    def _batches(self, pictures: Pictures) -> Iterator[list[Floats]]:
        """Views (V, 3, S, S) of each picture, at most BATCH_SIZE pictures at once."""
        if isinstance(pictures, str | os.PathLike | bytes | Image.Image):
            pictures = [pictures]
        elif isinstance(pictures, SupportsArray):
            array = np.asarray(pictures)
            if array.dtype.kind == "f":
                array = self._checked_pixels(array)
                for start in range(0, len(array), BATCH_SIZE):
                    batch = np.ascontiguousarray(array[start : start + BATCH_SIZE], np.float32)
                    yield list(batch[:, None])
                return
            pictures = [array] if array.ndim in (2, 3) else list(array)
        remaining = iter(pictures)
        while views := [self._views(p) for p in itertools.islice(remaining, BATCH_SIZE)]:
            yield views

    def _views(self, picture: ImageInput) -> Floats:
        if isinstance(picture, np.ndarray) and picture.dtype.kind == "f":  # as `prepare` makes them
            return np.asarray(self._checked_pixels(picture)[:1], dtype=np.float32)
        preprocess = self.local.config.preprocess
        loaded = images.load(picture, self.decoding, size=preprocess.size)
        return pixels.views(loaded.image, preprocess, box=loaded.box, fit=self.decoding.fit)

    def _checked_pixels(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        size = self.local.config.preprocess.size
        batch = array[None] if array.ndim == 3 else array
        if batch.shape[1:] != (3, size, size):
            raise UsageError(
                f"pixels need the shape (B, 3, {size}, {size}); these have {array.shape}",
                tip="pictures are taken as paths, bytes, Pillow images or uint8 arrays (H, W, 3)",
            )
        return batch

    def prepare(self, picture: ImageInput) -> Floats:
        """One picture as the model sees it, (3, S, S) float32.

        Raises:
            PictureError: it cannot be decoded.
            UsageError: the model sees several views of a picture (`fit="views"`).
        """
        if self.decoding.fit == "views":
            raise UsageError(
                "fit 'views' makes several pictures of one", tip="encode_image averages them"
            )
        view: Floats = self._views(picture)[0]
        return view

    def logits_per_image(self, pictures: Pictures, texts: Texts) -> Floats:
        """`logit_scale * cosine + logit_bias`, (B, P) float32, with the model's own two numbers.

        A softmax over the last axis gives CLIP's probabilities, a sigmoid SigLIP's.
        """
        similarity = scoring.cosines(self.encode_image(pictures), self.encode_text(texts))
        bias = np.float32(self.logit_bias or 0.0)
        return scoring.logits(similarity, scale=self.logit_scale, bias=bias)

    def logits_per_text(self, texts: Texts, pictures: Pictures) -> Floats:
        """The transpose of `logits_per_image`, (P, B) float32."""
        return self.logits_per_image(pictures, texts).T


def scale_key(digest: str, config: ModelConfig) -> str:
    """Where the facts of the cache have the logit scale and bias of a weights file, as JSON."""
    return f"logit_scale|{digest}|{config.fingerprint}"
