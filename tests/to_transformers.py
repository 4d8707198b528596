"""The same weights in transformers: keys and configuration converted, nothing else.

CLIPModel and MetaClip2Model from open_clip's CLIP, SiglipModel from its CustomTextCLIP with a
tower of timm's. Loaded strictly: a key that is left over or missing is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from families import Answers

from zsclip.encoders import Model

LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
TIMM_LAYER = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
CLIP_KEYS = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "logit_scale": "logit_scale",
}
SIGLIP_KEYS = {
    "visual.trunk.patch_embed.proj": "vision_model.embeddings.patch_embedding",
    "visual.trunk.norm": "vision_model.post_layernorm",
    "visual.trunk.attn_pool.latent": "vision_model.head.probe",
    "visual.trunk.attn_pool.proj": "vision_model.head.attention.out_proj",
    "visual.trunk.attn_pool.norm": "vision_model.head.layernorm",
    "visual.trunk.attn_pool.mlp": "vision_model.head.mlp",
    "text.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "text.positional_embedding": "text_model.embeddings.position_embedding.weight",
    "text.ln_final": "text_model.final_layer_norm",
    "text.text_projection": "text_model.head",
}


def ask_transformers(reference: str, model: Model, pixels: Any, tokens: Any) -> Answers:
    """Cosines and scores (B, P) of pixels (B, 3, S, S) and tokens (P, L).

    Args:
        reference: the class of transformers.
    """
    import torch

    converted = convert(reference, model)
    with torch.inference_mode():
        answer = converted(
            input_ids=torch.from_numpy(tokens), pixel_values=torch.from_numpy(pixels)
        )
    logits = answer.logits_per_image
    scores = logits.sigmoid() if reference == "SiglipModel" else logits.softmax(dim=-1)
    return Answers((answer.image_embeds @ answer.text_embeds.T).numpy(), scores.numpy())


def convert(reference: str, model: Model) -> Any:
    """A model of transformers with the weights of one of ours."""
    import transformers
    from safetensors.torch import load_file

    local = model.local
    state = load_file(local.weights)
    siglip = reference == "SiglipModel"
    renamed = dict(_siglip(state) if siglip else _clip(state))
    config = _siglip_config(model, state) if siglip else _clip_config(reference, model)
    converted = getattr(transformers, reference)(config).eval()
    converted.load_state_dict(renamed, strict=True)
    return converted


def _clip(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "visual_projection.weight", state.pop("visual.proj").T.contiguous()
    yield "text_projection.weight", state.pop("text_projection").T.contiguous()
    for name, tensor in state.items():
        if "resblocks." in name:
            tower = "vision_model" if name.startswith("visual.") else "text_model"
            yield from _layer(tower, name.partition("resblocks.")[2], tensor, LAYER)
        else:
            yield _renamed(name, CLIP_KEYS), tensor


def _siglip(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    pool = "visual.trunk.attn_pool"
    for kind in ("weight", "bias"):
        parts = np.concatenate([state.pop(f"{pool}.q.{kind}"), state.pop(f"{pool}.kv.{kind}")])
        yield f"vision_model.head.attention.in_proj_{kind}", _tensor(parts)
    position = state.pop("visual.trunk.pos_embed")[0]
    yield "vision_model.embeddings.position_embedding.weight", position
    for name in ("logit_scale", "logit_bias"):
        yield name, state.pop(name).reshape(1)
    for name, tensor in state.items():
        if "resblocks." in name:
            yield from _layer("text_model", name.partition("resblocks.")[2], tensor, LAYER)
        elif ".blocks." in name:
            rest = name.partition(".blocks.")[2]
            yield from _layer("vision_model", rest, tensor, TIMM_LAYER)
        else:
            yield _renamed(name, SIGLIP_KEYS), tensor


def _layer(tower: str, rest: str, tensor: Any, names: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """One tensor of layer `NUMBER.name`; open_clip keeps the projections of attention as one."""
    number, _, name = rest.partition(".")
    prefix = f"{tower}.encoder.layers.{number}"
    if name.startswith(("attn.in_proj_", "attn.qkv.")):
        kind = name.replace("_", ".").rpartition(".")[2]
        for part, projection in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{prefix}.self_attn.{part}_proj.{kind}", projection.contiguous()
    else:
        yield f"{prefix}.{_renamed(name, names)}", tensor


def _renamed(name: str, names: dict[str, str]) -> str:
    old = next(old for old in names if name == old or name.startswith(f"{old}."))
    return names[old] + name.removeprefix(old)


def _tensor(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)


def _clip_config(reference: str, model: Model) -> Any:
    import transformers

    model_cfg = model.local.config.model_cfg
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    shared = {
        "hidden_act": "quick_gelu" if model_cfg.get("quick_gelu") else "gelu",
        "projection_dim": model_cfg["embed_dim"],
    }
    end = text["eos_id"] if text.get("pool_type") == "eos" else text["vocab_size"] - 1
    return getattr(transformers, reference.replace("Model", "Config"))(
        projection_dim=model_cfg["embed_dim"],
        text_config={
            **shared, **_text(text), "eos_token_id": end, "bos_token_id": 0, "pad_token_id": 1,
        },
        vision_config={
            **shared, "hidden_size": vision["width"], "intermediate_size": 4 * vision["width"],
            "num_hidden_layers": vision["layers"], "image_size": vision["image_size"],
            "num_attention_heads": vision["width"] // vision["head_width"],
            "patch_size": vision["patch_size"],
        },
    )  # fmt: skip


def _siglip_config(model: Model, state: dict[str, Any]) -> Any:
    import timm
    import transformers

    model_cfg = model.local.config.model_cfg
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    trunk = timm.create_model(vision["timm_model_name"], pretrained=False)
    width = trunk.embed_dim
    activation = {"GELU": "gelu", "GELUTanh": "gelu_pytorch_tanh", "GeluTanh": "gelu_pytorch_tanh"}
    return transformers.SiglipConfig(
        text_config={
            **_text(text), "projection_size": model_cfg["embed_dim"],
            "hidden_act": "gelu_pytorch_tanh" if text.get("act_kwargs") else "gelu",
        },
        vision_config={
            "hidden_size": width, "intermediate_size": trunk.blocks[0].mlp.fc1.out_features,
            "num_hidden_layers": len(trunk.blocks), "image_size": vision["image_size"],
            "num_attention_heads": trunk.blocks[0].attn.num_heads,
            "patch_size": trunk.patch_embed.patch_size[0],
            "hidden_act": activation[type(trunk.blocks[0].mlp.act).__name__],
        },
    )  # fmt: skip


def _text(text: dict[str, Any]) -> dict[str, Any]:
    return {
        "hidden_size": text["width"],
        "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4.0)),
        "num_hidden_layers": text["layers"],
        "num_attention_heads": text["heads"],
        "vocab_size": text["vocab_size"],
        "max_position_embeddings": text["context_length"],
    }
