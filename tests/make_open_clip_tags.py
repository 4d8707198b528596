"""Write zsclip/_data/open_clip_tags.json: open_clip's pretrained tags as plain data.

Run `python tests/make_open_clip_tags.py` after open_clip changes. Reads open_clip's
configurations only: builds no model and fetches nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import DEFAULT_CONTEXT_LENGTH
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

TABLE = Path(__file__).resolve().parent.parent / "zsclip" / "_data" / "open_clip_tags.json"


def table() -> dict[str, dict[str, Any]]:
    """Every `ARCH:TAG` of open_clip with the values that its factory would use."""
    return {f"{arch}:{tag}": _entry(arch, tag) for arch, tag in open_clip.list_pretrained()}


def dumps(entries: dict[str, dict[str, Any]]) -> str:
    """The table as JSON, one line an entry, sorted by key."""
    lines = (f"{json.dumps(key)}: {json.dumps(entries[key])}" for key in sorted(entries))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _entry(arch: str, tag: str) -> dict[str, Any]:
    model = open_clip.get_model_config(arch)
    text = model["text_cfg"]
    weights = open_clip.get_pretrained_cfg(arch, tag)
    hf_hub, _, file = weights["hf_hub"].rpartition("/")
    # as create_model: defaults, then the tag, then the size of the image tower
    pixels = merge_preprocess_dict(asdict(PreprocessCfg()), weights)
    entry = {
        "hf_hub": hf_hub,
        "file": file or None,
        "quick_gelu": quick_gelu(arch, tag),
        "image_size": model["vision_cfg"]["image_size"],
        "mean": list(pixels["mean"]),
        "std": list(pixels["std"]),
        "interpolation": pixels["interpolation"],
        "resize_mode": pixels["resize_mode"],
        "context_length": text.get("context_length", DEFAULT_CONTEXT_LENGTH),
        "tokenizer": text.get("hf_tokenizer_name", "clip-bpe"),
        "embed_dim": model["embed_dim"],
    }
    if text.get("tokenizer_kwargs"):
        entry["tokenizer_kwargs"] = text["tokenizer_kwargs"]
    return entry


def quick_gelu(arch: str, tag: str) -> bool:
    """What the weights were trained with: true if either configuration says so.

    open_clip only warns where the two disagree, and then runs what the architecture says.
    """
    return any(quick_gelu_sides(arch, tag))


def quick_gelu_sides(arch: str, tag: str) -> tuple[bool, bool]:
    """QuickGELU as the architecture says, and as the tag says."""
    model = open_clip.get_model_config(arch)
    weights = open_clip.get_pretrained_cfg(arch, tag)
    return bool(model.get("quick_gelu")), bool(weights.get("quick_gelu"))


if __name__ == "__main__":
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(dumps(table()), encoding="utf-8")
