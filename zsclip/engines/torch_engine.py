"""The reference engine: open_clip on torch, in fp32. Runs anything open_clip loads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zsclip.engines import torch_model
from zsclip.engines.base import Floats
from zsclip.errors import UsageError
from zsclip.weights import LocalModel

DEVICES = ("auto", "cpu", "cuda", "mps")
TEXT_BATCH = 256


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
