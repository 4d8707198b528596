"""torch -> ONNX: both towers of an open_clip model, checked against torch, for `onnx_engine`.

The text tower takes packs of a token tree where it can, else padded tokens.
Shapes: B images, P prompts, S image size, L context length, D feature size.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import normalize

from zsclip import token_tree
from zsclip.engines import compiled, towers
from zsclip.engines.base import Floats
from zsclip.engines.onnx_engine import OnnxEngine, optimize
from zsclip.engines.torch_engine import TorchEngine
from zsclip.engines.torch_model import silence
from zsclip.weights import LocalModel

LEAST_COSINE = 0.99999
"""Between the features of the two engines, for every picture and text of the check."""
STEPS = 5
_PACKAGES = ("torch", "open_clip_torch", "onnxscript", "onnxruntime")


class NotCompiledError(Exception):
    """A model that stays on torch; the message says why."""


def compile_into(
    folder: Path,
    engine: TorchEngine,
    model: LocalModel,
    on_progress: Callable[[int, int], None],
) -> None:
    """Write both towers of a model, check them against torch, and say what they are.

    Args:
        folder: exists, and is empty.
        engine: runs the model on the CPU in fp32.
        on_progress: called with (steps done, steps).

    Raises:
        NotCompiledError: not exportable, or not equal to torch.
        OSError: the folder cannot be written.
    """
    net, text_cfg = engine.net, model.config.model_cfg["text_cfg"]
    _refuse_full_disk(net, folder)
    size, length = model.config.preprocess.size, model.config.context_length
    pad_token = net.text.config.pad_token_id if text_cfg.get("hf_model_name") else None
    prompts = _prompts(net, text_cfg, length, pad_token)
    _refuse_damaged(net, prompts)
    done = iter(range(1, STEPS + 1))
    with silence():
        image = _export(_ImageTower(net), _image_example(size), _IMAGE_AXES)
        on_progress(next(done), STEPS)
        convolves = _save(image, folder / compiled.IMAGE_TOWER) > 1
        on_progress(next(done), STEPS)
        if token_tree.obstacle(text_cfg) is None:
            text = _export(_PackTower(net), _pack_example(), _PACK_AXES)
        else:
            axes = _PADDED_AXES if pad_token is None else _TRIMMED_AXES
            text = _export(_PaddedTower(net), _padded_example(length), axes)
        on_progress(next(done), STEPS)
        _save(text, folder / compiled.TEXT_TOWER)
        on_progress(next(done), STEPS)
    compiled.write_about(
        folder,
        model=model.id,
        weights=model.digest,
        architecture=model.config.architecture,
        logit_scale=engine.logit_scale,
        logit_bias=engine.logit_bias,
        text_cfg=text_cfg,
        pad_token=pad_token,
        convolves=convolves,
        made_with={name: version(name) for name in _PACKAGES},
        notes=list(engine.notes),
    )
    _check(OnnxEngine(folder), net, size, prompts)
    on_progress(next(done), STEPS)


class _Tower(nn.Module):  # type: ignore[misc]
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net


class _ImageTower(_Tower):
    def forward(self, pixels: Tensor) -> Tensor:
        return normalize(towers.encode_images(self.net, pixels), dim=-1)


class _PackTower(_Tower):
    def forward(
        self,
        tokens: Tensor,
        depths: Tensor,
        queries: Tensor,
        keys: Tensor,
        mask: Tensor,
        ends: Tensor,
    ) -> Tensor:
        return towers.encode_pack(self.net, tokens, depths, queries, keys, mask, ends)


class _PaddedTower(_Tower):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.net.encode_text(tokens, normalize=True)


Axes = dict[str, dict[int, Any]]
_NODES = Dim("nodes", min=2, max=1 << 16)
_WINDOWS = Dim("windows", min=1, max=1 << 16)
_WINDOW = Dim("window", min=2, max=1 << 16)
_KEYS = Dim("keys", min=2, max=1 << 16)
_IMAGE_AXES: Axes = {"pixels": {0: Dim("images", min=1, max=1 << 16)}}
_PACK_AXES: Axes = {
    "tokens": {0: _NODES},
    "depths": {0: _NODES},
    "queries": {0: _WINDOWS, 1: _WINDOW},
    "keys": {0: _WINDOWS, 1: _KEYS},
    "mask": {0: _WINDOWS, 1: _WINDOW, 2: _KEYS},
    "ends": {0: Dim("ends", min=1, max=1 << 16)},
}
_PADDED_AXES: Axes = {"tokens": {0: Dim("prompts", min=1, max=1 << 16)}}
_TRIMMED_AXES: Axes = {
    "tokens": {0: Dim("prompts", min=1, max=1 << 16), 1: Dim("length", min=2, max=1 << 16)}
}


# examples: their sizes differ from each other and from 1, or the exporter takes them for fixed


def _image_example(size: int) -> tuple[Tensor, ...]:
    return (torch.zeros(3, 3, size, size),)


def _pack_example() -> tuple[Tensor, ...]:
    n_nodes, n_windows, window, n_keys = 13, 3, 5, 7
    return (
        torch.zeros(n_nodes, dtype=torch.int64),
        torch.arange(n_nodes),
        torch.zeros(n_windows, window, dtype=torch.int64),
        torch.zeros(n_windows, n_keys, dtype=torch.int64),
        torch.zeros(n_windows, window, n_keys),
        torch.tensor([5, 12]),
    )


def _padded_example(length: int) -> tuple[Tensor, ...]:
    return (torch.ones(3, length, dtype=torch.int64),)


def _export(tower: nn.Module, example: tuple[Tensor, ...], axes: Axes) -> Any:
    """An ONNX program; its inputs are named as those of the tower's `forward`."""
    with torch.no_grad(), _failing_as("it cannot be exported"):
        return torch.onnx.export(
            tower.eval(),
            example,
            input_names=list(axes),
            output_names=["features"],
            dynamic_shapes=axes,
            dynamo=True,
            verbose=False,
        )


def _save(program: Any, path: Path) -> int:
    """Optimise and write a program; returns its number of convolutions."""
    raw = path.parent / "raw"
    raw.mkdir()
    program.save(raw / path.name, external_data=True)
    try:
        with _failing_as("ONNX Runtime cannot run it"):
            optimize(raw / path.name, path)
    finally:
        shutil.rmtree(raw)
    return sum(node.op_type == "Conv" for node in program.model.graph)


@contextlib.contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """What others raise, of every kind and with pages of text, in one line."""
    try:
        yield
    except (NotCompiledError, OSError, MemoryError):  # the last two lie in the machine
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotCompiledError(f"{what} ({reason[:200]})") from error


def _refuse_full_disk(net: nn.Module, folder: Path) -> None:
    needed = 2 * 4 * sum(tensor.numel() for tensor in net.state_dict().values())
    free = shutil.disk_usage(folder).free  # each tower is written twice; one copy stays
    if free < needed:
        raise OSError(
            f"{needed / 1e9:.1f} GB are needed in the cache folder, {free / 1e9:.1f} free"
        )


# the check


def _refuse_damaged(net: Any, tokens: npt.NDArray[np.int64]) -> None:
    """Weights of texts with NaN or infinity in them; those of pictures were tried when opened."""
    with torch.no_grad():
        features = net.encode_text(torch.from_numpy(tokens))
    if not torch.isfinite(features).all():
        raise NotCompiledError("its text features are not finite: damaged weights?")


def _check(ours: OnnxEngine, net: Any, size: int, tokens: npt.NDArray[np.int64]) -> None:
    """Compare with open_clip's own methods, which share nothing with `towers`."""
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((3, 3, size, size), dtype=np.float32)
    with torch.no_grad(), _failing_as("ONNX Runtime cannot run it"):
        for some in (1, None):
            found = ours.encode_images(pixels[:some])
            _compare("image", found, net.encode_image(torch.from_numpy(pixels[:some])))
            found = ours.encode_texts(tokens[:some])
            _compare("text", found, net.encode_text(torch.from_numpy(tokens[:some])))


def _compare(side: str, ours: Floats, theirs: Tensor) -> None:
    least = float((ours * normalize(theirs, dim=-1).numpy()).sum(axis=-1).min())
    if not least >= LEAST_COSINE:
        raise NotCompiledError(f"its {side} features are not those of torch (cosine {least:.6f})")


def _prompts(
    net: Any, text_cfg: dict[str, Any], length: int, pad_token: int | None
) -> npt.NDArray[np.int64]:
    """Random prompts (P, L) of every length, half of which begin alike."""
    rng = np.random.default_rng(1)
    vocabulary = next(m.num_embeddings for m in net.modules() if isinstance(m, nn.Embedding))
    end = text_cfg.get("eos_id", 2) if text_cfg.get("pool_type") == "eos" else vocabulary - 1
    tokens = rng.integers(3, vocabulary - 1, size=(12, length), dtype=np.int64)
    tokens[::2] = tokens[0]
    for row, stop in zip(tokens, np.linspace(2, length - 1, len(tokens)).astype(int), strict=True):
        row[stop] = end
        row[stop + 1 :] = 0 if pad_token is None else pad_token
    return tokens
