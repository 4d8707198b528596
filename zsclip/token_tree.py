"""Prompts that share beginnings, packed so that each shared token is computed once.

A causal text tower that is read at the end-of-text token computes the same for prompts that begin
alike, up to where they part. So prompts become tries: a node is a token with all that stands before
it, its depth is its position, and it sees its ancestors and itself only.
NumPy only. Knows nothing about words, models or files. See docs/token-tree.md.
Shapes: P prompts, L context length, U prompts without duplicates, N nodes, E ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

PACK_NODES = 384
"""Nodes of a pack at most: more share more, but attention costs the square."""
_AFTER = -1  # stands for all that comes after the end of text; sorts before every token


@dataclass(frozen=True, slots=True)
class Pack:
    """Tries that are computed together, as one sequence of N nodes.

    Attributes:
        tokens: (N,), the token of each node.
        depths: (N,), its position in every prompt that goes through it.
        parents: (N,), the node before it, which has a smaller index; a root is its own parent.
        ends: (E,), the nodes at which a prompt ends.
    """

    tokens: Integers
    depths: Integers
    parents: Integers
    ends: Integers

    def mask(self) -> Floats:
        """(N, N), added to the logits of attention: 0 where a row's node sees the column's."""
        nodes = np.arange(len(self.tokens))
        mask = np.full((len(nodes), len(nodes)), -np.inf, dtype=np.float32)
        ancestors = nodes
        for _ in range(int(self.depths.max()) + 1):
            mask[nodes, ancestors] = 0
            ancestors = self.parents[ancestors]
        return mask


@dataclass(frozen=True, slots=True)
class TokenTree:
    """All prompts of a call.

    Attributes:
        packs: their ends, one pack after the other, are the U different prompts.
        rows: (P,), for each prompt its place among those.
    """

    packs: tuple[Pack, ...]
    rows: Integers


def obstacle(text_cfg: Mapping[str, Any]) -> str | None:
    """Why a text tower of open_clip's cannot run on token trees; None if it can.

    Args:
        text_cfg: of the model's configuration; what it leaves out is open_clip's default.
    """
    if text_cfg.get("hf_model_name"):
        return "a text tower of transformers"
    if text_cfg.get("no_causal_mask"):
        return "tokens see those after them"
    if text_cfg.get("embed_cls"):
        return "read at a class token"
    pool = text_cfg.get("pool_type", "argmax")
    return None if pool in ("argmax", "eos") else f"read at the {pool} token"


def lengths(tokens: Integers, text_cfg: Mapping[str, Any]) -> Integers:
    """Tokens of each prompt up to the one at which it is read, (P,), of tokens (P, L).

    The place is open_clip's `text_global_pool`: the first of the greatest number, or of `eos_id`.
    """
    if text_cfg.get("pool_type", "argmax") == "eos":
        tokens = (tokens == text_cfg.get("eos_id", 2)).astype(np.int64)
    ends: Integers = tokens.argmax(axis=1)
    return ends + 1


def encode(
    tokens: Integers,
    text_cfg: Mapping[str, Any],
    encode_packs: Callable[[Sequence[Pack]], list[Floats]],
    *,
    pack_nodes: int = PACK_NODES,
) -> Floats:
    """text_features (P, D) of tokens (P, L), by way of packs, whose features are (E, D)."""
    tree = grow(tokens, lengths(tokens, text_cfg), pack_nodes=pack_nodes)
    return np.concatenate(encode_packs(tree.packs))[tree.rows]


def trim(tokens: Integers, pad_token: int) -> Integers:
    """Tokens (P, L) without the columns at the end that hold padding only.

    Exact for towers that mask their padding, which those of transformers do.
    """
    is_text = (tokens != pad_token).any(axis=0)
    return tokens[:, : is_text.nonzero()[0].max(initial=0) + 1]


def grow(tokens: Integers, lengths: Integers, *, pack_nodes: int = PACK_NODES) -> TokenTree:
    """Pack prompts into tries of at most `pack_nodes` nodes (or one longer prompt).

    Args:
        tokens: (P, L), at least one row.
        lengths: (P,), where each prompt ends; tokens after that do not count.
    """
    longest = int(lengths.max())
    after = np.arange(longest) >= lengths[:, None]
    cut = np.where(after, _AFTER, tokens[:, :longest])  # (P, longest)
    order = np.lexsort(cut.T[::-1])
    differs = cut[order[1:]] != cut[order[:-1]]  # (P - 1, longest)
    is_first = np.concatenate([[True], differs.any(axis=1)])
    rows = np.empty_like(order)
    rows[order] = is_first.cumsum() - 1
    prompts = cut[order[is_first]]  # (U, longest)
    sizes = lengths[order[is_first]]
    shared = np.concatenate([[0], differs.argmax(axis=1)])[is_first]  # with the prompt before
    packs = [
        _pack(prompts[start:end], sizes[start:end], shared[start:end])
        for start, end in _spans(sizes, shared, pack_nodes)
    ]
    return TokenTree(tuple(packs), rows)


def _spans(sizes: Integers, shared: Integers, pack_nodes: int) -> list[tuple[int, int]]:
    """Neighbours whose tries have at most `pack_nodes` nodes together."""
    starts: list[int] = []
    nodes = pack_nodes
    for row, (size, known) in enumerate(zip(sizes.tolist(), shared.tolist(), strict=True)):
        nodes += size - known
        if nodes > pack_nodes:
            starts.append(row)
            nodes = size
    return list(zip(starts, [*starts[1:], len(sizes)], strict=True))


def _pack(prompts: Integers, sizes: Integers, shared: Integers) -> Pack:
    """The tries of sorted, different prompts (E, longest)."""
    columns = np.arange(prompts.shape[1])
    known = shared[:, None].copy()
    known[0] = 0  # what it shares with the prompt before is in another pack
    is_new = (columns >= known) & (columns < sizes[:, None])  # (E, longest)
    numbers = is_new.cumsum().reshape(is_new.shape) - 1
    # the latest new node of each column is the one that a prompt goes through, as far as it goes
    ways = np.maximum.accumulate(np.where(is_new, numbers, -1), axis=0)
    befores = np.concatenate([ways[:, :1], ways[:, :-1]], axis=1)
    return Pack(
        tokens=prompts[is_new],
        depths=np.broadcast_to(columns, is_new.shape)[is_new],
        parents=befores[is_new],
        ends=ways[np.arange(len(ways)), sizes - 1],
    )
