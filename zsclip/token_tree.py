"""Prompts that share beginnings, packed so that each shared token is computed once.

A causal text tower that is read at the end-of-text token computes the same for prompts that begin
alike, up to where they part. So prompts become tries: a node is a token with all that stands before
it, its depth is its position, and it sees its ancestors and itself only.
NumPy only. Knows nothing about words, models or files. See docs/token-tree.md.
Shapes: P prompts, L context length, U prompts without duplicates, N nodes, E ends.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

PACK_NODES = 384
"""Nodes of a pack at most: more share more, but leave the processor's caches."""
LEAST_NODES = 96
"""For a thread: packs of fewer take as long."""
WINDOW = 32
"""Nodes that attend together: more are fewer, larger products, with more that is masked."""
_OTHER_BLOCKS = (
    "block_type",
    "qk_norm",
    "scaled_cosine_attn",
    "scale_heads",
    "scale_attn_inner",
    "scale_attn",
    "scale_fc",
)
"""Of open_clip's `CLIPTextCfg`: with any of these a block is no `ResidualAttentionBlock`."""
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

    def sees(self, rows: Integers, columns: Integers) -> npt.NDArray[np.bool_]:
        """Whether nodes see others: themselves and their ancestors. The shapes broadcast."""
        found: npt.NDArray[np.bool_] = self._ways()[rows, self.depths[columns]] == columns
        return found

    def inputs(self) -> dict[str, npt.NDArray[Any]]:
        """What a text tower computes it from: the arguments of `towers.encode_pack` by name.

        Tokens, depths and ends as above, and attention in G windows of S neighbours. Nodes are in
        depth-first order, so all ancestors of a window's nodes are in the window or are ancestors
        of its first: a node is compared with K = S + its depth at most others, not with N.

        - queries: (G, S), the nodes of each window; in the last one the last node is repeated.
        - keys: (G, K), the nodes that they may see.
        - mask: (G, S, K), added to the logits of attention: 0 where they do, else -inf.
        """
        n_nodes = len(self.tokens)
        size = min(WINDOW, n_nodes)
        firsts = np.arange(0, n_nodes, size)
        depths = self.depths[firsts, None]
        before = np.arange(depths.max())
        window = firsts[:, None] + np.arange(size)
        is_key = np.concatenate([before < depths, window < n_nodes], axis=1)
        keys = np.concatenate([self._ways()[firsts, : len(before)], window], axis=1)
        keys[~is_key] = 0
        queries = np.minimum(window, n_nodes - 1)
        sees = self.sees(queries[:, :, None], keys[:, None, :]) & is_key[:, None, :]
        return {
            "tokens": self.tokens,
            "depths": self.depths,
            "queries": queries,
            "keys": keys,
            "mask": np.where(sees, np.float32(0), np.float32(-np.inf)),
            "ends": self.ends,
        }

    def _ways(self) -> Integers:
        """(N, depths): the nodes from the root to each node, -1 after it."""
        nodes = np.arange(len(self.tokens))
        ways = np.full((len(nodes), int(self.depths.max()) + 1), -1)
        ancestors = nodes
        for _ in range(ways.shape[1]):
            ways[nodes, self.depths[ancestors]] = ancestors
            ancestors = self.parents[ancestors]
        return ways


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
    if any(text_cfg.get(name) for name in _OTHER_BLOCKS):
        return "blocks of another kind"
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
    threads: int = 1,
) -> Floats:
    """text_features (P, D) of tokens (P, L), by way of packs, whose features are (E, D).

    Args:
        threads: packs that are encoded side by side.
    """
    tree = grow(tokens, lengths(tokens, text_cfg), threads=threads)
    return np.concatenate(encode_packs(tree.packs))[tree.rows]


def trim(tokens: Integers, pad_token: int) -> Integers:
    """Tokens (P, L) without the columns at the end that hold padding only.

    Exact for towers that mask their padding, which those of transformers do.
    """
    is_text = (tokens != pad_token).any(axis=0)
    return tokens[:, : is_text.nonzero()[0].max(initial=0) + 1]


def grow(
    tokens: Integers, lengths: Integers, *, pack_nodes: int = PACK_NODES, threads: int = 1
) -> TokenTree:
    """Pack prompts into tries of at most `pack_nodes` nodes (or one longer prompt).

    Args:
        tokens: (P, L), at least one row.
        lengths: (P,), where each prompt ends; tokens after that do not count.
        threads: smaller packs are made if there would be too few for each thread to have as many.
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
    spans = _spans(sizes, shared, pack_nodes)
    if threads > 1:
        n_nodes = int((sizes - shared).sum())
        n_packs = math.ceil(len(spans) / threads) * threads
        if n_nodes >= n_packs * LEAST_NODES:
            spans = _even_spans(sizes, shared, n_packs)
    packs = [_pack(prompts[a:b], sizes[a:b], shared[a:b]) for a, b in spans]
    return TokenTree(tuple(packs), rows)


def _even_spans(sizes: Integers, shared: Integers, n_packs: int) -> list[tuple[int, int]]:
    """No more than `n_packs`, and the largest of them as small as that allows."""
    limits = range(int(sizes.sum()))
    return _spans(
        sizes,
        shared,
        bisect_left(limits, -n_packs, key=lambda limit: -len(_spans(sizes, shared, limit))),
    )


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
