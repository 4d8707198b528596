"""A loaded model: pictures and texts in, features out.

Joins what belongs to one model: its files, tokenizer, preprocessing and engine. The engine is
opened at the first need only, so that a head that is wholly in the cache never opens it.
Shapes: B images, P texts, S image size, L context length, D feature size.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zsclip import images, pixels
from zsclip.cache import TextCache, default_folder
from zsclip.engines.base import Engine, Floats
from zsclip.errors import ModelError
from zsclip.images import ImageInput
from zsclip.models import CLIP_BPE, resolve
from zsclip.tokenizer import ClipTokenizer, Tokenizer
from zsclip.weights import LocalModel, locate

PROBE_TEXT = "a photo of a cat."


class Model:
    """A CLIP model on this machine; see `load_model`.

    Attributes:
        local: its files, configuration and digest.
        cache: remembers facts about it (and, for `build_head`, its text embeddings).
    """

    def __init__(
        self,
        local: LocalModel,
        *,
        cache: TextCache,
        device: str = "auto",
        engine: Engine | None = None,
    ) -> None:
        self.local = local
        self.cache = cache
        self._device = device
        if engine is not None:
            self.engine = engine

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine, opened when first used."""
        from zsclip.engines.torch_engine import TorchEngine

        return TorchEngine(self.local, device=self._device)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer."""
        config = self.local.config
        if config.tokenizer == CLIP_BPE:
            return ClipTokenizer(config.context_length)
        from zsclip.engines.torch_engine import HuggingFaceTokenizer

        options = config.model_cfg["text_cfg"].get("tokenizer_kwargs") or {}
        return HuggingFaceTokenizer(config.tokenizer, config.context_length, options)

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

    def tokenize(self, texts: Sequence[str], *, truncate: bool = False) -> npt.NDArray[np.int64]:
        """Tokens (P, L); a text that does not fit raises TokenizeError unless `truncate`."""
        return self.tokenizer(texts, truncate=truncate)

    def encode_text(self, texts: Sequence[str] | npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D) of texts, or of tokens (P, L)."""
        tokens = texts if isinstance(texts, np.ndarray) else self.tokenize(texts)
        features = self.engine.encode_texts(tokens)
        if not np.isfinite(features).all():
            raise ModelError(f"{self.id}: its text features are not finite: damaged weights?")
        return features

    def encode_image(self, pictures: Sequence[ImageInput] | Floats) -> Floats:
        """Unit-length image_features (B, D) of pictures, or of prepared pixels (B, 3, S, S).

        Raises:
            PictureError: a picture cannot be decoded.
        """
        if isinstance(pictures, np.ndarray) and pictures.ndim == 4:
            return self.engine.encode_images(np.ascontiguousarray(pictures, dtype=np.float32))
        prepared = [self.prepare(picture) for picture in pictures]
        return self.engine.encode_images(np.stack(prepared))

    def prepare(self, picture: ImageInput) -> Floats:
        """One picture as the model sees it, (3, S, S)."""
        return pixels.prepare(images.load(picture).image, self.local.config.preprocess)

    def logits_per_image(self, pictures: Sequence[ImageInput], texts: Sequence[str]) -> Floats:
        """`logit_scale * cosine + logit_bias`, (B, P)."""
        cosine = self.encode_image(pictures) @ self.encode_text(texts).T
        return np.float32(self.logit_scale) * cosine + np.float32(self.logit_bias or 0.0)

    def logits_per_text(self, texts: Sequence[str], pictures: Sequence[ImageInput]) -> Floats:
        """The transpose of `logits_per_image`, (P, B)."""
        return self.logits_per_image(pictures, texts).T


def load_model(
    name: str = "default",
    *,
    weights: Path | str | None = None,
    device: str = "auto",
    cache_dir: Path | str | None = None,
    use_cache: bool = True,
) -> Model:
    """Find a model, fetching its weights at first use.

    Args:
        name: a preset, a name of OpenAI's, `hf-hub:org/repo`, a folder, or open_clip's `ARCH:TAG`.
        weights: a local safetensors file for a bare architecture.
        device: `auto`, `cpu`, `cuda` or `mps`.
        cache_dir: where text embeddings are kept; the user's cache folder unless given.
        use_cache: False keeps them in memory only.

    Raises:
        UnknownNameError: no model has this name.
        ModelError: the model is not on this machine and cannot be fetched, or is damaged.
    """
    folder = default_folder() if cache_dir is None else Path(cache_dir)
    cache = TextCache(folder if use_cache else None)
    source = resolve(name, weights_file=None if weights is None else Path(weights))
    return Model(locate(source, digests=cache.facts), cache=cache, device=device)
