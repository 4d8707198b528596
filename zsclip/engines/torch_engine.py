"""The reference engine: open_clip on torch. Runs anything open_clip loads.

In fp32 unless told otherwise; in bf16 and fp16 the matrices of the image side alone are smaller.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip import cpus, token_tree
from zsclip.engines import torch_model
from zsclip.engines.base import Floats, Precision, check_precision
from zsclip.errors import UsageError, ZsclipWarning
from zsclip.weights import LocalModel

TEXT_BATCH = 256
"""Prompts that are encoded together where they are not packed."""
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


class TorchEngine:
    """Runs a local model on a device; both towers are loaded.

    On the CPU torch gets no more threads than there are processors for this process. That holds
    for all of torch in this process; a number that is lower already stays.

    Attributes:
        net: open_clip's model.
        device: that it is on.
        notes: what people should know about the weights.

    Raises:
        UsageError: the device is not there, or cannot compute in this precision.
        ModelError: the weights cannot be loaded.
    """

    def __init__(self, model: LocalModel, *, device: str = "auto", precision: str = "fp32") -> None:
        import torch

        self._torch = torch
        self.device = _pick_device(device)
        wanted = check_precision(precision, self.device)
        if self.device == "cpu":
            _lower_threads()
            _warn_if_slow(wanted)
        if self.device == "cuda":  # TF32 keeps 10 bits of a convolution's inputs: 1e-3, not 1e-5
            torch.backends.cudnn.allow_tf32 = False
        loaded = torch_model.load(model)
        self.notes = loaded.notes
        self.net = loaded.net.to(self.device)
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
        self._smaller = None if self._dtype is None else _with_smaller(self.net, self._dtype)
        self.logit_scale = float(self.net.logit_scale.detach().exp())
        self._text_cfg = model.config.model_cfg["text_cfg"]
        bias = getattr(self.net, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias.detach())

    def encode_images(self, pixels: Floats, *, full_precision: bool = False) -> Floats:
        """Unit-length image_features (B, D).

        Raises:
            MemoryError: the device, or this machine, has no memory for so many.
        """
        try:
            return self._encode_images(pixels, full_precision=full_precision)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        # only here are the frames gone that held the batch
        if self.device == "cuda":
            self._torch.cuda.empty_cache()
        raise MemoryError(f"{len(pixels)} pictures do not fit into the memory of {self.device!r}")

    def _encode_images(self, pixels: Floats, *, full_precision: bool) -> Floats:
        from zsclip.engines import towers

        model, context = self.net, self._in_precision(None)
        if self._smaller is not None and not full_precision:
            model, context = self._smaller, self._in_precision(self._dtype)
        with self._torch.inference_mode():
            with context:
                features = towers.encode_images(model, self._on_device(pixels))
            features = self._torch.nn.functional.normalize(features.float(), dim=-1)
            return np.asarray(features.cpu().numpy())

    def _in_precision(self, dtype: Any) -> AbstractContextManager[Any]:
        if dtype is None:
            return nullcontext()
        context: AbstractContextManager[Any] = self._torch.autocast(self.device, dtype)
        return context

    def _on_device(self, pixels: Floats) -> Any:
        tensor = self._torch.from_numpy(pixels)
        if self.device == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D), by token trees where the text tower allows it."""
        with self._torch.inference_mode():
            if token_tree.obstacle(self._text_cfg) is None:
                return token_tree.encode(tokens, self._text_cfg, self._encode_packs)
            if self._text_cfg.get("hf_model_name"):
                tokens = token_tree.trim(tokens, self.net.text.config.pad_token_id)
            parts = range(0, len(tokens), TEXT_BATCH)
            return np.concatenate([self._encode_padded(tokens[i : i + TEXT_BATCH]) for i in parts])

    def _encode_packs(self, packs: Sequence[token_tree.Pack]) -> list[Floats]:
        return [self._encode_pack(pack) for pack in packs]

    def _encode_pack(self, pack: token_tree.Pack) -> Floats:
        from zsclip.engines import towers

        inputs = {name: self._tensor(array) for name, array in pack.inputs().items()}
        features = towers.encode_pack(self.net, **inputs)
        return np.asarray(features.cpu().numpy())

    def _encode_padded(self, tokens: npt.NDArray[np.int64]) -> Floats:
        features = self.net.encode_text(self._tensor(tokens), normalize=True)
        return np.asarray(features.float().cpu().numpy())

    def _tensor(self, array: npt.NDArray[Any]) -> Any:
        return self._torch.from_numpy(array).to(self.device)


def devices() -> dict[str, list[str]]:
    """The devices that torch has, each with the names of its processors."""
    import torch

    found = {"cpu": [torch.backends.cpu.get_cpu_capability()]}
    if torch.cuda.is_available():
        cards = range(torch.cuda.device_count())
        found["cuda"] = [torch.cuda.get_device_name(card) for card in cards]
    if torch.backends.mps.is_available():
        found["mps"] = ["Apple"]
    return found


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


def _lower_threads() -> None:
    """Torch counts processors that a control group does not let it use."""
    import torch

    usable = cpus.usable()
    if torch.get_num_threads() > usable:
        torch.set_num_threads(usable)


def _warn_if_slow(precision: Precision) -> None:
    if precision == "bf16" and not cpus.multiplies_bf16():
        warnings.warn(
            "bf16 is probably slower than fp32 on this processor",
            ZsclipWarning,
            stacklevel=3,
        )


def _with_smaller(model: Any, dtype: Any) -> Any:
    """The model with an image tower of its own whose matrices are cast once, for autocast.

    Autocast by itself would cast them anew for each batch, which takes longer than a small batch.
    Norms, embeddings and all else keep fp32.
    """
    from torch import nn

    shared = {id(part): part for part in model.children() if part is not model.visual}
    twin = copy.deepcopy(model, shared)
    for module in twin.visual.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.MultiheadAttention):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return twin


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Torch has a class for it on CUDA alone, and not for every way to run out."""
    import torch

    said = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(w in said for w in _NO_MEMORY)
