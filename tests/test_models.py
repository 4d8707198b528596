"""Model names: which architecture, weights, preprocessing and tokenizer a string means."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from zsclip import models
from zsclip.data_files import TINY_FOLDER
from zsclip.errors import ModelError, UnknownNameError, UsageError
from zsclip.models import (
    CONFIG_NAME,
    Preprocess,
    config_of_architecture,
    config_of_folder,
    resolve,
    tags_disagree,
)

CONFIG = {
    "model_cfg": {"embed_dim": 8, "vision_cfg": {"image_size": 64}, "text_cfg": {}},
    "preprocess_cfg": {},
}


@pytest.fixture
def model_folder(tmp_path, monkeypatch):
    """Make a model folder below the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, config: object = CONFIG):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / CONFIG_NAME).write_text(text)
        return folder

    return make


def test_a_preset_means_its_entry_in_models_yaml():
    source = resolve("default")

    assert (source.architecture, source.tag) == ("ViT-B-32-256", "datacomp_s34b_b86k")


@pytest.mark.parametrize("name", [n for n in models.catalogue()["presets"] if n != "tiny"])
def test_every_preset_has_a_repository(name):
    source = resolve(name)

    assert source.name == name and source.repo and source.tag


def test_tiny_is_the_folder_in_the_package():
    assert resolve("tiny").folder == TINY_FOLDER


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("RN50", "RN50"),
        ("RN101", "RN101"),
        ("RN50x4", "RN50x4"),
        ("RN50x16", "RN50x16"),
        ("RN50x64", "RN50x64"),
        ("ViT-B/32", "ViT-B-32"),
        ("ViT-B/16", "ViT-B-16"),
        ("ViT-L/14", "ViT-L-14"),
        ("ViT-L/14@336px", "ViT-L-14-336"),
    ],
)
def test_openais_names_mean_openais_weights(name, architecture):
    source = resolve(name)

    assert (source.name, source.architecture, source.tag) == (name, architecture, "openai")


def test_a_hub_name_is_a_repository():
    assert resolve("hf-hub:acme/small").repo == "acme/small"


def test_an_open_clip_name_is_architecture_and_tag():
    source = resolve("ViT-B-32:laion2b_s34b_b79k")

    assert (source.architecture, source.tag) == ("ViT-B-32", "laion2b_s34b_b79k")


def test_a_preset_beats_a_folder_of_its_name(model_folder):
    model_folder("tiny")

    assert resolve("tiny").folder == TINY_FOLDER


def test_a_dot_and_slash_force_the_folder(model_folder):
    folder = model_folder("tiny")

    found = resolve("./tiny").folder

    assert found is not None and found.resolve() == folder


def test_openais_name_beats_a_folder_of_its_name(model_folder):
    model_folder("ViT-B/32")

    assert resolve("ViT-B/32").tag == "openai"


def test_a_folder_beats_open_clips_name(model_folder):
    model_folder("ViT-B-32:laion2b_s34b_b79k")

    assert resolve("ViT-B-32:laion2b_s34b_b79k").folder is not None


def test_a_folder_beats_an_architecture(model_folder):
    model_folder("ViT-B-32")

    assert resolve("ViT-B-32").folder is not None


def test_a_folder_is_called_by_its_last_part(model_folder):
    folder = model_folder("models/mine")

    assert resolve(str(folder)).name == "mine"


@pytest.mark.parametrize("name", ["./none", "../none", "/none/at/all"])
def test_a_path_without_a_model_says_what_it_needs(name):
    with pytest.raises(UsageError) as caught:
        resolve(name)

    assert CONFIG_NAME in (caught.value.tip or "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("ViT-B/33", "ViT-B/32"), ("vit-b/32", "ViT-B/32"), ("defualt", "default"), ("tinny", "tiny")],
)
def test_an_unknown_name_brings_near_names(typed, meant):
    with pytest.raises(UnknownNameError, match="did you mean") as caught:
        resolve(typed)

    assert repr(meant) in caught.value.message


@pytest.mark.parametrize(
    "name", ["", ":", "ViT-B-32:", "ViT-B-32:none", ":openai", "\x00", "a" * 5000]
)
def test_nonsense_is_an_unknown_name(name):
    with pytest.raises(UsageError):
        resolve(name)


@pytest.mark.parametrize(
    "name", ["hf-hub:", "hf-hub:a/b/c", "hf-hub:../x", "hf-hub:a b", "hf-hub:a/b.git"]
)
def test_a_hub_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(UsageError, match="hf-hub"):
        resolve(name)


def test_a_bare_architecture_needs_weights_and_lists_its_tags():
    with pytest.raises(UsageError, match="names an architecture but no weights") as caught:
        resolve("ViT-B-32")

    assert "laion2b_s34b_b79k" in (caught.value.tip or "")


def test_a_bare_architecture_takes_a_weights_file(tmp_path):
    file = tmp_path / "mine.safetensors"

    source = resolve("ViT-B-32", weights_file=file)

    assert (source.name, source.weights_file) == ("ViT-B-32:mine.safetensors", file)


def test_a_weights_file_with_a_tag_keeps_the_tags_preprocessing(tmp_path):
    source = resolve("MobileCLIP2-S0:dfndr2b", weights_file=tmp_path / "w.safetensors")

    config = config_of_architecture(source.architecture or "", source.tag)

    assert config.preprocess.interpolation == "bilinear"


def test_a_tag_lends_a_weights_file_its_activation_and_preprocessing(tmp_path):
    file = tmp_path / "w.safetensors"

    source = resolve("ViT-B-32", weights_file=file, tag="openai")

    assert (source.tag, source.weights_file, source.repo) == ("openai", file, None)
    config = config_of_architecture("ViT-B-32", source.tag)
    assert config.model_cfg["quick_gelu"] is True


def test_a_tag_that_the_architecture_has_not_brings_near_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'openai'") as caught:
        resolve("ViT-B-32", weights_file=tmp_path / "w.safetensors", tag="opanai")

    assert "laion2b_s34b_b79k" in (caught.value.tip or "")


def test_a_tag_and_a_name_of_another_tag_disagree(tmp_path):
    with pytest.raises(UsageError, match="disagree"):
        resolve("ViT-B/32", weights_file=tmp_path / "w.safetensors", tag="laion2b_s34b_b79k")


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B/32", "tiny"])
def test_a_tag_goes_with_a_weights_file_only(name):
    with pytest.raises(UsageError, match="--tag goes with --weights"):
        resolve(name, tag="openai")


def test_a_weights_file_does_not_go_with_a_folder(model_folder, tmp_path):
    model_folder("mine")

    with pytest.raises(UsageError, match="has weights of its own"):
        resolve("./mine", weights_file=tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("tag", "quick"), [("openai", True), ("laion400m_e31", True), ("laion2b_s34b_b79k", None)]
)
def test_quick_gelu_comes_from_the_tag(tag, quick):
    assert config_of_architecture("ViT-B-32", tag).model_cfg.get("quick_gelu") is quick


def test_a_tag_without_quick_gelu_leaves_the_architectures_value():
    config = config_of_architecture("roberta-ViT-B-32", "laion2b_s12b_b32k")

    assert config.model_cfg["quick_gelu"] is True


def test_the_activation_is_part_of_the_fingerprint():
    openai, laion = (
        config_of_architecture("ViT-B-32", tag) for tag in ("openai", "laion2b_s34b_b79k")
    )

    assert openai.fingerprint != laion.fingerprint


def as_open_clip_resolves(architecture: str, tag: str) -> dict[str, object]:
    """What open_clip itself would run these weights with, but for the activation it only warns of.

    Its own functions, in the order of its `create_model` and `get_tokenizer`; builds no model.
    """
    import open_clip
    from open_clip.factory import DEFAULT_CONTEXT_LENGTH
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    weights = open_clip.get_pretrained_cfg(architecture, tag)
    model = open_clip.get_model_config(architecture)
    text = model["text_cfg"]
    pixels = merge_preprocess_dict(asdict(PreprocessCfg()), weights)
    return {
        "quick_gelu": bool(weights.get("quick_gelu")) or bool(model.get("quick_gelu")),
        "size": model["vision_cfg"]["image_size"],
        "mean": tuple(pixels["mean"]),
        "std": tuple(pixels["std"]),
        "interpolation": pixels["interpolation"],
        "resize_mode": pixels["resize_mode"],
        "fill_color": pixels["fill_color"],
        "context_length": text.get("context_length", DEFAULT_CONTEXT_LENGTH),
        "tokenizer": text.get("hf_tokenizer_name") or models.CLIP_BPE,
        "repository": weights["hf_hub"].rpartition("/")[0],
    }


def as_we_resolve(architecture: str, tag: str) -> dict[str, object]:
    source = resolve(f"{architecture}:{tag}")
    config = config_of_architecture(source.architecture or "", source.tag)
    return {
        "quick_gelu": bool(config.model_cfg.get("quick_gelu")),
        **asdict(config.preprocess),
        "context_length": config.context_length,
        "tokenizer": config.tokenizer,
        "repository": source.repo,
    }


def test_all_196_pairs_are_resolved_as_open_clip_does():
    import open_clip

    pairs = open_clip.list_pretrained()
    wrong = {
        pair: (as_we_resolve(*pair), as_open_clip_resolves(*pair))
        for pair in pairs
        if as_we_resolve(*pair) != as_open_clip_resolves(*pair)
    }

    assert len(pairs) == 196 and wrong == {}


def test_28_pairs_would_run_another_activation_in_open_clip_one_of_them_keeps_it():
    import open_clip

    ours, theirs, tags = {}, {}, {}
    for pair in open_clip.list_pretrained():
        ours[pair] = as_we_resolve(*pair)["quick_gelu"]
        theirs[pair] = bool(open_clip.get_model_config(pair[0]).get("quick_gelu"))
        tags[pair] = bool(open_clip.get_pretrained_cfg(*pair).get("quick_gelu"))

    disagree = {pair for pair in ours if theirs[pair] != tags[pair]}
    assert len(disagree) == 28
    assert {pair for pair in disagree if ours[pair] == theirs[pair]} == {
        ("roberta-ViT-B-32", "laion2b_s12b_b32k")
    }
    assert all(ours[pair] == tags[pair] for pair in ours if not theirs[pair])


@pytest.mark.parametrize(
    ("field", "value", "count"),
    [("resize_mode", "squash", 48), ("interpolation", "bilinear", 21), ("fill_color", 0, 196)],
)
def test_so_many_pairs_differ_in_preprocessing(field, value, count):
    pairs = [key.split(":") for key in models.open_clip_tags()]

    assert sum(as_we_resolve(*pair)[field] == value for pair in pairs) == count


def test_the_context_length_comes_from_the_configuration():
    assert config_of_architecture("ViT-B-16-SigLIP", "webli").context_length == 64


def test_the_tokenizer_of_siglip_is_not_clips():
    assert config_of_architecture("ViT-B-16-SigLIP", "webli").tokenizer != models.CLIP_BPE


def test_a_folders_configuration_is_read(model_folder):
    overlay = {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear"}
    folder = model_folder("mine", {**CONFIG, "preprocess_cfg": overlay})

    config = config_of_folder(folder)

    assert (config.architecture, config.preprocess.size) == ("mine", 64)
    assert (config.preprocess.mean, config.preprocess.interpolation) == ((0, 0, 0), "bilinear")


def model_cfg(**vision):
    return {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": {}}}


def with_text(**text):
    return {"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": text}}


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        "3",
        '"text"',
        "[" * 100_000,
        {},
        {"model_cfg": 3},
        {"model_cfg": {}},
        {"model_cfg": {"text_cfg": {}, "vision_cfg": 5}},
        {"model_cfg": {"text_cfg": {}, "vision_cfg": {}}, "preprocess_cfg": [1]},
        {"model_cfg": {"text_cfg": {}, "vision_cfg": {}}, "preprocess_cfg": {"mean": 3}},
        {**CONFIG, "preprocess_cfg": {"resize_mode": "stretch"}},
        {**CONFIG, "preprocess_cfg": {"interpolation": "nearest"}},
        model_cfg(image_size=[224, 160]),
        model_cfg(image_size="large"),
        model_cfg(image_size=[]),
        model_cfg(image_size=0),
        {"model_cfg": {"text_cfg": {}, "vision_cfg": {}}},
        {"model_cfg": {"embed_dim": "8", "text_cfg": {}, "vision_cfg": {}}},
        with_text(context_length=0),
        with_text(vocab_size="all"),
        with_text(hf_tokenizer_name=["a/b"]),
        with_text(hf_model_name={}),
        with_text(tokenizer_kwargs=["clean"]),
        {**CONFIG, "preprocess_cfg": {"mean": [0.5, 0.5]}},
        {**CONFIG, "preprocess_cfg": {"mean": "abc"}},
        {**CONFIG, "preprocess_cfg": {"std": [0.5, 0.5, 0]}},
        {**CONFIG, "preprocess_cfg": {"std": [0.5, 0.5, float("nan")]}},
        {**CONFIG, "preprocess_cfg": {"fill_color": 256}},
    ],
    ids=lambda config: json.dumps(config)[:60],
)
def test_a_folder_with_another_configuration_is_refused(model_folder, config):
    folder = model_folder("mine", config)

    with pytest.raises(ModelError):
        config_of_folder(folder)


def test_every_name_in_the_list_can_be_resolved():
    unresolved = [n for n in models.model_names() if resolve(n).repo is None and n != "tiny"]

    assert unresolved == []


def test_own_weights_under_a_tags_name_keep_its_activation(tmp_path):
    weights = tmp_path / "mine.safetensors"

    named = resolve("ViT-B/32", weights_file=weights)
    bare = resolve("ViT-B-32", weights_file=weights)

    assert config_of_architecture(named.architecture, named.tag).model_cfg["quick_gelu"] is True
    assert "quick_gelu" not in config_of_architecture(bare.architecture, bare.tag).model_cfg


def test_without_a_tag_an_architecture_has_what_all_its_tags_have():
    siglip = config_of_architecture("ViT-B-16-SigLIP", None)

    assert siglip == config_of_architecture("ViT-B-16-SigLIP", "webli")
    assert siglip.preprocess.resize_mode == "squash"
    assert tags_disagree("ViT-B-32") and not tags_disagree("ViT-B-16-SigLIP")


def test_without_a_tag_an_architecture_whose_tags_disagree_has_open_clips_defaults():
    config = config_of_architecture("ViT-B-32", None)

    assert not config.model_cfg.get("quick_gelu")
    assert config.preprocess == Preprocess(224)


def test_a_configuration_cannot_send_timm_to_a_hub(tmp_path):
    config = json.loads((TINY_FOLDER / CONFIG_NAME).read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "hf-hub:someone/model"
    (tmp_path / CONFIG_NAME).write_text(json.dumps(config))

    with pytest.raises(ModelError, match="timm_model_name"):
        config_of_folder(tmp_path)
