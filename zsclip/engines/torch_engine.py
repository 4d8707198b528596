"""The reference engine: open_clip on torch. The only home of both.

Loads anything open_clip loads, in fp32, from a safetensors file, strictly: every key of the
architecture must be there. Never downloads, never runs random weights.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip.engines.base import Floats
from zsclip.errors import ModelError, NotFetchedError, UsageError
from zsclip.weights import LocalModel

DEVICES = ("auto", "cpu", "cuda", "mps")
TEXT_BATCH = 256


class TorchEngine:
    """Runs a local model on a device; both towers are loaded."""

    def __init__(self, model: LocalModel, *, device: str = "auto") -> None:
        import torch

        self._torch = torch
        self._device = _pick_device(device)
        self._model = _load(model).to(self._device).eval()
        self.logit_scale = float(self._model.logit_scale.detach().exp())
        bias = getattr(self._model, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias.detach())

    def encode_images(self, pixels: Floats) -> Floats:
        """Unit-length image_features (B, D)."""
        with self._torch.inference_mode():
            tensor = self._torch.from_numpy(pixels).to(self._device)
            features = self._model.encode_image(tensor, normalize=True)
        return np.asarray(features.float().cpu().numpy())

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D), in batches of TEXT_BATCH."""
        parts = []
        with self._torch.inference_mode():
            for start in range(0, len(tokens), TEXT_BATCH):
                tensor = self._torch.from_numpy(tokens[start : start + TEXT_BATCH])
                features = self._model.encode_text(tensor.to(self._device), normalize=True)
                parts.append(features.float().cpu().numpy())
        return np.concatenate(parts)


class HuggingFaceTokenizer:
    """open_clip's wrapper of a Hugging Face tokenizer (SigLIP and others); needs transformers."""

    def __init__(self, name: str, context_length: int, options: dict[str, Any]) -> None:
        self.context_length = context_length
        try:
            from open_clip.tokenizer import HFTokenizer

            self._tokenizer = HFTokenizer(name, context_length=context_length, **options)
        except (ImportError, AssertionError) as error:
            raise ModelError(
                f"the tokenizer {name} needs transformers", tip="pip install 'zsclip[siglip]'"
            ) from error
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise NotFetchedError(f"the tokenizer {name} cannot be fetched: {reason}") from error

    def __call__(self, texts: Sequence[str], *, truncate: bool = False) -> npt.NDArray[np.int64]:
        """Tokens (P, L); these tokenizers cut what does not fit, whatever `truncate` says."""
        tokens = self._tokenizer(list(texts), context_length=self.context_length)
        return np.asarray(tokens.numpy(), dtype=np.int64)


def _pick_device(device: str) -> str:
    import torch

    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present.get(device):
        raise UsageError(f"device {device!r} is not there", tip="use --device auto")
    return device


@contextmanager
def _silence() -> Iterator[None]:
    """No log lines or warnings of open_clip's: it warns of random weights before ours are in."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _load(model: LocalModel) -> Any:
    import open_clip
    from open_clip.factory import load_checkpoint

    config = model.config
    name = config.architecture
    if model.source.architecture is None:
        name = f"local-dir:{model.weights.parent}"
    try:
        with _silence():
            empty = open_clip.create_model(
                name,
                load_weights=False,
                pretrained_text=False,
                force_quick_gelu=bool(config.model_cfg.get("quick_gelu")),
            )
            load_checkpoint(empty, str(model.weights), strict=True, weights_only=True)
    except ImportError as error:
        raise ModelError(
            f"{config.architecture} needs transformers", tip="pip install 'zsclip[siglip]'"
        ) from error
    except Exception as error:  # open_clip and timm raise many kinds, all mean the same here
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{model.weights} does not fit {config.architecture}: {reason}") from error
    return empty
