"""Everything that goes into a model's results, as one record, without opening the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zsclip.cache import TextCache
from zsclip.encoders import scale_key
from zsclip.engines import compiled
from zsclip.engines.opening import why_torch
from zsclip.errors import ModelError
from zsclip.models import (
    CONFIG_NAME,
    ModelConfig,
    ModelSource,
    catalogue,
    config_of,
    config_of_folder,
    needed_extra,
)
from zsclip.token_tree import obstacle
from zsclip.weights import LocalModel, check, digest, find, names_in_repository


def facts_of(source: ModelSource, *, revision: str | None, folder: Path) -> dict[str, Any]:
    """All that decides what a model answers, as far as it is known on this machine.

    Args:
        folder: the cache folder.
    """
    known = {name: entry for group in catalogue().values() for name, entry in group.items()}
    by_tag = {entry.get("open_clip"): entry for entry in known.values()}
    entry = known.get(source.name) or by_tag.get(f"{source.architecture}:{source.tag}", {})
    weights = find(source, revision=revision, allow_pickle=True)
    remembered = TextCache(folder).facts
    sha256 = digest(weights, remembered) if weights else None
    config = config_of(source)
    if config is None and weights is not None and (weights.parent / CONFIG_NAME).is_file():
        config = config_of_folder(weights.parent)
    facts: dict[str, Any] = {
        "name": source.name,
        "architecture": source.architecture,
        "tag": source.tag,
        "repository": source.repo,
        "revision": weights.parent.name if source.repo and weights else None,
        "weights": str(weights) if weights else None,
        "file": weights.name if weights else names_in_repository(source)[0],
        "size_bytes": weights.stat().st_size if weights else None,
        "sha256": sha256,
    }
    if config is not None:
        numbers = None if sha256 is None else remembered.get(scale_key(sha256, config))
        scale, bias = (None, None) if numbers is None else json.loads(numbers)
        facts |= _config_facts(config) | {"logit_scale": scale, "logit_bias": bias}
    facts |= {"engine": None, "compiled": None}
    if config is not None and weights is not None and sha256 is not None:
        local = LocalModel(source, config, weights, sha256)
        facts |= _engine_facts(local, remembered, compiled.place(folder, local))
    for key in ("imagenet_top1", "params_m", "gflops"):
        facts[key] = float(entry[key]) if key in entry else None
    return facts | {key: entry.get(key) for key in ("licence", "source", "model_card")}


def _engine_facts(
    model: LocalModel, remembered: Mapping[str, str], place: Path
) -> dict[str, str | None]:
    """Which engine runs a model on the CPU, where nothing is known that keeps it from it."""
    if compiled.is_whole(place):
        return {"engine": "onnx", "compiled": str(place)}
    try:
        is_pickle = check(model.weights, allow_pickle=True)
    except ModelError as error:
        return {"engine": f"none: {error}"}
    reason = why_torch(replace(model, is_pickle=is_pickle), remembered)
    return {"engine": "onnx" if reason is None else f"torch: {reason}"}


def _config_facts(config: ModelConfig) -> dict[str, Any]:
    preprocess, text_cfg = config.preprocess, config.model_cfg["text_cfg"]
    has_bias = config.model_cfg.get("init_logit_bias") is not None
    return {
        "image_size": preprocess.size,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "resize_mode": preprocess.resize_mode,
        "fill_color": preprocess.fill_color,
        "quick_gelu": bool(config.model_cfg.get("quick_gelu")),
        "embed_dim": config.model_cfg["embed_dim"],
        "context_length": config.context_length,
        "text_tower": text_cfg.get("hf_model_name"),
        "tokenizer": config.tokenizer,
        "tokenizer_kwargs": text_cfg.get("tokenizer_kwargs"),
        "text_encoding": _text_encoding(config),
        "score_kind": "sigmoid" if has_bias else "softmax",
        "extra": needed_extra(config),
    }


def _text_encoding(config: ModelConfig) -> str:
    reason = obstacle(config.model_cfg["text_cfg"])
    return "token tree" if reason is None else f"padded: {reason}"
