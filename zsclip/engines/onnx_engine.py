"""ONNX Runtime on the CPU, in fp32: starts in a tenth of a second, and needs no torch.

Runs what `engines.compile` has made of a model. A tower is opened when it is first used, and its
weights are mapped, not read: of a text tower that nobody asks, nothing is in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip import cpus, token_tree
from zsclip.engines import compiled
from zsclip.engines.base import Floats
from zsclip.errors import ModelError

TEXT_BATCH = 32
"""Prompts that are encoded together where they are not packed."""
MANY = 16
"""Inputs at once from which on it is worth while to pack the weights."""
LEAST_PICTURES = 2
"""For a thread: fewer, and all threads share them."""
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
        self._threads = cpus.usable()
        self._image_tower = _Tower(
            folder / compiled.IMAGE_TOWER, threads=self._threads, convolves=about.convolves
        )
        self._text_tower = _Tower(
            folder / compiled.TEXT_TOWER, threads=self._threads, convolves=False
        )
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
        parts = self._threads if len(pixels) >= LEAST_PICTURES * self._threads else 1
        inputs = [{"pixels": part} for part in np.array_split(pixels, parts)]
        return np.concatenate(self._run(self._image_tower, inputs))

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Unit-length text_features (P, D), by token trees where the text tower allows it."""
        if token_tree.obstacle(self._text_cfg) is None:
            return token_tree.encode(
                tokens, self._text_cfg, self._encode_packs, threads=self._threads
            )
        if self._pad_token is not None:
            tokens = token_tree.trim(tokens, self._pad_token)
        parts = range(0, len(tokens), TEXT_BATCH)
        inputs = [{"tokens": tokens[start : start + TEXT_BATCH]} for start in parts]
        return np.concatenate(self._run(self._text_tower, inputs))

    def _encode_packs(self, packs: Sequence[token_tree.Pack]) -> list[Floats]:
        small = sum(len(pack.tokens) for pack in packs) < token_tree.LEAST_NODES
        return self._run(self._text_tower, [pack.inputs() for pack in packs], small=small)

    def _run(
        self, tower: _Tower, inputs: Sequence[Mapping[str, Any]], *, small: bool = False
    ) -> list[Floats]:
        """Features of each input: side by side, a thread each, or one by one with all threads.

        Threads that share an input wait for each other at every step.

        Args:
            small: one thread is enough for all; a session for several would take longer to open.
        """
        if len(inputs) < self._threads and not small:
            return [_run(tower.shared, one) for one in inputs]
        # opened once, by this thread
        session = tower.packed if len(inputs) >= MANY else tower.alone
        return list(self._workers.map(lambda one: _run(session, one), inputs))

    @functools.cached_property
    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="zsclip-onnx")


class _Tower:
    """A graph, opened when it is first run; what is mapped is in memory once.

    Args:
        convolves: it is made of convolutions, which are arranged for the processor when opened.
    """

    def __init__(self, path: Path, *, threads: int, convolves: bool) -> None:
        self._path, self._threads, self._convolves = path, threads, convolves

    @functools.cached_property
    def shared(self) -> Any:
        """A session whose threads work on one input together."""
        return self._open(self._threads)

    @functools.cached_property
    def alone(self) -> Any:
        """A session for threads that each have an input of their own."""
        return self._open(1)

    @functools.cached_property
    def packed(self) -> Any:
        """The same with weights packed for the processor: a second copy, a tenth faster."""
        return self._open(1, pack=True)

    def _open(self, threads: int, *, pack: bool = False) -> Any:
        import onnxruntime

        level = onnxruntime.GraphOptimizationLevel
        options = _options(threads, pack=pack)
        # the rest was done for good by `optimize`; what depends on this processor alone remains
        options.graph_optimization_level = (
            level.ORT_ENABLE_ALL if self._convolves else level.ORT_DISABLE_ALL
        )
        try:
            return _session(self._path, options)
        except Exception as error:  # ONNX Runtime's have no common class
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{self._path} cannot be opened: {reason}",
                tip="delete its folder, and the model is compiled again at its next use",
            ) from error


def optimize(source: Path, target: Path) -> None:
    """Write a graph with fewer steps, and its weights beside it in a file that can be mapped.

    Nothing in it depends on the processor: steps that do are left for when it is opened.
    """
    import onnxruntime

    options = _options(cpus.usable())
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    entry = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{entry}_file_name", target.with_suffix(".weights").name)
    options.add_session_config_entry(f"{entry}_min_size_in_bytes", "1024")
    _session(source, options)


def _options(threads: int, *, pack: bool = False) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it raises says the same
    # packing takes 0.2 s and the memory of a copy at every start of ViT-B/32
    options.add_session_config_entry("session.disable_prepacking", "0" if pack else "1")
    # threads that spin take the processor from those that decode
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _session(path: Path, options: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: Any, inputs: Mapping[str, npt.NDArray[Any]]) -> Floats:
    try:
        (features,) = session.run(None, dict(inputs))
    except Exception as error:  # ONNX Runtime's have no common class
        if any(words in str(error).lower() for words in _NO_MEMORY):
            raise MemoryError("no memory for so many at once") from error
        raise
    return np.asarray(features, dtype=np.float32)
