"""A loaded model: pictures and texts in, features out.

Joins what belongs to one model: its files, tokenizer, preprocessing and engine. The engine is
opened at the first need only, so that a head that is wholly in the cache never opens it.
Shapes: B images, P texts, S image size, L context length, D feature size.
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
from zsclip.cache import TextCache, default_folder
from zsclip.decoding import DEFAULT, Decoding
from zsclip.engines.base import Engine, Floats
from zsclip.errors import ModelError, UsageError
from zsclip.images import ImageInput
from zsclip.models import CLIP_BPE, resolve
from zsclip.results import ScoreKind
from zsclip.tokenizer import ClipTokenizer, Tokenizer, check_options
from zsclip.weights import LocalModel, locate

PROBE_TEXT = "a photo of a cat."
BATCH_SIZE = 32
"""Pictures that `encode_image` decodes and encodes together."""


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
    """A CLIP model on this machine; see `load_model`.

    Attributes:
        local: its files, configuration and digest.
        cache: remembers facts about it (and, for `build_head`, its text embeddings).
        decoding: how files become pictures.
    """

    def __init__(
        self,
        local: LocalModel,
        *,
        cache: TextCache,
        device: str = "auto",
        engine: Engine | None = None,
        decoding: Decoding = DEFAULT,
    ) -> None:
        self.local = local
        self.cache = cache
        self.decoding = decoding
        self._device = device
        if engine is not None:
            self.engine = engine

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine, opened when first used."""
        from zsclip.engines.torch_engine import TorchEngine

        engine = TorchEngine(self.local, device=self._device)
        self._refuse_damaged(engine)
        return engine

    def _refuse_damaged(self, engine: Engine) -> None:
        """One grey picture: weights with NaN or infinity in them make no finite features."""
        size = self.local.config.preprocess.size
        grey = engine.encode_images(np.full((1, 3, size, size), 0.5, dtype=np.float32))
        numbers = (engine.logit_scale, engine.logit_bias or 0.0)
        if not (np.isfinite(grey).all() and np.isfinite(numbers).all()):
            raise ModelError(f"{self.id}: its image features are not finite: damaged weights?")

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
    def tokenizer_id(self) -> str:
        """What tells the tokenizer from any other, as the keys of the text cache need it."""
        if self.local.config.tokenizer == CLIP_BPE:
            return CLIP_BPE
        return hf_tokenizer.identity(self.local, self.cache.facts)

    @functools.cached_property
    def _scale_and_bias(self) -> tuple[float, float | None]:
        key = f"logit_scale|{self.local.digest}|{self.local.config.fingerprint}"
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
            TokenizeError: a text that is too long (unless `truncate`), or has a special token.
        """
        return self.tokenizer([texts] if isinstance(texts, str) else list(texts), truncate=truncate)

    def encode_text(self, texts: Texts) -> Floats:
        """Unit-length text_features (P, D) float32 of texts, or of tokens (P, L) of any integers.

        One text is a list of one; none give (0, D). Always computed in fp32.

        Raises:
            TokenizeError: a text that the model cannot read whole.
            UsageError: tokens of another shape.
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
        return np.ascontiguousarray(array, dtype=np.int64)

    def encode_image(self, pictures: Pictures) -> Floats:
        """Unit-length image_features (B, D) float32 of pictures, or of prepared pixels.

        One picture is a list of one; none give (0, D). Arrays of uint8 are pictures, arrays of
        floats (any precision, also torch tensors) are pixels (B, 3, S, S) as `prepare` makes them.

        Raises:
            PictureError: a picture cannot be decoded.
            UsageError: pixels of another shape.
        """
        parts = [self.engine.encode_images(batch) for batch in self._batches(pictures)]
        if not parts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.concatenate(parts)

    def _batches(self, pictures: Pictures) -> Iterator[Floats]:
        """Pixels (B, 3, S, S), at most BATCH_SIZE at once."""
        if isinstance(pictures, str | os.PathLike | bytes | Image.Image):
            pictures = [pictures]
        elif isinstance(pictures, SupportsArray):
            array = np.asarray(pictures)
            if array.dtype.kind == "f":
                array = self._checked_pixels(array)
                for start in range(0, len(array), BATCH_SIZE):
                    yield np.ascontiguousarray(array[start : start + BATCH_SIZE], np.float32)
                return
            pictures = [array] if array.ndim in (2, 3) else list(array)
        remaining = iter(pictures)
        while batch := [self.prepare(p) for p in itertools.islice(remaining, BATCH_SIZE)]:
            yield np.stack(batch)

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
        """One picture as the model sees it, (3, S, S) float32."""
        preprocess = self.local.config.preprocess
        loaded = images.load(picture, self.decoding, size=preprocess.size)
        return pixels.prepare(loaded.image, preprocess, box=loaded.box)

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


def load_model(
    name: str = "default",
    *,
    weights: Path | str | None = None,
    tag: str | None = None,
    revision: str | None = None,
    sha256: str | None = None,
    allow_pickle: bool = False,
    offline: bool = False,
    device: str = "auto",
    cache_dir: Path | str | None = None,
    use_cache: bool = True,
    decode: str = DEFAULT.decode,
    exact: bool = DEFAULT.exact,
    background: str = DEFAULT.background,
    max_pixels: int = DEFAULT.max_pixels,
) -> Model:
    """Find a model, fetching its weights at first use.

    Args:
        name: a preset, a name of OpenAI's, `hf-hub:org/repo`, a folder, or open_clip's `ARCH:TAG`.
        weights: a local safetensors file for a bare architecture.
        tag: of open_clip's; lends that file its activation and preprocessing.
        revision: branch, tag or commit of the hub's repository; its main branch unless given.
        sha256: what the weights file must be, in hexadecimal; another is refused.
        allow_pickle: also take .pt, .bin and .pth files, opened with `weights_only` alone.
        offline: ask the hub nothing, as with HF_HUB_OFFLINE=1.
        device: `auto`, `cpu`, `cuda` or `mps`.
        cache_dir: where text embeddings are kept; the user's cache folder unless given.
        use_cache: False keeps them in memory only.
        decode: `exact`, or `fast`: a large JPEG is decoded at a smaller scale.
        exact: load pictures as open_clip does, not upright and over no background.
        background: what transparent pixels lie over: a colour name or `#rrggbb`.
        max_pixels: a larger picture fails before it is decoded.

    Raises:
        UsageError: contradicting choices, or a colour that is none.
        UnknownNameError: no model has this name.
        ModelError: the model is not on this machine and cannot be fetched, or is damaged.
    """
    decoding = Decoding(decode, exact, background, max_pixels)
    folder = default_folder() if cache_dir is None else Path(cache_dir)
    cache = TextCache(folder if use_cache else None)
    file = None if weights is None else Path(weights)
    source = resolve(name, weights_file=file, tag=tag)
    local = locate(
        source,
        revision=revision,
        sha256=sha256,
        offline=offline,
        allow_pickle=allow_pickle,
        digests=cache.facts,
    )
    return Model(local, cache=cache, device=device, decoding=decoding)
