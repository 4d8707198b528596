"""Token trees: what is in them, and that text features of them equal those of padded prompts."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_CLIP
from families import write_folder
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zsclip import token_tree
from zsclip.datasets import load_dataset
from zsclip.engines.compile import compile_into
from zsclip.engines.onnx_engine import OnnxEngine
from zsclip.engines.torch_engine import TorchEngine
from zsclip.head_builder import CHUNK_PROMPTS
from zsclip.models import config_of_architecture, open_clip_tags, resolve
from zsclip.prompts import load_templates
from zsclip.token_tree import Pack, grow, lengths, obstacle
from zsclip.tokenizer import ClipTokenizer
from zsclip.weights import locate

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = 24  # of SMALL_CLIP
TOLERANCE = 1e-5
END = 9
LONG = os.environ.get("ZSCLIP_LONG_TESTS") == "1"

# few different tokens: much is shared, much is there twice, and prompts begin others, because
# without END a prompt is read at its first greatest number
PROMPTS = st.lists(
    st.lists(st.integers(1, 4), min_size=1, max_size=CONTEXT - 1).flatmap(
        lambda numbers: st.sampled_from([numbers, [*numbers, END]])
    ),
    min_size=1,
    max_size=40,
)
RANDOMLY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def padded(prompts):
    """Tokens (P, CONTEXT) of lists of numbers."""
    tokens = np.zeros((len(prompts), CONTEXT), dtype=np.int64)
    for row, numbers in enumerate(prompts):
        tokens[row, : len(numbers)] = numbers
    return tokens


def read(pack: Pack, node: int) -> list[int]:
    """The tokens from the root to a node, with their positions checked."""
    numbers = [int(pack.tokens[node])]
    while pack.parents[node] != node:
        assert pack.depths[pack.parents[node]] == pack.depths[node] - 1
        node = pack.parents[node]
        numbers.insert(0, int(pack.tokens[node]))
    assert pack.depths[node] == 0
    return numbers


def prompts_of_imagenet():
    """Tokens of 1,000 x 80 prompts, or of every 25th class where long tests were not asked for."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    step = 1 if LONG else 25
    templates = load_templates("imagenet80").templates
    names = IMAGENET_CLASSNAMES[::step]
    return ClipTokenizer(CONTEXT)([t.replace("{}", name) for name in names for t in templates])


# what is in them


@given(PROMPTS, st.integers(1, 60))
@example([[1]], 1)
@example([[1, 2, 3, END], [1, 2, 3, END], [1, 2], [1, 2, 3]], 60)
@RANDOMLY
def test_every_prompt_can_be_read_back(prompts, pack_nodes):
    tokens = padded(prompts)
    sizes = lengths(tokens, {})

    tree = grow(tokens, sizes, pack_nodes=pack_nodes)

    found = [read(pack, end) for pack in tree.packs for end in pack.ends]
    expected = [row[:size].tolist() for row, size in zip(tokens, sizes, strict=True)]
    assert [found[row] for row in tree.rows] == expected
    assert len(found) == len({tuple(numbers) for numbers in expected})


@given(PROMPTS, st.integers(1, 60))
@RANDOMLY
def test_packs_are_small_and_have_no_node_twice(prompts, pack_nodes):
    tokens = padded(prompts)

    tree = grow(tokens, lengths(tokens, {}), pack_nodes=pack_nodes)

    for pack in tree.packs:
        nodes = {tuple(read(pack, node)) for node in range(len(pack.tokens))}
        assert len(nodes) == len(pack.tokens)
        assert len(pack.tokens) <= pack_nodes or len(pack.ends) == 1
        assert (pack.parents <= np.arange(len(pack.tokens))).all()


@given(PROMPTS)
@RANDOMLY
def test_a_node_sees_its_ancestors_and_itself(prompts):
    tokens = padded(prompts)

    (pack,) = grow(tokens, lengths(tokens, {}), pack_nodes=10_000).packs

    whole = [read(pack, node) for node in range(len(pack.tokens))]
    expected = [[one[: len(other)] == other for other in whole] for one in whole]
    nodes = np.arange(len(whole))
    assert pack.sees(nodes[:, None], nodes).tolist() == expected


@given(PROMPTS, st.integers(1, 40))
@RANDOMLY
def test_windows_compare_each_node_with_all_that_it_sees_once(prompts, window):
    tokens = padded(prompts)
    (pack,) = grow(tokens, lengths(tokens, {}), pack_nodes=10_000).packs
    n_nodes = len(pack.tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_tree, "WINDOW", window)
        inputs = pack.inputs()

    queries, keys, mask = inputs["queries"], inputs["keys"], inputs["mask"]
    assert queries.ravel()[:n_nodes].tolist() == list(range(n_nodes))
    assert queries.size < n_nodes + window
    assert keys.shape[1] <= window + pack.depths.max()
    assert set(np.unique(mask)) <= {0, -np.inf}
    nodes = np.arange(n_nodes)
    for node, visible in zip(nodes, pack.sees(nodes[:, None], nodes), strict=True):
        place = np.unravel_index(node, queries.shape)
        assert sorted(keys[place[0]][mask[place] == 0]) == np.flatnonzero(visible).tolist()


@given(PROMPTS, st.integers(1, 4))
@RANDOMLY
def test_each_thread_gets_as_many_packs(prompts, threads):
    tokens = padded(prompts)
    sizes = lengths(tokens, {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_tree, "LEAST_NODES", 1)
        packs = grow(tokens, sizes, pack_nodes=60, threads=threads).packs

    few = len(grow(tokens, sizes, pack_nodes=60).packs)
    assert len(packs) <= -(-few // threads) * threads
    assert max(len(pack.tokens) for pack in packs) <= max(60, sizes.max())


def test_packs_for_threads_are_of_about_one_size():
    tokens = prompts_of_imagenet()[:160]
    sizes = lengths(tokens, {})

    packs = [[len(p.tokens) for p in grow(tokens, sizes, threads=n).packs] for n in (1, 2, 4, 64)]

    assert [len(nodes) for nodes in packs] == [3, 4, 4, 3]
    assert all(max(nodes) - min(nodes) <= 20 for nodes in packs[1:3]), packs


def test_the_tree_of_the_docs_has_nineteen_nodes():
    texts = ["a photo of a cat.", "a photo of a dog.", "a sketch of a cat.", "cat"]
    tokens = ClipTokenizer()([*texts, texts[0]])
    sizes = lengths(tokens, {})

    tree = grow(tokens, sizes)

    (pack,) = tree.packs
    start, end = tokens[0, 0], tokens[0].max()
    a, photo, of, cat, dog, sketch, stop = (
        ClipTokenizer().encode(word)[0]
        for word in ("a", "photo", "of", "cat", "dog", "sketch", ".")
    )
    assert sizes.tolist() == [8, 8, 8, 3, 8]
    assert pack.tokens.tolist() == [
        start, a, photo, of, a, dog, stop, end, cat, stop, end,
        sketch, of, a, cat, stop, end, cat, end,
    ]  # fmt: skip
    assert pack.depths.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 2, 3, 4, 5, 6, 7, 1, 2]
    assert pack.parents.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 4, 8, 9, 1, 11, 12, 13, 14, 15, 0, 17]
    assert pack.ends[tree.rows].tolist() == [10, 7, 16, 18, 10]


def test_a_prompt_is_read_where_open_clip_reads_it():
    tokens = np.array([[5, 9, 2, 9, 0], [5, 7, 2, 2, 1], [5, 6, 7, 1, 1]])

    assert lengths(tokens, {}).tolist() == [2, 2, 3]
    assert lengths(tokens, {"pool_type": "eos"}).tolist() == [3, 3, 1]
    assert lengths(tokens, {"pool_type": "eos", "eos_id": 1}).tolist() == [1, 5, 4]


@pytest.mark.parametrize(
    ("text_cfg", "reason"),
    [
        ({}, None),
        ({"pool_type": "eos"}, None),
        ({"hf_model_name": "roberta-base"}, "a text tower of transformers"),
        ({"no_causal_mask": True}, "tokens see those after them"),
        ({"embed_cls": True}, "read at a class token"),
        ({"pool_type": "last"}, "read at the last token"),
        ({"pool_type": "first"}, "read at the first token"),
        ({"qk_norm": True}, "blocks of another kind"),
    ],
)
def test_what_keeps_a_tower_from_trees_is_said(text_cfg, reason):
    assert obstacle(text_cfg) == reason


def costs_of(names):
    """Prompts, tokens when padded, tokens up to the ends, nodes in one trie, nodes in the packs."""
    templates = load_templates("imagenet80").templates
    tokens = ClipTokenizer()([t.replace("{}", name) for name in names for t in templates])
    sizes = lengths(tokens, {})
    different = np.unique(np.where(np.arange(77) < sizes[:, None], tokens, -1), axis=0)
    shared = (different[1:] != different[:-1]).argmax(axis=1).sum()
    chunks = [slice(start, start + CHUNK_PROMPTS) for start in range(0, len(tokens), CHUNK_PROMPTS)]
    packs = [pack for chunk in chunks for pack in grow(tokens[chunk], sizes[chunk]).packs]
    one_trie = (different >= 0).sum() - shared
    nodes = sum(len(pack.tokens) for pack in packs)
    return [len(tokens), tokens.size, int(sizes.sum()), int(one_trie), nodes]


def column_of_the_docs(number):
    """The numbers in one column of the table of costs."""
    page = (Path(__file__).parent.parent / "docs" / "token-tree.md").read_text(encoding="utf-8")
    table = page.partition("| prompts |")
    rows = (table[1] + table[2]).partition("\n\n")[0].splitlines()
    return [int(row.split("|")[2 + number].split()[0].replace(",", "")) for row in rows]


def test_the_costs_in_the_docs_are_those_of_cifar100():
    names = [names[0] for names in load_dataset("cifar100").class_names]

    assert costs_of(names) == column_of_the_docs(0)


@pytest.mark.skipif(not LONG, reason="10 seconds; run with ZSCLIP_LONG_TESTS=1")
def test_the_costs_in_the_docs_are_those_of_imagenet():
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    assert costs_of(IMAGENET_CLASSNAMES) == column_of_the_docs(1)


def test_the_number_of_eligible_pairs_in_the_docs_is_right():
    architectures = [name.partition(":")[0] for name in open_clip_tags()]

    reasons = [
        obstacle(config_of_architecture(name, None).model_cfg["text_cfg"]) for name in architectures
    ]

    page = (Path(__file__).parent.parent / "docs" / "token-tree.md").read_text(encoding="utf-8")
    numbers = f"{reasons.count(None)} of open_clip's {len(reasons)} pairs"
    assert numbers in " ".join(page.split())


# what comes out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model_cfg = SMALL_CLIP["model_cfg"]
    two_layers = {**model_cfg, "text_cfg": {**model_cfg["text_cfg"], "layers": 2}}
    config = {**SMALL_CLIP, "model_cfg": two_layers}
    return write_folder(config, tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module", params=["torch", "onnx"])
def engine(request, folder, tmp_path_factory):
    local = locate(resolve(str(folder)))
    torch_engine = TorchEngine(local, device="cpu")
    if request.param == "torch":
        return torch_engine
    compiled = tmp_path_factory.mktemp("compiled")
    compile_into(compiled, torch_engine, local, lambda done, steps: None)
    return OnnxEngine(compiled)


@pytest.fixture(scope="module")
def plain(folder):
    """Unit-length features by open_clip alone."""
    import open_clip
    import torch

    oracle = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()

    def encode(tokens):
        with torch.inference_mode():
            parts = torch.from_numpy(tokens).split(1000)
            return torch.cat([oracle.encode_text(part, normalize=True) for part in parts]).numpy()

    return encode


def largest_difference(ours, theirs) -> float:
    """The largest of the differences and of 1 - cosine."""
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    cosines = (ours.astype(np.float64) * theirs).sum(axis=1)
    return float(max(np.abs(ours - theirs).max(), np.abs(1 - cosines).max()))


def cut_into_packs(monkeypatch, pack_nodes):
    monkeypatch.setattr(token_tree, "grow", functools.partial(grow, pack_nodes=pack_nodes))


@given(prompts=PROMPTS, pack_nodes=st.integers(1, 100))
@example(prompts=[[1]], pack_nodes=1)
@RANDOMLY
def test_features_equal_open_clips(engine, plain, prompts, pack_nodes):
    tokens = padded(prompts)

    with pytest.MonkeyPatch.context() as patch:
        cut_into_packs(patch, pack_nodes)
        ours = engine.encode_texts(tokens)

    difference = largest_difference(ours, plain(tokens))
    assert difference < TOLERANCE, difference


def test_features_of_imagenets_prompts_equal_open_clips(engine, plain):
    tokens = prompts_of_imagenet()

    difference = largest_difference(engine.encode_texts(tokens), plain(tokens))

    assert difference < TOLERANCE, difference


def test_prompts_have_features_of_their_own(plain):
    # else wrong features would pass for right ones
    features = plain(np.unique(prompts_of_imagenet()[:400], axis=0))

    cosines = features @ features.T
    assert np.median(cosines) < 1 - 100 * TOLERANCE, np.median(cosines)


BROKEN = {
    "sees all": {"sees": lambda pack, rows, columns: (rows == rows) & (columns == columns)},
    "sees all before": {"sees": lambda pack, rows, columns: rows >= columns},
    "sees itself only": {"sees": lambda pack, rows, columns: rows == columns},
    "positions": {"depths": np.zeros_like},
    "ends": {"ends": lambda ends: ends - 1},
    "rows": {"rows": lambda rows: rows[::-1]},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_tree_would_show(engine, plain, monkeypatch, what):
    tokens = prompts_of_imagenet()[:100]
    ((name, change),) = BROKEN[what].items()

    def broken(tokens, lengths, **options):
        tree = grow(tokens, lengths, **options)
        if name == "rows":
            return dataclasses.replace(tree, rows=change(tree.rows))
        packs = [dataclasses.replace(p, **{name: change(getattr(p, name))}) for p in tree.packs]
        return dataclasses.replace(tree, packs=tuple(packs))

    if name == "sees":
        monkeypatch.setattr(Pack, "sees", change)
    else:
        monkeypatch.setattr(token_tree, "grow", broken)

    difference = largest_difference(engine.encode_texts(tokens), plain(tokens))

    assert difference > 100 * TOLERANCE, difference


def test_equal_prompts_give_equal_bytes(engine):
    tokens = prompts_of_imagenet()[:200]

    assert engine.encode_texts(tokens).tobytes() == engine.encode_texts(tokens).tobytes()


def test_features_do_not_depend_on_the_other_prompts(engine):
    tokens = prompts_of_imagenet()[:800]

    alone = engine.encode_texts(tokens[240:320])

    difference = np.abs(engine.encode_texts(tokens)[240:320] - alone).max()
    assert difference < 1e-6, difference
