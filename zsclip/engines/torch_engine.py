"""The reference engine: open_clip on torch, in fp32. Runs anything open_clip loads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip import token_tree
from zsclip.engines import torch_model
from zsclip.engines.base import Floats
from zsclip.errors import UsageError
from zsclip.weights import LocalModel

TEXT_BATCH = 256
"""Prompts that are encoded together where they are not packed."""


class TorchEngine:
    """Runs a local model on a device; both towers are loaded."""

    def __init__(self, model: LocalModel, *, device: str = "auto") -> None:
        import torch

        self._torch = torch
        self._device = _pick_device(device)
        if self._device == "cuda":  # TF32 keeps 10 bits of a convolution's inputs: 1e-3, not 1e-5
            torch.backends.cudnn.allow_tf32 = False
        self._model = torch_model.load(model).to(self._device)
        self.logit_scale = float(self._model.logit_scale.detach().exp())
        self._text_cfg = model.config.model_cfg["text_cfg"]
        bias = getattr(self._model, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias.detach())

    def encode_images(self, pixels: Floats) -> Floats:
        """Unit-length image_features (B, D)."""
        with self._torch.inference_mode():
            tensor = self._torch.from_numpy(pixels).to(self._device)
            features = self._model.encode_image(tensor, normalize=True)
        return np.asarray(features.float().cpu().numpy())

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D), by token trees where the text tower allows it."""
        with self._torch.inference_mode():
            if token_tree.obstacle(self._text_cfg) is None:
                tree = token_tree.grow(tokens, token_tree.lengths(tokens, self._text_cfg))
                return np.concatenate([self._encode_pack(pack) for pack in tree.packs])[tree.rows]
            batches = range(0, len(tokens), TEXT_BATCH)
            return np.concatenate(
                [self._encode_padded(tokens[i : i + TEXT_BATCH]) for i in batches]
            )

    def _encode_pack(self, pack: token_tree.Pack) -> Floats:
        """Unit-length features (E, D) of the prompts of a pack.

        The steps of open_clip's `CLIP.encode_text` and `TextTransformer.forward`.
        """
        tower = getattr(self._model, "text", self._model)
        mask = np.where(pack.sees(), np.float32(0), np.float32(-np.inf))
        tokens, depths, ends = map(self._tensor, (pack.tokens, pack.depths, pack.ends))
        hidden = tower.token_embedding(tokens) + tower.positional_embedding[depths]  # (N, W)
        hidden = tower.transformer(hidden[None], attn_mask=self._tensor(mask))[0]
        features = tower.ln_final(hidden[ends])  # (E, W)
        projection = tower.text_projection
        if isinstance(projection, self._torch.nn.Linear):
            features = projection(features)
        elif projection is not None:
            features = features @ projection
        features = self._torch.nn.functional.normalize(features, dim=-1)
        return np.asarray(features.cpu().numpy())

    def _encode_padded(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length features (P, D) of tokens (P, L), padding included.

        Towers of transformers mask the padding, so columns of nothing else can go.
        """
        if self._text_cfg.get("hf_model_name"):
            is_text = (tokens != self._model.text.config.pad_token_id).any(axis=0)
            tokens = tokens[:, : is_text.nonzero()[0].max(initial=0) + 1]
        features = self._model.encode_text(self._tensor(tokens), normalize=True)
        return np.asarray(features.float().cpu().numpy())

    def _tensor(self, array: npt.NDArray[Any]) -> Any:
        return self._torch.from_numpy(array).to(self._device)


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
