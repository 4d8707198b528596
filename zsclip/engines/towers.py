"""The two towers of an open_clip model, computing no more than their answers rest on.

Both towers are read at few places: the image tower at its class token, a pack of prompts at its
ends. In the last block only these need output and MLP; all others are keys and values.
What both engines run: torch as it is, ONNX Runtime by way of `compile`.
Shapes: B images, P prompts, S image size, L context length, D feature size, N nodes, E ends,
G windows of S nodes with K keys each, W width.
"""

from __future__ import annotations

from typing import Any

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, scaled_dot_product_attention


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


def encode_pack(
    model: Any,
    tokens: Tensor,
    depths: Tensor,
    queries: Tensor,
    keys: Tensor,
    mask: Tensor,
    ends: Tensor,
) -> Tensor:
    """Unit-length text_features (E, D) of a pack: see `token_tree.Pack.inputs`.

    The steps of open_clip's `CLIP.encode_text` and `TextTransformer.forward`, but for attention.
    """
    tower = getattr(model, "text", model)
    hidden = tower.token_embedding(tokens) + tower.positional_embedding[depths]  # (N, W)
    blocks = tower.transformer.resblocks
    for number, block in enumerate(blocks, start=1):
        attended = _attend(block, hidden, queries, keys, mask)
        if number == len(blocks):
            attended, hidden = attended[ends], hidden[ends]
        hidden = _finish(block, hidden, block.attn.out_proj(attended))
    features = tower.ln_final(hidden)  # (E, W)
    projection = tower.text_projection
    if isinstance(projection, nn.Linear):
        features = projection(features)
    elif projection is not None:
        features = features @ projection
    return normalize(features, dim=-1)


def _attend(block: Any, hidden: Tensor, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """What a block's attention gives (N, W), before `out_proj`, of its input (N, W)."""
    attn = block.attn
    n_nodes, width = hidden.shape
    rows = linear(block.ln_1(hidden), attn.in_proj_weight, attn.in_proj_bias)
    query, key, value = (
        part[nodes].unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)  # (G, heads, S or K, -1)
        for part, nodes in zip(rows.chunk(3, dim=-1), (queries, keys, keys), strict=True)
    )
    windows = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None])
    return windows.transpose(1, 2).reshape(-1, width)[:n_nodes]


def _is_read_at_class_token(tower: nn.Module) -> bool:
    return (
        type(tower) is VisionTransformer
        and tower.attn_pool is None
        and tower.pool_type == "tok"
        and not tower.output_tokens
        and type(tower.transformer.resblocks[-1]) is ResidualAttentionBlock
    )


def _run_at(block: Any, hidden: Tensor, rows: slice) -> Tensor:
    """What a block makes of some rows of its input (B, N, W): the steps of its `forward`."""
    seen = block.ln_1(hidden)
    return _finish(block, hidden[:, rows], block.attention(q_x=seen[:, rows], k_x=seen, v_x=seen))


def _finish(block: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    """The second half of a block's `forward`."""
    x = hidden + block.ls_1(attended)
    result: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return result
