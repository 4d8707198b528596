"""Every architecture family scores as open_clip does, and as transformers where it has the family.

Random weights, real architectures, small (see families.py); nothing is downloaded.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from families import (
    FAMILIES,
    LABELS,
    TEMPLATES,
    Family,
    ask_open_clip,
    ask_zsclip,
    sixty_four,
    small_config,
    towers,
    write_folder,
)
from to_transformers import ask_transformers

from zsclip import scoring, token_tree
from zsclip.engines import torch_model
from zsclip.loading import load_model
from zsclip.models import CONFIG_NAME, open_clip_tags, resolve
from zsclip.weights import locate

pytestmark = pytest.mark.usefixtures("one_thread")

COSINE, SCORE = 1e-5, 1e-4
"""The largest differences that are allowed."""
BY_NAME = {family.name: family for family in FAMILIES}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The small model of a family, made once."""
    made = {}

    def make(family: Family):
        if family.name not in made:
            folder = tmp_path_factory.mktemp("family")
            made[family.name] = write_folder(small_config(family, folder), folder)
        return made[family.name]

    return make


def open_ours(folder):
    """The model of a family, which knows no text; its weights are loaded once."""
    model = open_anew(folder)
    model.engine = engine_of(folder)
    return model


@functools.cache
def engine_of(folder):
    return open_anew(folder).engine


def open_anew(folder):
    return load_model(str(folder), device="cpu", use_cache=False)


def differences(ours, theirs) -> tuple[float, float]:
    """The largest of cosines and of scores."""
    assert ours.cosines.shape == theirs.cosines.shape
    return (
        float(np.abs(ours.cosines - theirs.cosines).max()),
        float(np.abs(ours.scores - theirs.scores).max()),
    )


def each_family(function):
    return pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)(function)


def test_every_architecture_that_has_weights_is_of_a_family():
    known = {towers(family.architecture) for family in FAMILIES}

    strangers = {key for key in open_clip_tags() if towers(key.partition(":")[0]) not in known}

    assert strangers == set()


@each_family
def test_scores_equal_open_clips(folder_of, family):
    folder = folder_of(family)
    theirs = ask_open_clip(folder, sixty_four())
    model = open_ours(folder)

    found = {n: differences(ask_zsclip(model, sixty_four(), batch_size=n), theirs) for n in (7, 64)}
    few = ask_zsclip(model, sixty_four()[:12], batch_size=1)
    found[1] = differences(few, type(few)(theirs.cosines[:12], theirs.scores[:12]))

    assert all(cosine < COSINE and score < SCORE for cosine, score in found.values()), found


@each_family
def test_each_picture_has_features_of_its_own(folder_of, family):
    # else a wrong picture would score as a right one, and the test above could not fail
    theirs = ask_open_clip(folder_of(family), sixty_four()[:12])

    assert theirs.cosines.std(axis=0).min() > 100 * COSINE, theirs.cosines.std(axis=0)


@each_family
def test_built_without_memory_it_gives_the_same_bits(folder_of, family, monkeypatch):
    import open_clip
    import torch
    from timm.utils import reparameterize_model

    folder = folder_of(family)
    local = locate(resolve(str(folder)))
    ordinary = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
    if family.name.startswith("MobileCLIP"):
        ordinary.visual = reparameterize_model(ordinary.visual)
    devices, create = [], open_clip.create_model
    monkeypatch.setattr(
        open_clip,
        "create_model",
        lambda *args, **options: devices.append(options["device"]) or create(*args, **options),
    )

    # a copy: where weights lie in a mapped file may change the last bits on some processors
    fast = copy.deepcopy(torch_model.load(local).net)

    generator = torch.Generator().manual_seed(0)
    size = local.config.preprocess.size
    pixels = torch.randn((3, 3, size, size), generator=generator)
    tokens = torch.randint(3, 400, (3, local.config.context_length), generator=generator)
    tokens[:, -1] = 2  # an end of text for towers that look for it
    with torch.inference_mode():
        assert torch.equal(fast.encode_image(pixels), ordinary.encode_image(pixels))
        assert torch.equal(fast.encode_text(tokens), ordinary.encode_text(tokens))
    # towers of transformers may keep positions that only the ordinary way makes
    assert devices == ["meta"] or ("text" in family.name and devices == ["meta", "cpu"])


@each_family
def test_text_features_equal_open_clips_with_all_padding(folder_of, family):
    import open_clip
    import torch

    folder = folder_of(family)
    model = open_ours(folder)
    tokens = model.tokenize([t.replace("{}", label) for label in LABELS for t in TEMPLATES])
    tokens = np.concatenate([tokens, tokens[::3], tokens[:, :1].repeat(tokens.shape[1], axis=1)])
    theirs = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
    with torch.inference_mode():
        expected = theirs.encode_text(torch.from_numpy(tokens), normalize=True).numpy()

    found = model.encode_text(tokens)

    difference = float(np.abs(found - expected).max())
    assert difference < COSINE, difference
    assert float(np.abs((found * expected).sum(axis=1) - 1).max()) < COSINE


@each_family
def test_a_text_tower_runs_on_token_trees_if_it_is_causal_and_read_at_the_end_of_text(
    folder_of, family, monkeypatch
):
    model = open_ours(folder_of(family))
    grown, grow = [], token_tree.grow
    monkeypatch.setattr(
        token_tree, "grow", lambda *args, **options: grown.append(1) or grow(*args, **options)
    )

    model.encode_text(["a cat"])

    assert bool(grown) == (towers(family.architecture)[1] == "causal, end of text")


@each_family
def test_a_wrong_tree_would_show(folder_of, family, monkeypatch):
    model = open_ours(folder_of(family))
    texts = [t.replace("{}", label) for label in LABELS for t in TEMPLATES]
    right = model.encode_text(texts)
    monkeypatch.setattr(token_tree.Pack, "sees", lambda pack, rows, columns: rows >= columns)

    difference = np.abs(model.encode_text(texts) - right).max()

    on_tree = towers(family.architecture)[1] == "causal, end of text"
    assert difference > 100 * COSINE if on_tree else difference == 0


@each_family
def test_scale_and_bias_are_those_of_the_weights(folder_of, family):
    model = open_ours(folder_of(family))

    expected = -5.25 if "SigLIP" in family.name else None
    assert abs(model.logit_scale - 37) < 1e-4
    assert model.logit_bias == expected
    assert model.choose_kind() == ("softmax" if expected is None else "sigmoid")


# against transformers

REFERENCES = [family for family in FAMILIES if family.reference]


def compare_with_transformers(folder, family: Family, **config) -> tuple[float, float]:
    """Largest differences of cosines and scores of 16 pictures and 15 prompts."""
    reference = open_ours(folder)
    pixels = np.stack([reference.prepare(picture) for picture in sixty_four()[:16]])
    tokens = reference.tokenize([t.replace("{}", label) for label in LABELS for t in TEMPLATES])
    theirs = ask_transformers(family.reference, reference, pixels, tokens)
    model = open_anew(changed(folder, **config)) if config else reference
    cosines = scoring.cosines(model.encode_image(pixels), model.encode_text(tokens))
    bias = np.float32(model.logit_bias or 0)
    kind = model.choose_kind()
    scores = scoring.scores(cosines, kind, scale=model.logit_scale, bias=bias)
    return differences(type(theirs)(cosines, scores), theirs)


def changed(folder, **changes):
    """A copy of a folder whose configuration has other values; `a__b` is b inside of a."""
    copy = folder.parent / f"{folder.name}-changed"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    config = json.loads((copy / CONFIG_NAME).read_text())
    for path, value in changes.items():
        *outer, last = path.split("__")
        section = config
        for name in outer:
            section = section[name]
        section[last] = value
    (copy / CONFIG_NAME).write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize("family", REFERENCES, ids=lambda f: f.name)
def test_scores_equal_those_of_transformers(folder_of, family):
    cosine, score = compare_with_transformers(folder_of(family), family)

    assert cosine < COSINE and score < SCORE, (cosine, score)


def test_a_lost_quick_gelu_would_show_against_transformers(folder_of):
    family = BY_NAME["CLIP, ViT, QuickGELU"]

    cosine, score = compare_with_transformers(folder_of(family), family, model_cfg__quick_gelu=None)

    assert cosine > 100 * COSINE and score > 10 * SCORE, (cosine, score)


# what would show if it were lost: each change of a configuration must break the comparison

LOSSES = {
    "activation": ("CLIP, ViT, QuickGELU", {"model_cfg__quick_gelu": False}),
    "activation of MetaCLIP 2": ("MetaCLIP 2", {"model_cfg__quick_gelu": False}),
    "activation of SigLIP 2": ("SigLIP 2", {"model_cfg__text_cfg__act_kwargs": None}),
    "interpolation": ("MobileCLIP", {"preprocess_cfg__interpolation": "bicubic"}),
    "mean": ("MobileCLIP", {"preprocess_cfg__mean": None}),
    "std": ("SigLIP", {"preprocess_cfg__std": None}),
    "resize mode": ("SigLIP", {"preprocess_cfg__resize_mode": "shortest"}),
    "mask": ("MobileCLIP", {"model_cfg__text_cfg__no_causal_mask": False}),
    "pooling": ("CLIPA", {"model_cfg__text_cfg__pool_type": "argmax"}),
    "end of text": ("MetaCLIP 2", {"model_cfg__text_cfg__eos_id": 0}),
    "pooler": (
        "RoBERTa text",
        {"model_cfg__text_cfg__hf_pooler_type": "cls_last_hidden_state_pooler"},
    ),
}


@pytest.mark.parametrize("what", LOSSES)
def test_a_loss_would_show_against_open_clip(folder_of, what):
    name, change = LOSSES[what]
    folder = folder_of(BY_NAME[name])
    theirs = ask_open_clip(folder, sixty_four()[:12])

    ours = ask_zsclip(open_anew(changed(folder, **change)), sixty_four()[:12], batch_size=12)

    cosine, _ = differences(ours, theirs)
    assert cosine > COSINE, cosine


def test_the_table_in_the_docs_is_of_these_families():
    script = Path(__file__).resolve().parent.parent / "docs" / "make_models_table.py"
    spec = importlib.util.spec_from_file_location("make_models_table", script)
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)

    now = [row[: page.N_STATIC] for row in page.written()]

    assert now == [page.static_columns(family) for family in FAMILIES]


def test_the_table_in_the_docs_has_figures_within_what_is_allowed():
    script = Path(__file__).resolve().parent.parent / "docs" / "models.md"
    lines = [line.split("|") for line in script.read_text(encoding="utf-8").splitlines()]
    rows = [line for line in lines if len(line) == 11 and line[1].strip() in BY_NAME]

    figures = [float(cell) for row in rows for cell in row[7:10] if cell.strip()]

    assert len(rows) == len(FAMILIES) and len(figures) >= len(FAMILIES)
    assert max(figures) < COSINE
