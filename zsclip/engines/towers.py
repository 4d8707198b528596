"""The two towers of an open_clip model, computing no more than their answers rest on.

Both towers are read at few places: the image tower at its class token, a pack of prompts at its
ends. In the last block only these need queries, output and MLP; all others are keys and values.
What both engines run: torch as it is, ONNX Runtime by way of `compile`.
Shapes: B images, P prompts, S image size, L context length, D feature size, N nodes, E ends,
W width.
"""

from __future__ import annotations

from typing import Any

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize


def encode_images(model: Any, pixels: Tensor) -> Tensor:
    """image_features (B, D) of pixels (B, 3, S, S), not yet of unit length.

    The steps of open_clip's `VisionTransformer.forward` where that tower can be shortened.
    """
    tower = model.visual
    if not _is_read_at_class_token(tower):
        features: Tensor = model.encode_image(pixels, normalize=False)
        return features
    *blocks, last = tower.transformer.resblocks
    hidden = tower._embeds(pixels)  # (B, 1 + patches, W)
    for block in blocks:
        hidden = block(hidden)
    pooled, _ = tower._pool(_run_at(last, hidden, slice(0, 1)))  # (B, W)
    return pooled if tower.proj is None else pooled @ tower.proj


def encode_pack(model: Any, tokens: Tensor, depths: Tensor, mask: Tensor, ends: Tensor) -> Tensor:
    """Unit-length text_features (E, D) of a pack: see `token_tree.Pack`, whose `mask` is (N, N).

    The steps of open_clip's `CLIP.encode_text` and `TextTransformer.forward`.
    """
    tower = getattr(model, "text", model)
    hidden = tower.token_embedding(tokens) + tower.positional_embedding[depths]
    hidden = hidden[None]  # (1, N, W)
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        hidden = block(hidden, attn_mask=mask)
    if type(last) is ResidualAttentionBlock:
        hidden = _run_at(last, hidden, ends, mask[ends])
    else:
        hidden = last(hidden, attn_mask=mask)[:, ends]
    features = tower.ln_final(hidden[0])  # (E, W)
    projection = tower.text_projection
    if isinstance(projection, nn.Linear):
        features = projection(features)
    elif projection is not None:
        features = features @ projection
    return normalize(features, dim=-1)


def _is_read_at_class_token(tower: nn.Module) -> bool:
    return (
        type(tower) is VisionTransformer
        and tower.attn_pool is None
        and tower.pool_type == "tok"
        and not tower.output_tokens
        and type(tower.transformer.resblocks[-1]) is ResidualAttentionBlock
    )


def _run_at(block: Any, hidden: Tensor, rows: Tensor | slice, mask: Tensor | None = None) -> Tensor:
    """What a block makes of some rows of its input (B, N, W): the steps of its `forward`.

    Args:
        mask: (rows, N), added to the attention's logits.
    """
    seen = block.ln_1(hidden)
    attended = block.attention(q_x=seen[:, rows], k_x=seen, v_x=seen, attn_mask=mask)
    x = hidden[:, rows] + block.ls_1(attended)
    result: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return result
