"""The table of open_clip's tags is open_clip's, entry by entry."""

from __future__ import annotations

import json

import pytest
from make_open_clip_tags import TABLE, dumps, quick_gelu_sides, table

OPENAI_TAGS = (
    "RN50:openai",
    "RN101:openai",
    "RN50x4:openai",
    "RN50x16:openai",
    "RN50x64:openai",
    "ViT-B-32:openai",
    "ViT-B-16:openai",
    "ViT-L-14:openai",
    "ViT-L-14-336:openai",
)


@pytest.fixture(scope="module")
def committed():
    return json.loads(TABLE.read_text(encoding="utf-8"))


def test_committed_table_equals_open_clip():
    assert TABLE.read_text(encoding="utf-8") == dumps(table())


def test_all_196_pairs_are_there(committed):
    assert len(committed) == 196


def test_28_pairs_disagree_on_quick_gelu(committed):
    pairs = [key.split(":") for key in committed]

    disagree = [pair for pair in pairs if len(set(quick_gelu_sides(*pair))) == 2]

    assert len(disagree) == 28


@pytest.mark.parametrize(
    ("field", "value", "count"),
    [("resize_mode", "squash", 48), ("interpolation", "bilinear", 21)],
)
def test_counts_of_preprocessing(committed, field, value, count):
    assert sum(entry[field] == value for entry in committed.values()) == count


@pytest.mark.parametrize("key", OPENAI_TAGS)
def test_openai_weights_use_quick_gelu(committed, key):
    assert committed[key]["quick_gelu"] is True


def test_fields_have_their_types(committed):
    for key, entry in committed.items():
        assert entry["hf_hub"].count("/") == 1, key
        assert entry["file"] is None or "." in entry["file"], key
        assert type(entry["image_size"]) is int, key
        assert len(entry["mean"]) == len(entry["std"]) == 3, key


def test_siglip_tokenizers_are_never_clips(committed):
    wrong = [
        key
        for key, entry in committed.items()
        if "siglip" in key.lower() and entry["tokenizer"] == "clip-bpe"
    ]

    assert wrong == []
