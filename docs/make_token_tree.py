"""Draw docs/token-tree.svg: the token tree of four prompts, and what its nodes see."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from zsclip.token_tree import Pack, grow, lengths
from zsclip.tokenizer import ClipTokenizer

PICTURE = Path(__file__).resolve().parent / "token-tree.svg"
PROMPTS = ("a photo of a cat.", "a photo of a dog.", "a sketch of a cat.", "cat")
STEP_X, STEP_Y, BOX_W, BOX_H = 78, 46, 62, 26  # of the tree
CELL = 15  # of the mask
LEFT, TREE_TOP, MASK_LEFT, MASK_TOP = 24, 44, 110, 276
WIDTH, HEIGHT = 660, 590


def words_of(pack: Pack) -> list[str]:
    """What each node stands for, in letters."""
    tokenizer = ClipTokenizer()
    words = " ".join(PROMPTS).replace(".", " .").split()
    known = {tokenizer.encode(word)[0]: word for word in words}
    start, end = tokenizer([""])[0, :2].tolist()
    return [{**known, start: "start", end: "end"}[token] for token in pack.tokens.tolist()]


def text(x: float, y: float, content: str, *, anchor: str = "middle", size: int = 13) -> str:
    """One piece of text."""
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(content)}</text>'
    )


def draw_tree(pack: Pack, words: list[str]) -> list[str]:
    """A box for each node, in the line of the first prompt that goes through it."""
    lines = np.searchsorted(pack.ends, np.arange(len(words)))
    drawn = [
        text(LEFT, 24, "each box is computed once; its column is its position", anchor="start")
    ]
    for node, word in enumerate(words):
        x, y = LEFT + STEP_X * pack.depths[node], TREE_TOP + STEP_Y * lines[node]
        before = pack.parents[node]
        if before != node:
            from_y = TREE_TOP + STEP_Y * lines[before] + BOX_H / 2
            bend = x - (STEP_X - BOX_W) / 2
            drawn.append(
                f'<path d="M{x - STEP_X + BOX_W} {from_y}H{bend}V{y + BOX_H / 2}H{x}" '
                'fill="none" stroke="#888"/>'
            )
        colour = "#bfe3c8" if node in pack.ends else "#e4e9f2"
        drawn.append(
            f'<rect x="{x}" y="{y}" width="{BOX_W}" height="{BOX_H}" rx="5" fill="{colour}" '
            'stroke="#667"/>'
        )
        drawn.append(text(x + BOX_W / 2, y + 18, word))
    return drawn


def draw_mask(pack: Pack, words: list[str]) -> list[str]:
    """A row for each node, with the nodes that it sees."""
    size = CELL * len(words)
    drawn = [
        text(LEFT, MASK_TOP - 14, "a node (row) sees its ancestors and itself", anchor="start"),
        f'<rect x="{MASK_LEFT}" y="{MASK_TOP}" width="{size}" height="{size}" fill="#f4f4f4" '
        'stroke="#667"/>',
    ]
    nodes = np.arange(len(words))
    for row, column in np.argwhere(pack.sees(nodes[:, None], nodes)).tolist():
        colour = "#3a6ea5" if row == column else "#8fb3d9"
        drawn.append(
            f'<rect x="{MASK_LEFT + CELL * column}" y="{MASK_TOP + CELL * row}" '
            f'width="{CELL - 1}" height="{CELL - 1}" fill="{colour}"/>'
        )
    for row, word in enumerate(words):
        y = MASK_TOP + CELL * row + 11
        drawn.append(text(MASK_LEFT - 8, y, f"{word} {row}", anchor="end", size=11))
    return drawn


def draw_note(padded: int, trimmed: int, nodes: int) -> list[str]:
    """What it saves."""
    x = MASK_LEFT + CELL * nodes + 24
    notes = (
        f"{len(PROMPTS)} prompts",
        f"{padded} tokens padded",
        f"{trimmed} tokens trimmed",
        f"{nodes} nodes",
    )
    return [text(x, MASK_TOP + 24 + 24 * i, n, anchor="start") for i, n in enumerate(notes)]


def main() -> None:
    """Write the picture."""
    tokens = ClipTokenizer()(PROMPTS)
    sizes = lengths(tokens, {})
    (pack,) = grow(tokens, sizes).packs
    words = words_of(pack)
    drawn = draw_tree(pack, words) + draw_mask(pack, words)
    drawn += draw_note(tokens.size, int(sizes.sum()), len(words))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" fill="#111">'
        "<title>A token tree of four prompts and the mask of its nodes</title>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    )
    PICTURE.write_text("\n".join([head, *drawn, "</svg>\n"]), encoding="utf-8")


if __name__ == "__main__":
    main()
