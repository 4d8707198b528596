"""Everything that goes into a model's results, as one record, without opening the model."""

from __future__ import annotations

from typing import Any

from zsclip.cache import TextCache, default_folder
from zsclip.models import (
    CLIP_BPE,
    CONFIG_NAME,
    ModelConfig,
    ModelSource,
    catalogue,
    config_of_architecture,
    config_of_folder,
)
from zsclip.token_tree import obstacle
from zsclip.weights import digest, find, names_in_repository


def facts_of(source: ModelSource) -> dict[str, Any]:
    """All that decides what a model answers, as far as it is known on this machine."""
    known = {name: entry for group in catalogue().values() for name, entry in group.items()}
    by_tag = {entry.get("open_clip"): entry for entry in known.values()}
    entry = known.get(source.name) or by_tag.get(f"{source.architecture}:{source.tag}", {})
    weights = find(source)
    config = None
    if source.architecture is not None:
        config = config_of_architecture(source.architecture, source.tag)
    elif source.folder is not None:
        config = config_of_folder(source.folder)
    elif weights is not None and (weights.parent / CONFIG_NAME).is_file():
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
        "sha256": digest(weights, TextCache(default_folder()).facts) if weights else None,
    }
    if config is not None:
        facts |= {
            "image_size": config.preprocess.size,
            "mean": list(config.preprocess.mean),
            "std": list(config.preprocess.std),
            "interpolation": config.preprocess.interpolation,
            "resize_mode": config.preprocess.resize_mode,
            "quick_gelu": bool(config.model_cfg.get("quick_gelu")),
            "embed_dim": config.model_cfg["embed_dim"],
            "context_length": config.context_length,
            "tokenizer": config.tokenizer,
            "text_encoding": _text_encoding(config),
            "score_kind": "sigmoid" if "init_logit_bias" in config.model_cfg else "softmax",
            "extra": _extra(config),
        }
    for key in ("imagenet_top1", "params_m", "gflops"):
        facts[key] = float(entry[key]) if key in entry else None
    return facts | {key: entry.get(key) for key in ("licence", "source", "model_card")}


def _extra(config: ModelConfig) -> str | None:
    """The optional dependencies that it needs: `pip install 'zsclip[EXTRA]'`."""
    if config.model_cfg["text_cfg"].get("hf_model_name"):
        return "hf"
    return None if config.tokenizer == CLIP_BPE else "siglip"


def _text_encoding(config: ModelConfig) -> str:
    reason = obstacle(config.model_cfg["text_cfg"])
    return "token tree" if reason is None else f"padded: {reason}"
