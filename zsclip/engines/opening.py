"""Which engine runs a model, opened and ready.

ONNX Runtime where it can, for which a model is compiled at its first use; torch for all else.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from zsclip.engines import compiled
from zsclip.engines.base import Engine, check_precision
from zsclip.engines.onnx_engine import OnnxEngine
from zsclip.errors import ModelError, UsageError, ZsclipWarning
from zsclip.weights import LocalModel, count_values

if TYPE_CHECKING:
    from zsclip.engines.torch_engine import TorchEngine

LARGEST_BYTES = 1_500_000_000
"""Of weights in fp32 that are compiled: beyond it, loading torch is little beside running them."""
ENGINES = ("auto", "torch", "onnx")
_ACCELERATORS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")

Preparing: TypeAlias = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Shows what is prepared; yields a function of (steps done, steps)."""


def silently(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Shows nothing."""
    return nullcontext(lambda done, steps: None)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for.

    Attributes:
        engine: `auto`, `torch` or `onnx`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `fp32`, `bf16` or `fp16`, of the image side.
        folder: the cache folder, for compiled models; None keeps none.
        may_compile: False uses what is in the folder, and writes nothing there.
        preparing: tells a person why the first use takes longer.

    Raises:
        UsageError: a word that is none of these, or words that do not go together.
    """

    engine: str = "auto"
    device: str = "auto"
    precision: str = "fp32"
    folder: Path | None = None
    may_compile: bool = True
    preparing: Preparing = silently

    def __post_init__(self) -> None:
        check_precision(self.precision, self.device)
        if self.engine not in ENGINES:
            raise UsageError(f"engine {self.engine!r} is not one of {', '.join(ENGINES)}")
        if self.engine == "onnx" and self.device not in ("auto", "cpu"):
            raise UsageError(
                f"engine onnx runs on the CPU, not on {self.device}", tip="use --engine torch"
            )
        if self.engine == "onnx" and self.precision != "fp32":
            raise UsageError(
                f"engine onnx computes in fp32, not in {self.precision}", tip="use --engine torch"
            )
        if self.engine == "onnx" and self.folder is None:
            raise UsageError("engine onnx needs a folder for compiled models")

    @property
    def wants_torch(self) -> bool:
        """Whether torch is to run the model, whatever the model is."""
        if self.engine != "auto":
            return self.engine == "torch"
        on_cpu = self.device == "cpu" or (self.device == "auto" and not _may_have_accelerator())
        return self.precision != "fp32" or not on_cpu


def open_engine(model: LocalModel, choice: Choice, facts: MutableMapping[str, str]) -> Engine:
    """Open an engine, which is where the first use of a model takes its time.

    Args:
        facts: remembers which models stay on torch, and why.

    Raises:
        ModelError: the weights cannot be loaded or are damaged, or the model cannot be compiled
            and `onnx` was asked for.
        UsageError: the device is not there.
    """
    engine = _open(model, choice, facts)
    for note in engine.notes:
        warnings.warn(note, ZsclipWarning, stacklevel=4)
    return engine


def compile_ahead(model: LocalModel, choice: Choice, facts: MutableMapping[str, str]) -> None:
    """Compile a model if it is to run so, and warn where that fails; `onnx` insists on it.

    A model that is known to stay on torch is not opened.

    Raises:
        ModelError: it cannot be compiled, and `onnx` was asked for.
    """
    if choice.wants_torch or (choice.engine == "auto" and why_torch(model, facts)):
        return
    try:
        open_engine(model, choice, facts)
    except ModelError as error:
        if choice.engine == "onnx":
            raise
        warnings.warn(f"{model.id} is not compiled: {error}", ZsclipWarning, stacklevel=2)


def _open(
    model: LocalModel, choice: Choice, facts: MutableMapping[str, str]
) -> TorchEngine | OnnxEngine:
    if choice.wants_torch or choice.folder is None:
        return _open_torch(model, choice.device, choice.precision)
    place = compiled.place(choice.folder, model)
    if compiled.is_whole(place):
        return OnnxEngine(place)
    if choice.engine == "onnx":
        return _compile_or_raise(model, place, choice, facts)
    engine = _open_torch(model, choice.device)
    if why_torch(model, facts) or engine.device != "cpu" or not choice.may_compile:
        return engine
    reason = _compile(model, place, engine, choice.preparing, facts)
    if reason is None:
        return OnnxEngine(place)
    warnings.warn(f"{model.id} stays on the torch engine: {reason}", ZsclipWarning, stacklevel=5)
    return engine


def _compile_or_raise(
    model: LocalModel, place: Path, choice: Choice, facts: MutableMapping[str, str]
) -> OnnxEngine:
    if not choice.may_compile:
        raise ModelError(
            f"{model.id} is not compiled, and --no-cache compiles nothing",
            tip="leave out --no-cache once, or use --engine torch",
        )
    reason = obstacle(model)
    if reason is None:
        engine = _open_torch(model, "cpu")
        reason = _compile(model, place, engine, choice.preparing, facts)
    if reason is not None:
        raise ModelError(f"{model.id} cannot be compiled: {reason}", tip="use --engine torch")
    return OnnxEngine(place)


def _compile(
    model: LocalModel,
    place: Path,
    engine: TorchEngine,
    preparing: Preparing,
    facts: MutableMapping[str, str],
) -> str | None:
    """Compile a model into its place; the reason why not, where that cannot be done."""
    from zsclip.engines.compile import NotCompiledError, compile_into

    try:
        with preparing(model.id) as show:
            compiled.make(place, lambda folder: compile_into(folder, engine, model, show))
    except (NotCompiledError, ModelError) as error:  # it lies in the model: no use to try again
        facts[_reason_key(model)] = str(error)
        return str(error)
    except (OSError, MemoryError) as error:  # a full disk; a folder without locks
        return str(error) or "no memory for it"
    facts.pop(_reason_key(model), None)
    return None


def obstacle(model: LocalModel) -> str | None:
    """Why a model is not compiled, as its files say; None where only trying can tell."""
    # a pickle's values are known to who opens it only; most are fp32
    size = model.weights.stat().st_size if model.is_pickle else 4 * count_values(model.weights)
    if size <= LARGEST_BYTES:
        return None
    return f"its weights take {size / 1e9:.2f} GB, more than {LARGEST_BYTES / 1e9:g} GB"


def why_torch(model: LocalModel, facts: Mapping[str, str]) -> str | None:
    """Why a model stays on torch, as far as that is known; opens nothing."""
    return obstacle(model) or facts.get(_reason_key(model))


def _reason_key(model: LocalModel) -> str:
    from importlib.metadata import version

    packages = ",".join(version(name) for name in ("torch", "onnxscript", "onnxruntime"))
    return f"not compiled|{compiled.place(Path(), model).name}|{packages}"


def _open_torch(model: LocalModel, device: str, precision: str = "fp32") -> TorchEngine:
    from zsclip.engines.torch_engine import TorchEngine

    engine = TorchEngine(model, device=device, precision=precision)
    _refuse_damaged(engine, model)
    return engine


def _refuse_damaged(engine: Engine, model: LocalModel) -> None:
    """One grey picture: weights with NaN or infinity in them make no finite features."""
    size = model.config.preprocess.size
    pixels = np.full((1, 3, size, size), 0.5, dtype=np.float32)
    grey = engine.encode_images(pixels, full_precision=True)
    numbers = (engine.logit_scale, engine.logit_bias or 0.0)
    if not (np.isfinite(grey).all() and np.isfinite(numbers).all()):
        raise ModelError(f"{model.id}: its image features are not finite: damaged weights?")


def signs_of_accelerators() -> list[str]:
    """What hints at a GPU: `macOS`, or files of drivers."""
    system = ["macOS"] if sys.platform == "darwin" else []
    return system + [path for path in _ACCELERATORS if Path(path).exists()]


def _may_have_accelerator() -> bool:
    """Whether torch has to be asked for a GPU: loading it takes seconds."""
    return bool(signs_of_accelerators())
