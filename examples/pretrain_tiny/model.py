"""The model, open_clip's `CLIP` with a small convnet and a small text tower, and its folder.

Knows nothing about drawings or captions.
"""

import json
import os
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from captions import CONTEXT_LENGTH, VOCAB_SIZE
from pictures import IMAGE_SIZE, MEAN, STD
from safetensors.torch import save_file

MAX_LOGIT_SCALE = 100.0
MODEL_CFG = {
    "embed_dim": 128,
    "vision_cfg": {
        "timm_model_name": "regnetx_002",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": IMAGE_SIZE,
    },
    "text_cfg": {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": VOCAB_SIZE,
        "width": 96,
        "heads": 4,
        "layers": 2,
    },
}
PREPROCESS_CFG = {
    "size": [IMAGE_SIZE, IMAGE_SIZE],
    "mode": "RGB",
    "mean": list(MEAN),
    "std": list(STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def build(vocab_size: int) -> open_clip.CLIP:
    """Return an untrained model with a token table of the size given."""
    text_cfg = {**MODEL_CFG["text_cfg"], "vocab_size": vocab_size}
    return open_clip.CLIP(MODEL_CFG["embed_dim"], MODEL_CFG["vision_cfg"], text_cfg)


def encode_text(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Return text features (B, D) as `model.encode_text` does, with less padding.

    The shorter half of the prompts runs apart from the longer one.
    """
    order = tokens.argmax(dim=1).argsort()
    halves = [encode_prompts(model, tokens[rows]) for rows in order.chunk(2)]
    return torch.cat(halves)[order.argsort()]


def encode_prompts(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Return text features (B, D), computed up to the end of the longest prompt."""
    ends = tokens.argmax(dim=1)  # the end token has the highest id
    length = int(ends.max()) + 1
    states = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    states = model.transformer(states, attn_mask=model.attn_mask[:length, :length])
    states = model.ln_final(states)[torch.arange(len(tokens)), ends]
    return states @ model.text_projection


def contrastive_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    logit_scale: torch.Tensor,
    also_true: torch.Tensor,
) -> torch.Tensor:
    """Return the symmetric cross-entropy over the N x N cosine matrix (CLIP, figure 3).

    Args:
        image_features: (N, D), unit length.
        text_features: (N, D), unit length.
        logit_scale: the factor itself, not its logarithm.
        also_true: (N, N) bool; pairs off the diagonal that are true are no negatives.
    """
    logits = logit_scale * image_features @ text_features.T  # (N, N)
    diagonal = torch.eye(len(logits), dtype=torch.bool)
    logits = logits.masked_fill(also_true & ~diagonal, float("-inf"))
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def export(model: open_clip.CLIP, token_table: torch.Tensor, folder: Path) -> None:
    """Write the folder that open_clip loads by `local-dir:`, weights in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    state = dict(model.state_dict())
    state["token_embedding.weight"] = token_table
    weights = {name: half(value) for name, value in state.items() if name != "attn_mask"}
    target = folder / "open_clip_model.safetensors"
    save_file(weights, str(target) + ".part", metadata={"format": "pt"})
    os.chmod(str(target) + ".part", 0o644)
    os.replace(str(target) + ".part", target)
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}
    text = json.dumps(config, indent=2) + "\n"
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")


def half(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor as it is stored: floats in fp16, counters as they are."""
    value = value.detach().contiguous()
    return value.half() if value.is_floating_point() else value
