"""The tensors of a weights file: safetensors, a pickle that the user allowed, OpenAI's archives.

Unwraps what training programs put around them. No program in a file is ever run, except those of
OpenAI's nine archives, known by their sha256. Knows nothing about
architectures.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from zsclip.errors import ModelError
from zsclip.models import catalogue
from zsclip.weights import LocalModel, digest

State: TypeAlias = dict[str, Any]
"""Tensors by name, as torch calls it: a state dict."""
_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's archives


def read(model: LocalModel) -> State:
    """The tensors of a weights file, by name, on the CPU; those of safetensors stay mapped.

    Raises:
        ModelError: the file cannot be read, or holds something else than weights.
    """
    from safetensors import SafetensorError

    path = model.weights
    try:
        if not model.is_pickle:
            from safetensors.torch import load_file

            return _unwrapped(load_file(path))
        if _is_torchscript(path):
            return _of_openais_archive(model)
        return _unwrapped(_unpickled(path))
    except (OSError, SafetensorError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: holds no weights by name") from error


def _unwrapped(checkpoint: Any) -> State:
    """The weights inside a training checkpoint, without the prefix that parallel training adds."""
    state = checkpoint.get("state_dict", checkpoint)
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    for tensor in state.values():
        if str(tensor.layout) != "torch.strided":  # AttributeError: not a tensor
            raise TypeError(tensor.layout)
    return dict(state)


def _unpickled(path: Path) -> Any:
    """What a pickle of plain tensors holds; anything in it that could run is refused."""
    import torch

    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) < (2, 6):
        raise ModelError(
            f"{path}: torch {torch.__version__} cannot open pickles safely (CVE-2025-32434)",
            tip="pip install 'torch>=2.6', or use safetensors",
        )
    with _without_environment(_UNSAFE):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a hostile file can make the unpickler raise anything
            telling = [line for line in str(error).splitlines() if "nsupported " in line]
            reason = telling[-1].partition(". Please")[0] if telling else type(error).__name__
            raise ModelError(
                f"{path}: refused: more than plain tensors, or damaged ({reason[-160:]})",
                tip="convert it to safetensors where it is trusted",
            ) from error


@contextmanager
def _without_environment(name: str) -> Iterator[None]:
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def _is_torchscript(path: Path) -> bool:
    """Whether a zip is a TorchScript archive, as torch itself decides it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _of_openais_archive(model: LocalModel) -> State:
    """The weights of one of OpenAI's own downloads (`ViT-B-32.pt`), a TorchScript archive.

    As open_clip's `load_openai_model` does, but without its second try, which would unpickle; and
    only of the nine known files, because opening an archive runs the program in it.
    """
    import torch

    known = {entry["archive"] for entry in catalogue()["openai"].values()}
    if digest(model.weights, trust_name=False) not in known:
        raise ModelError(
            f"{model.weights}: refused: a TorchScript archive is a program, and none of OpenAI's",
            tip="convert it to safetensors where it is trusted",
        )
    if not model.config.model_cfg.get("quick_gelu"):
        raise ModelError(
            f"{model.weights} is an archive of OpenAI's, trained with QuickGELU; "
            f"{model.config.architecture} here runs GELU",
            tip=f"add --tag openai, or --model {model.config.architecture}-quickgelu",
        )
    try:
        state = torch.jit.load(model.weights, map_location="cpu").state_dict()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{model.weights}: not a TorchScript archive: {reason}") from error
    return {name: tensor for name, tensor in state.items() if name not in _NOT_WEIGHTS}
