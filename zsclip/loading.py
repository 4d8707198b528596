"""A model by its name: find its files, fetching them at first use. Opens no weights."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from zsclip.cache import TextCache, default_folder
from zsclip.decoding import DEFAULT, Decoding
from zsclip.encoders import Model
from zsclip.engines.opening import Choice, Preparing, silently
from zsclip.errors import UsageError, ZsclipWarning
from zsclip.models import resolve, tags_disagree
from zsclip.weights import locate


def load_model(
    name: str | Path | None = None,
    *,
    weights: Path | str | None = None,
    tag: str | None = None,
    revision: str | None = None,
    sha256: str | None = None,
    allow_pickle: bool = False,
    offline: bool = False,
    engine: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
    cache_dir: Path | str | None = None,
    use_cache: bool = True,
    decode: str = DEFAULT.decode,
    exact: bool = DEFAULT.exact,
    background: str = DEFAULT.background,
    max_pixels: int = DEFAULT.max_pixels,
    max_bytes: int = DEFAULT.max_bytes,
    allow_truncated: bool = DEFAULT.allow_truncated,
    fit: str = DEFAULT.fit,
    preparing: Preparing = silently,
) -> Model:
    """Find a model, fetching its weights at first use.

    Args:
        name: a preset, a name of OpenAI's, `hf-hub:org/repo`, a folder, or open_clip's `ARCH:TAG`;
            `default` unless given.
        weights: a local safetensors file for a bare architecture.
        tag: of open_clip's; lends that file its activation and preprocessing.
        revision: branch, tag or commit of the hub's repository; its main branch unless given.
        sha256: what the weights file must be, in hexadecimal; another is refused.
        allow_pickle: also take .pt, .bin and .pth files, opened with `weights_only` alone.
        offline: ask the hub nothing, as with HF_HUB_OFFLINE=1.
        engine: `torch`, which runs every model, `onnx`, which starts fast, or `auto`: `onnx` on
            the CPU for models that can be compiled, which happens at their first use; what the
            environment's ZSCLIP_ENGINE says unless given.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `fp32`, or `bf16` or `fp16` for the image side where the device has it.
        cache_dir: where text embeddings are kept; the user's cache folder unless given.
        use_cache: False keeps them in memory only, and compiles nothing.
        decode: `exact`, or `fast`: a large JPEG is decoded at a smaller scale.
        exact: load pictures as open_clip does, not upright and over no background.
        background: what transparent pixels lie over: a colour name or `#rrggbb`.
        max_pixels: a larger picture fails before it is decoded.
        max_bytes: a larger file fails before it is read.
        allow_truncated: take what there is of a cut JPEG, PNG, GIF, BMP or JPEG 2000.
        fit: `crop`, as the model was trained, or all of a picture: `pad`, `squash` or `views`.
        preparing: called with the model's id before it is compiled; returns a context manager
            that yields a function of (steps done, steps).

    Raises:
        UsageError: contradicting choices, a colour that is none, or an engine, device
            and precision that do not go together.
        UnknownNameError: no model has this name.
        ModelError: the model is not on this machine and cannot be fetched, or is damaged.
    """
    decoding = Decoding(decode, exact, background, max_pixels, max_bytes, allow_truncated, fit)
    folder = _default_folder() if cache_dir is None else Path(cache_dir)
    engine = engine or os.environ.get("ZSCLIP_ENGINE") or "auto"
    choice = Choice(engine, device, precision, folder, use_cache, preparing)
    cache = TextCache(folder if use_cache else None)
    file = None if weights is None else Path(weights)
    if name is None and file is not None:
        raise UsageError("--weights goes with a model", tip="--model ARCH --weights FILE")
    source = resolve(str(name or "default"), weights_file=file, tag=tag)
    if file is not None and source.tag is None and tags_disagree(str(source.architecture)):
        warnings.warn(
            f"{file}: taken with open_clip's defaults for {source.architecture}; some of its tags "
            "were trained with another activation or preprocessing (--tag TAG takes theirs)",
            ZsclipWarning,
            stacklevel=2,
        )
    local = locate(
        source,
        revision=revision,
        sha256=sha256,
        offline=offline,
        allow_pickle=allow_pickle,
        digests=cache.facts,
    )
    return Model(local, cache=cache, choice=choice, decoding=decoding)


def _default_folder() -> Path | None:
    """The user's cache folder; None, and a warning, where there is no home folder."""
    try:
        return default_folder()
    except UsageError as error:
        warnings.warn(f"cache not used: {error} ({error.tip})", ZsclipWarning, stacklevel=3)
        return None
