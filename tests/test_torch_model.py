"""Weights files: what is read from them, what fills a model, and why another file does not."""

from __future__ import annotations

import json
import os
import shutil
import sys

import numpy as np
import pytest
from conftest import SMALL_CLIP

from zsclip import models
from zsclip.engines import torch_model
from zsclip.engines.torch_engine import TorchEngine
from zsclip.errors import ModelError, NotFetchedError
from zsclip.models import CONFIG_NAME, config_of_architecture, resolve
from zsclip.weights import LocalModel, digest, locate

pytestmark = pytest.mark.usefixtures("one_thread")
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def state(small_clip_folder):
    from safetensors.torch import load_file

    return load_file(small_clip_folder / WEIGHTS)


@pytest.fixture
def with_weights(small_clip_folder, tmp_path):
    """A copy of the small model with other weights: safetensors, or a pickle if it has a name."""

    def make(state, *, pickle: str | None = None, **model_cfg) -> LocalModel:
        import torch
        from safetensors.torch import save_file

        folder = tmp_path / "m"
        folder.mkdir()
        config = {**SMALL_CLIP, "model_cfg": {**SMALL_CLIP["model_cfg"], **model_cfg}}
        (folder / CONFIG_NAME).write_text(json.dumps(config))
        if pickle is None:
            save_file(state, folder / WEIGHTS)
        else:
            torch.save(state, folder / pickle)
        return locate(resolve(str(folder)), allow_pickle=True)

    return make


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(0).integers(1, 49405, size=(4, 24))


def texts_of(local: LocalModel, tokens):
    return TorchEngine(local, device="cpu").encode_texts(tokens)


# a file that does not fit


@pytest.mark.accepts("D4")
def test_missing_keys_are_counted_and_one_is_named(with_weights, state):
    del state["visual.proj"], state["ln_final.bias"]

    with pytest.raises(ModelError) as caught:
        torch_model.load(with_weights(state))

    assert caught.value.message.endswith(
        f"{WEIGHTS} does not fit m: 2 keys missing, e.g. visual.proj"
    )


@pytest.mark.accepts("D4")
def test_unexpected_keys_are_counted(with_weights, state):
    state |= {"extra.one": state["ln_final.bias"].clone(), "extra.two": state["ln_final.bias"] + 1}

    with pytest.raises(ModelError, match=r"does not fit m: 2 unexpected, e\.g\. extra\."):
        torch_model.load(with_weights(state))


@pytest.mark.accepts("D4")
def test_another_shape_is_named_with_both(with_weights, state):
    state["text_projection"] = state["text_projection"][:, :8].contiguous()

    with pytest.raises(ModelError, match=r"shape of text_projection is \(16, 8\), not \(16, 16\)$"):
        torch_model.load(with_weights(state))


@pytest.mark.accepts("D4")
def test_weights_of_another_architecture_are_one_line(with_weights):
    import torch

    with pytest.raises(
        ModelError, match=r"does not fit m: \d+ keys missing.*2 unexpected"
    ) as error:
        torch_model.load(with_weights({"conv.weight": torch.ones(3), "conv.bias": torch.ones(3)}))

    assert "\n" not in error.value.message and len(error.value.message) < 400


@pytest.mark.accepts("D4")
def test_whole_numbers_are_not_weights(with_weights, state):
    import torch

    state["ln_final.weight"] = state["ln_final.weight"].to(torch.int8)

    with pytest.raises(ModelError, match=r"ln_final\.weight holds torch\.int8, not torch\.float32"):
        torch_model.load(with_weights(state))


def test_every_value_is_in_fp32_whatever_the_file_has(with_weights, state):
    import torch

    local = with_weights({name: tensor.bfloat16() for name, tensor in state.items()})

    loaded = torch_model.load(local).net

    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert not loaded.training


# what open_clip converts, and says nothing of


def test_positions_for_another_size_are_resized_as_open_clip_does_with_a_note(
    with_weights, state, small_clip_folder
):
    import open_clip
    import torch

    local = with_weights(
        state, vision_cfg={**SMALL_CLIP["model_cfg"]["vision_cfg"], "image_size": 48}
    )
    name = f"local-dir:{local.weights.parent}"
    theirs = open_clip.create_model(name, require_pretrained=True).eval()
    pixels = torch.randn((2, 3, 48, 48), generator=torch.Generator().manual_seed(0))

    ours = torch_model.load(local)

    with torch.inference_mode():
        assert torch.equal(ours.net.encode_image(pixels), theirs.encode_image(pixels))
    assert "visual.positional_embedding is resized from (5, 32)" in ours.notes[0]


def test_a_missing_bias_is_zero_as_in_open_clip_with_a_note(with_weights, state):
    engine = TorchEngine(with_weights(state, init_logit_bias=-10), device="cpu")

    assert engine.logit_bias == 0
    assert "has no logit_bias" in engine.notes[0]


@pytest.mark.parametrize("in_file", [(), (1,)])
@pytest.mark.parametrize("in_model", [False, True])
def test_scale_and_bias_may_be_a_number_or_a_list_of_one(with_weights, state, in_file, in_model):
    import torch

    state["logit_scale"] = torch.full(in_file, 3.0)
    state["logit_bias"] = torch.full(in_file, -7.5)

    local = with_weights(state, nonscalar_logit_scale=in_model, init_logit_bias=-10)
    engine = TorchEngine(local, device="cpu")

    assert abs(engine.logit_scale - np.exp(3.0)) < 1e-5
    assert engine.logit_bias == -7.5


# pickles


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state, "name": "run"},
        lambda state: {"state_dict": {f"module.{name}": t for name, t in state.items()}},
    ],
    ids=["bare", "checkpoint", "parallel"],
)
def test_a_pickle_gives_the_same_as_safetensors(
    with_weights, state, small_clip_folder, tokens, wrap
):
    same = locate(resolve(str(small_clip_folder)))

    local = with_weights(wrap(state), pickle="epoch_3.pt")

    assert local.is_pickle
    assert np.array_equal(texts_of(local, tokens), texts_of(same, tokens))


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.accepts("D2")
@pytest.mark.parametrize("forced", [False, True])
def test_a_pickle_that_would_run_code_is_refused(
    with_weights, state, tmp_path, monkeypatch, forced
):
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    canary = tmp_path / "canary"
    local = with_weights({"state_dict": state, "x": Hostile(str(canary))}, pickle="model.bin")

    with pytest.raises(ModelError, match=r"model\.bin: refused: .*posix\.mkdir") as error:
        torch_model.load(local)

    assert not canary.exists() and "\n" not in error.value.message
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == ("1" if forced else None)


def test_the_canary_does_sing_without_weights_only(with_weights, tmp_path):
    import torch

    canary = tmp_path / "canary"
    local = with_weights({"x": Hostile(str(canary))}, pickle="model.bin")

    torch.load(local.weights, weights_only=False)

    assert canary.exists()


@pytest.mark.accepts("D2")
def test_a_torch_that_cannot_open_pickles_safely_does_not(with_weights, state, monkeypatch):
    import torch

    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")

    with pytest.raises(ModelError, match="cannot open pickles safely"):
        torch_model.load(with_weights(state, pickle="model.pt"))


@pytest.mark.parametrize("content", [3, [1, 2], {"a": 1}, {"state_dict": 5}], ids=str)
def test_a_pickle_of_something_else_is_refused(with_weights, content):
    with pytest.raises(ModelError, match="holds no weights by name"):
        torch_model.load(with_weights(content, pickle="model.pt"))


def test_a_pickle_whose_table_of_contents_is_damaged_is_refused(with_weights, state):
    local = with_weights(state, pickle="model.pt")
    content = local.weights.read_bytes()
    at = content.rindex(b"PK\x01\x02")  # its last entry
    local.weights.write_bytes(content[:at] + b"XX" + content[at + 2 :])

    with pytest.raises(ModelError, match=r"model\.pt: cannot be read"):
        torch_model.load(local)


# OpenAI's own archives; making one takes what torch calls deprecated

ARCHIVED = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 500, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A TorchScript archive as OpenAI's are: half precision, three numbers beside the weights."""
    import torch
    from open_clip.model import CLIP

    torch.manual_seed(0)
    model = CLIP(**ARCHIVED, quick_gelu=True).eval()
    model.attn_mask = model._buffers.pop("attn_mask")  # TorchScript would save it as a weight
    for name in ("input_resolution", "context_length", "vocab_size"):
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(ARCHIVED["text_cfg"].get(name, 32)))
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 24, dtype=torch.int64))
    path = tmp_path_factory.mktemp("openai") / "ViT-X.pt"
    torch.jit.trace(model, example).half().save(str(path))
    return path


def local_of(path, quick_gelu: bool) -> LocalModel:
    folder = path.parent / f"quick-{quick_gelu}"
    folder.mkdir(exist_ok=True)
    config = {"model_cfg": {**ARCHIVED, "quick_gelu": quick_gelu}}
    (folder / CONFIG_NAME).write_text(json.dumps(config))
    shutil.copy(path, folder)
    return locate(resolve(str(folder)), allow_pickle=True)


@pytest.fixture
def known(archive, monkeypatch):
    """The archive, as if it were one of OpenAI's nine."""
    monkeypatch.setitem(models.catalogue()["openai"]["ViT-B/32"], "archive", digest(archive))
    return archive


@pytest.mark.accepts("D2")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Converting a tensor")
def test_an_archive_that_is_none_of_openais_is_not_opened(archive, monkeypatch):
    import torch

    def opened(*_, **__):
        raise AssertionError("the program in it would have run")

    monkeypatch.setattr(torch.jit, "load", opened)

    with pytest.raises(ModelError, match="none of OpenAI's"):
        torch_model.load(local_of(archive, quick_gelu=True))


def test_the_archives_of_openai_are_those_that_open_clip_names():
    from open_clip.pretrained import get_pretrained_cfg

    for entry in models.catalogue()["openai"].values():
        architecture, _, tag = entry["open_clip"].partition(":")
        assert f"/{entry['archive']}/" in get_pretrained_cfg(architecture, tag)["url"]


def test_a_sparse_tensor_is_refused(with_weights):
    import torch

    with pytest.raises(ModelError, match="holds no weights"):
        torch_model.load(with_weights({"visual.proj": torch.eye(3).to_sparse()}, pickle="m.pt"))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Converting a tensor")
def test_an_archive_of_openais_loads_as_with_open_clips_own_loader(known):
    import open_clip
    import torch

    theirs = open_clip.load_openai_model(str(known), precision="fp32", device="cpu")
    tokens = np.random.default_rng(0).integers(1, 499, size=(4, 24))
    with torch.inference_mode():
        expected = theirs.encode_text(torch.from_numpy(tokens), normalize=True).numpy()

    found = texts_of(local_of(known, quick_gelu=True), tokens)

    assert np.abs(found - expected).max() < 1e-6


def test_an_archive_of_openais_needs_quick_gelu(known):
    with pytest.raises(ModelError, match="trained with QuickGELU") as caught:
        torch_model.load(local_of(known, quick_gelu=False))

    assert "--tag openai" in (caught.value.tip or "")


# extras


def test_a_text_tower_of_transformers_names_the_extra_before_any_file_is_opened(
    monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "transformers", None)
    config = config_of_architecture("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k")
    local = LocalModel(resolve("ViT-B/32"), config, tmp_path / "not-there", "0" * 64)

    with pytest.raises(ModelError, match="xlm-roberta-base needs transformers") as caught:
        TorchEngine(local, device="cpu")

    assert caught.value.tip == "pip install 'zsclip[hf]'"


def test_a_model_of_open_clips_needs_no_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)

    config = config_of_architecture("ViT-B-16-SigLIP2", "webli")

    models.require_extras(config)  # raises where something is missing
    assert models.needed_extra(config) == "siglip"


def test_a_text_tower_whose_configuration_is_not_there_says_so(tmp_path):
    config = config_of_architecture("roberta-ViT-B-32", "laion2b_s12b_b32k")
    source = resolve("roberta-ViT-B-32:laion2b_s12b_b32k")
    local = LocalModel(source, config, tmp_path / "not-there", "0" * 64, offline=True)

    with pytest.raises(NotFetchedError, match=r"config\.json of hf-hub:roberta-base"):
        torch_model.load(local)


def test_a_folder_that_has_the_name_of_a_text_tower_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roberta-base").mkdir()
    config = config_of_architecture("roberta-ViT-B-32", "laion2b_s12b_b32k")
    source = resolve("roberta-ViT-B-32:laion2b_s12b_b32k")
    of_the_hub = LocalModel(source, config, tmp_path / "none", "0" * 64, offline=True)
    of_a_folder = LocalModel(
        models.ModelSource("mine", folder=tmp_path), config, tmp_path / "none", "0" * 64
    )

    assert torch_model.text_tower_folder(of_a_folder) == "roberta-base"
    with pytest.raises(NotFetchedError, match=r"config\.json of hf-hub:roberta-base"):
        torch_model.text_tower_folder(of_the_hub)
