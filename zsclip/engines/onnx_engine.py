"""ONNX Runtime on the CPU, in fp32: starts in a tenth of a second, and needs no torch.

Runs what `engines.compile` has made of a model. A tower is opened when it is first used, and its
weights are mapped, not read: of a text tower that nobody asks, nothing is in memory.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip import cpus, token_tree
from zsclip.engines import compiled
from zsclip.engines.base import TEXT_BATCH, Floats
from zsclip.errors import ModelError

_NO_MEMORY = ("bad allocation", "bad_alloc", "failed to allocate memory")


class OnnxEngine:
    """Runs a compiled model.

    Args:
        folder: as `compiled.make` leaves it.

    Raises:
        ModelError: files are missing, or are not what was written there.
    """

    def __init__(self, folder: Path) -> None:
        about = compiled.read(folder)
        self._folder = folder
        self._convolves = about.convolves
        self._text_cfg = about.text_cfg
        self._pad_token = about.pad_token
        self.notes = tuple(about.notes)
        self.logit_scale = about.logit_scale
        self.logit_bias = about.logit_bias

    def encode_images(self, pixels: Floats, *, full_precision: bool = False) -> Floats:
        """Unit-length image_features (B, D); always in full precision.

        Raises:
            MemoryError: there is no memory for so many.
        """
        return _run(self._image_session, pixels=pixels)

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D), by token trees where the text tower allows it."""
        if token_tree.obstacle(self._text_cfg) is None:
            return token_tree.encode(tokens, self._text_cfg, self._encode_pack)
        if self._pad_token is not None:
            tokens = token_tree.trim(tokens, self._pad_token)
        parts = range(0, len(tokens), TEXT_BATCH)
        batches = [tokens[start : start + TEXT_BATCH] for start in parts]
        return np.concatenate([_run(self._text_session, tokens=batch) for batch in batches])

    def _encode_pack(self, pack: token_tree.Pack) -> Floats:
        inputs = {"tokens": pack.tokens, "depths": pack.depths, "ends": pack.ends}
        return _run(self._text_session, mask=pack.mask(), **inputs)

    @functools.cached_property
    def _image_session(self) -> Any:
        return self._open(compiled.IMAGE_TOWER, convolves=self._convolves)

    @functools.cached_property
    def _text_session(self) -> Any:
        return self._open(compiled.TEXT_TOWER, convolves=False)

    def _open(self, name: str, *, convolves: bool) -> Any:
        import onnxruntime

        level = onnxruntime.GraphOptimizationLevel
        options = _options()
        # the rest was done for good by `optimize`; what depends on this processor alone remains
        options.graph_optimization_level = (
            level.ORT_ENABLE_ALL if convolves else level.ORT_DISABLE_ALL
        )
        try:
            return _session(self._folder / name, options)
        except Exception as error:  # ONNX Runtime's have no common class
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{self._folder}: {name} cannot be opened: {reason}",
                tip="delete that folder, and the model is compiled again at its next use",
            ) from error


def optimize(source: Path, target: Path) -> None:
    """Write a graph with fewer steps, and its weights beside it in a file that can be mapped.

    Nothing in it depends on the processor: steps that do are left for when it is opened.
    """
    import onnxruntime

    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    entry = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{entry}_file_name", target.with_suffix(".weights").name)
    options.add_session_config_entry(f"{entry}_min_size_in_bytes", "1024")
    _session(source, options)


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpus.usable()
    options.log_severity_level = 4  # what it raises says the same
    # Packed weights are a copy of all: 0.3 s and twice the memory at the start of ViT-B/32, for
    # nothing at larger batches. Threads that spin take the processor from those that decode.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _session(path: Path, options: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: Any, **inputs: npt.NDArray[Any]) -> Floats:
    try:
        (features,) = session.run(None, inputs)
    except Exception as error:  # ONNX Runtime's have no common class
        if any(words in str(error).lower() for words in _NO_MEMORY):
            raise MemoryError("no memory for so many at once") from error
        raise
    return np.asarray(features, dtype=np.float32)
